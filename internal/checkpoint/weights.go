package checkpoint

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/longform-go/longform/internal/safetensors"
)

// The names that Hugging Face gives to the weights of a model and of an adapter.
const (
	ModelFile   = "model.safetensors"
	AdapterFile = "adapter_model.safetensors"
)

// Weights are the tensors of a model, in one file or several.
type Weights struct {
	infos []safetensors.Info
	paths []string
	files map[string]*safetensors.File // by tensor name
	open  []*safetensors.File
}

// OpenWeights opens the weights of a Hugging Face model directory:
// model.safetensors where there is one, or else the shards that
// model.safetensors.index.json lists.
func OpenWeights(dir string) (*Weights, error) {
	single, indexFile := filepath.Join(dir, ModelFile), filepath.Join(dir, ModelFile+indexSuffix)
	w := &Weights{files: map[string]*safetensors.File{}}
	var err error
	switch {
	case exists(single):
		err = w.add(single, nil)
	case exists(indexFile):
		err = w.addShards(dir, indexFile)
	default:
		return nil, noWeights(dir)
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// noWeights tells what was looked for and, where something else is there,
// what to do with it.
func noWeights(dir string) error {
	stat, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("model directory %s doesn't exist", dir)
	case err != nil:
		return fmt.Errorf("model directory: %w", err)
	case !stat.IsDir():
		return fmt.Errorf("%s is a file; give the model's directory", dir)
	}
	advice := "give a directory with the model's weights"
	if exists(filepath.Join(dir, AdapterFile)) {
		advice = AdapterFile + " is a LoRA adapter without the model it belongs to"
	} else if torch, _ := filepath.Glob(filepath.Join(dir, "pytorch_model*.bin*")); len(torch) > 0 {
		advice = filepath.Base(torch[0]) + " isn't read; convert it with transformers: from_pretrained, then save_pretrained"
	}
	return fmt.Errorf("no weights in %s: neither %s nor %s is there; %s", dir, ModelFile, ModelFile+indexSuffix, advice)
}

// add opens a file and takes its tensors, those that the map gives to another
// file excepted.
func (w *Weights) add(path string, weightMap map[string]string) error {
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	w.open, w.paths = append(w.open, f), append(w.paths, path)
	for _, info := range f.Tensors() {
		if owner, ok := weightMap[info.Name]; ok && owner != filepath.Base(path) {
			continue
		}
		if w.files[info.Name] != nil {
			return fmt.Errorf("%s: tensor %q is in another shard too, and %s doesn't say which to take", path, info.Name, ModelFile+indexSuffix)
		}
		w.files[info.Name] = f
		w.infos = append(w.infos, info)
	}
	return nil
}

func (w *Weights) addShards(dir, indexFile string) error {
	raw, err := os.ReadFile(indexFile)
	if err != nil {
		return err
	}
	var x struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(raw, &x); err != nil {
		return fmt.Errorf("%s is malformed: %w", indexFile, err)
	}
	if len(x.WeightMap) == 0 {
		return fmt.Errorf("%s has no weight_map", indexFile)
	}
	var shards, missing []string
	for _, shard := range x.WeightMap {
		if shard != filepath.Base(shard) || !filepath.IsLocal(shard) {
			return fmt.Errorf("%s names a shard %q outside of its directory", indexFile, shard)
		}
		if !slices.Contains(shards, shard) {
			shards = append(shards, shard)
		}
	}
	slices.Sort(shards)
	for _, shard := range shards {
		if !exists(filepath.Join(dir, shard)) {
			missing = append(missing, shard)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s lists shards that aren't there: %s; copy or download them", indexFile, list(missing))
	}
	for _, shard := range shards {
		if err := w.add(filepath.Join(dir, shard), x.WeightMap); err != nil {
			return err
		}
	}
	for name, shard := range x.WeightMap {
		if w.files[name] == nil {
			missing = append(missing, fmt.Sprintf("%s in %s", name, shard))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s lists tensors that aren't there: %s; copy or download these shards again", indexFile, list(missing))
	}
	return nil
}

// Tensors describes all tensors, shard by shard in the order of their data.
func (w *Weights) Tensors() []safetensors.Info { return slices.Clone(w.infos) }

// Paths are the files that the tensors are in.
func (w *Weights) Paths() []string { return slices.Clone(w.paths) }

// Read fills dst with the data of a tensor, little endian and in row-major
// order. The length of dst has to be the tensor's Bytes.
func (w *Weights) Read(name string, dst []byte) error {
	f, ok := w.files[name]
	if !ok {
		return fmt.Errorf("the weights have no tensor %q", name)
	}
	return f.Read(name, dst)
}

// Close releases the files.
func (w *Weights) Close() error {
	var err error
	for _, f := range w.open {
		err = cmp.Or(err, f.Close())
	}
	return err
}
