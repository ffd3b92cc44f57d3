package pretrained

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/gomlx/compute/dtypes"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/nf4"
	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/models/blocks"
)

// Load puts the weights of spec on d: those of the checkpoint, and fresh ones, drawn from seed, for adapters that the
// source doesn't bring. An embedding with more rows than the checkpoint's gets the mean of the old rows in each new one,
// so that an added token starts as no token in particular.
func (s *Source) Load(d *device.Device, spec *Spec, seed uint64) (*Parameters, error) {
	tensors, closeAll, err := s.tensors(spec)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	return build(d, spec, func(w *blocks.Weight) ([]float32, error) {
		t, ok := tensors[w.Name]
		if !ok {
			return draw(w, seed), nil
		}
		values, err := t.read()
		if err != nil {
			return nil, fmt.Errorf("model %s: tensor %s: %w", s.Name, t.info.Name, err)
		}
		return grow(values, w), nil
	})
}

// Check says whether Load will find the weights of spec. It reads headers only.
func (s *Source) Check(spec *Spec) error {
	_, closeAll, err := s.tensors(spec)
	if err != nil {
		return err
	}
	closeAll()
	return nil
}

// tensors are the checkpoint's tensors, and the adapter's, by the names of the weights of spec, which they fit.
func (s *Source) tensors(spec *Spec) (tensors map[string]tensor, closeAll func(), err error) {
	if err := s.Download(); err != nil {
		return nil, nil, err
	}
	if s.weightsErr != nil {
		return nil, nil, fmt.Errorf("model %s: %w", s.Name, s.weightsErr)
	}
	if s.weights == nil {
		return nil, nil, fmt.Errorf("model %s: only its configuration is known here, not its weights; give a directory or a hub name (owner/name), or set model.init=random", s.Name)
	}
	tensors, closeAll = tensorsOf(s.weights), func() {}
	if s.Adapter != "" {
		adapter, err := openAdapter(s.Adapter)
		if err != nil {
			return nil, nil, fmt.Errorf("model %s: %w", s.Name, err)
		}
		closeAll = func() { adapter.Close() }
		for name, t := range adapterTensors(adapter) {
			tensors[name] = t
		}
	}
	if err := s.match(tensors, spec); err != nil {
		closeAll()
		return nil, nil, fmt.Errorf("model %s: %w", s.Name, err)
	}
	return tensors, closeAll, nil
}

// Random puts freshly drawn weights on d.
func Random(d *device.Device, spec *Spec, seed uint64) (*Parameters, error) {
	return build(d, spec, func(w *blocks.Weight) ([]float32, error) { return draw(w, seed), nil })
}

// build uploads the weights as values gives them, several at a time but never all, since together they may not fit the
// host.
func build(d *device.Device, spec *Spec, values func(*blocks.Weight) ([]float32, error)) (*Parameters, error) {
	inputs := spec.Inputs()
	p := &Parameters{Spec: spec, Values: make([]*device.Buffer, len(inputs))}
	parts := spec.parts(spec.Weights)
	errs := make([]error, len(parts))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var group sync.WaitGroup
	absmax := len(parts) // where the next quantized weight's go
	for i, part := range parts {
		at := []int{i}
		if part[0].Quantized {
			at = append(at, absmax)
			absmax++
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			arrays, err := read(part, values, inputs[i].Shape.DType)
			if err != nil {
				errs[i] = err
				return
			}
			for k, raw := range arrays {
				if p.Values[at[k]], err = d.Upload(inputs[at[k]].Shape, raw); err != nil {
					errs[i] = err
				}
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			p.Free()
			return nil, err
		}
	}
	return p, nil
}

// read are the arrays that the weights of an input are kept as, below one another where there are several.
func read(part []*blocks.Weight, values func(*blocks.Weight) ([]float32, error), dtype dtypes.DType) (arrays [][]byte, err error) {
	for i, w := range part {
		v, err := values(w)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			arrays = stored(w, v, dtype)
		} else {
			arrays[0] = append(arrays[0], stored(w, v, dtype)[0]...)
		}
	}
	return arrays, nil
}

