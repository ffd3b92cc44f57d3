package pretrained

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/gomlx/compute/dtypes"

	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// Extra is what makes an export more than the model itself.
type Extra struct {
	// Plus is the base of a weight difference: what is written is the sum. Minus is the base of a whole model: what is written
	// is the difference. At most one of them is set, and the caller closes it.
	Plus, Minus *Source
	// Files are more files of the directory, by name.
	Files map[string][]byte
}

// Export writes the model, with its adapter merged, as a directory that from_pretrained opens. Weights keep their element
// type; sums and differences are float32.
func (s *Source) Export(dir string, extra Extra) error {
	weights, closeAll, err := s.exported(extra)
	if err != nil {
		return err
	}
	defer closeAll()
	snapshot := checkpoint.Snapshot{WeightsName: checkpoint.ModelFile, Files: map[string][]byte{}}
	bf16 := true
	for _, w := range weights {
		bf16 = bf16 && w.dtype() == dtypes.BFloat16
		snapshot.Weights = append(snapshot.Weights, safetensors.Tensor{
			Info: safetensors.Info{Name: w.Name, DType: dtypeName(w.dtype()), Shape: w.Shape},
			Data: w.export,
		})
	}
	tokenizer, err := s.tokenizerFor(extra)
	if err != nil {
		return err
	}
	maps.Copy(snapshot.Files, extra.Files)
	maps.Copy(snapshot.Files, tokenizer)
	dtype := dtypes.Float32
	if bf16 {
		dtype = dtypes.BFloat16
	}
	if snapshot.Files["config.json"], err = s.Config.JSON(TorchName(dtype)); err != nil {
		return err
	}
	return checkpoint.Export(dir, snapshot)
}

// tokenizerFilesIfAny are TokenizerFiles of the model's own tokenizer, nil where it has none.
func (s *Source) tokenizerFilesIfAny() (map[string][]byte, error) {
	if err := s.fetchTokenizer(); err != nil {
		return nil, fmt.Errorf("model %s: %w", s.Name, err)
	}
	if f, err := s.tokenizer.Open("tokenizer.json"); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err == nil {
		f.Close()
	}
	tok, err := s.Tokenizer()
	if err != nil {
		return nil, err
	}
	return s.TokenizerFiles(tok)
}

// tokenizerFor are the files of the tokenizer, nil where there is none.
func (s *Source) tokenizerFor(extra Extra) (map[string][]byte, error) {
	files, err := s.tokenizerFilesIfAny()
	if err == nil && files == nil && extra.Plus != nil {
		return s.borrowedTokenizer(extra.Plus)
	}
	return files, err
}

// mergedWeight is a weight of the model, the update that an adapter makes to it, and the weight of another model that is
// added to it with a sign, if there is one.
type mergedWeight struct {
	*blocks.Weight
	tensor
	merger
	other *mergedWeight
	sign  float32
}

// exported are the weights to export, made with the base of extra. The caller closes what they are read from.
func (s *Source) exported(extra Extra) (weights []mergedWeight, closeAll func(), err error) {
	weights, closeModel, err := s.merged()
	if err != nil {
		return nil, nil, err
	}
	base, sign := extra.Plus, float32(1)
	if extra.Minus != nil {
		base, sign = extra.Minus, -1
	}
	if base == nil {
		return weights, closeModel, nil
	}
	closeBase, err := s.combine(weights, base, sign)
	if err != nil {
		closeModel()
		return nil, nil, err
	}
	return weights, func() { closeModel(); closeBase() }, nil
}

// merged are the weights with the adapter's update. The caller closes what they are read from.
func (s *Source) merged() (weights []mergedWeight, closeAll func(), err error) {
	if err := s.Download(); err != nil { // which tells the configuration
		return nil, nil, err
	}
	spec, err := NewSpec(s.Config, s.LoRA, dtypes.Float32, dtypes.Float32)
	if err != nil {
		return nil, nil, fmt.Errorf("model %s: %w", s.Name, err)
	}
	tensors, closeAll, err := s.tensors(spec)
	if err != nil {
		return nil, nil, err
	}
	updates, err := s.mergers(spec, tensors)
	if err != nil {
		closeAll()
		return nil, nil, fmt.Errorf("model %s: %w", s.Name, err)
	}
	for _, w := range spec.Weights {
		if !isAdapter(w.Name) {
			weights = append(weights, mergedWeight{Weight: w, tensor: tensors[w.Name], merger: updates[w.Name]})
		}
	}
	return weights, closeAll, nil
}

// dtype is the element type that a weight is exported in: float16 becomes float32, which holds it exactly.
func (w mergedWeight) dtype() dtypes.DType {
	if w.info.DType == "BF16" && w.other == nil {
		return dtypes.BFloat16
	}
	return dtypes.Float32
}

// merger is the update of one projection.
type merger struct {
	a, b  []float32 // [rank, in], [out, rank]
	rank  int
	scale float32
}

// mergers pairs the tensors of an adapter, by the name of the weight that they update.
func (s *Source) mergers(spec *Spec, tensors map[string]tensor) (map[string]merger, error) {
	found := map[string]merger{}
	for i, w := range spec.Weights {
		target, ok := models.AdaptedBy(w.Name)
		if !ok {
			continue
		}
		a, err := tensors[w.Name].read()
		if err != nil {
			return nil, err
		}
		b, err := tensors[spec.Weights[i+1].Name].read() // B is declared after A
		if err != nil {
			return nil, err
		}
		found[target] = merger{a: a, b: b, rank: s.LoRA.Rank, scale: float32(s.LoRA.Alpha / float64(s.LoRA.Rank))}
	}
	return found, nil
}

// values are the weight, updated.
func (w mergedWeight) values() ([]float32, error) {
	values, err := w.read()
	if err != nil {
		return nil, err
	}
	if w.rank > 0 {
		w.add(values)
	}
	if w.other != nil {
		others, err := w.other.values()
		if err != nil {
			return nil, err
		}
		for i, v := range others {
			values[i] += w.sign * v
		}
	}
	return values, nil
}

// export writes the weight into dst.
func (w mergedWeight) export(dst []byte) error {
	values, err := w.values()
	if err != nil {
		return err
	}
	copy(dst, encode(values, w.dtype()))
	return nil
}

// add computes w += scale B A, row by row.
func (m merger) add(w []float32) {
	in := len(m.a) / m.rank
	for out := range len(w) / in {
		row := w[out*in : (out+1)*in]
		for r := range m.rank {
			b := m.scale * m.b[out*m.rank+r]
			for i, a := range m.a[r*in : (r+1)*in] {
				row[i] += b * a
			}
		}
	}
}