// stored are the arrays that weight w is kept as: its values as dtype, or codes and absmax of a quantized one.
func stored(w *blocks.Weight, values []float32, dtype dtypes.DType) [][]byte {
	if w.Quantized {
		codes, absmax := nf4.Encode(values)
		return [][]byte{codes, encode(absmax, dtypes.Float32)}
	}
	return [][]byte{encode(values, dtype)}
}

// tensor is what a weight is read from.
type tensor struct {
	info safetensors.Info
	from store
}

func (t tensor) read() ([]float32, error) { return t.from.read(t.info) }

// store holds a model's tensors.
type store interface {
	Tensors() []safetensors.Info
	Close() error
	read(safetensors.Info) ([]float32, error)
}

// safetensorsStore reads safetensors, one file or several.
type safetensorsStore struct{ rawTensors }

type rawTensors interface {
	Tensors() []safetensors.Info
	Read(name string, dst []byte) error
	Close() error
}

func (s safetensorsStore) read(info safetensors.Info) ([]float32, error) {
	raw := make([]byte, info.Bytes())
	if err := s.Read(info.Name, raw); err != nil {
		return nil, err
	}
	return decode(raw, info.DType)
}

func tensorsOf(w store) map[string]tensor {
	tensors := map[string]tensor{}
	for _, info := range w.Tensors() {
		tensors[info.Name] = tensor{info, w}
	}
	return tensors
}

// match makes the names in tensors those of the weights and checks that both agree.
func (s *Source) match(tensors map[string]tensor, spec *Spec) error {
	var missing, misshapen []string
	used := map[string]bool{}
	for _, w := range spec.Weights {
		t, ok := tensors[w.Name]
		if !ok {
			// Checkpoints of the bare model lack the prefix of the language model.
			if t, ok = tensors[strings.TrimPrefix(w.Name, "model.")]; ok {
				used[t.info.Name] = true
				tensors[w.Name] = t
			}
		}
		used[w.Name] = true
		switch {
		case !ok && isAdapter(w.Name) && s.Adapter == "":
			// Drawn afresh.
		case !ok:
			missing = append(missing, w.Name)
		case !slices.Equal(t.info.Shape, w.Shape) && !s.growable(t.info.Shape, w.Shape):
			misshapen = append(misshapen, fmt.Sprintf("%s is %v, not %v", t.info.Name, t.info.Shape, w.Shape))
		}
	}
	var surplus []string
	for name := range tensors {
		if !used[name] && !s.Config.Redundant(name) {
			surplus = append(surplus, name)
		}
	}
	slices.Sort(surplus)
	var problems []string
	for _, p := range []struct {
		what  string
		names []string
	}{{"missing", missing}, {"of another shape", misshapen}, {"not part of the model", surplus}} {
		if len(p.names) > 0 {
			problems = append(problems, fmt.Sprintf("%d tensors %s: %s", len(p.names), p.what, few(p.names)))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("the weights don't fit %s's config.json: %s", s.Config.Family(), strings.Join(problems, "; "))
	}
	return nil
}

// growable says whether a tensor of shape have may start a weight of shape want: an embedding for a larger vocabulary
// than the checkpoint's own.
func (s *Source) growable(have, want []int) bool {
	return len(have) == 2 && len(want) == 2 && have[1] == want[1] && have[0] == s.Config.Vocabulary() && want[0] > have[0]
}

func grow(values []float32, w *blocks.Weight) []float32 {
	if len(values) == w.Size() {
		return values
	}
	columns := w.Shape[1]
	rows := len(values) / columns
	mean := make([]float32, columns)
	for c := range mean {
		sum := 0.0
		for r := range rows {
			sum += float64(values[r*columns+c])
		}
		mean[c] = float32(sum / float64(rows))
	}
	for len(values) < w.Size() {
		values = append(values, mean...)
	}
	return values
}

// few lists some of many names.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
