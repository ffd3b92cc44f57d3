package checkpoint

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/longform-go/longform/internal/safetensors"
)

func write(t *testing.T, path string, tensors ...safetensors.Tensor) {
	t.Helper()
	if _, err := safetensors.Write(path, tensors, nil); err != nil {
		t.Fatal(err)
	}
}

func text(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

const twoShards = `{"metadata": {"total_size": 32.0}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}`

func TestOpenWeights(t *testing.T) {
	for name, c := range map[string]struct {
		make func(dir string)
		want map[string]byte // the fill of each tensor
	}{
		"single": {func(dir string) {
			write(t, dir+"/model.safetensors", tensor("a", 1, 4), tensor("b", 2, 4))
		}, map[string]byte{"a": 1, "b": 2}},
		"shards": {func(dir string) {
			text(t, dir+"/model.safetensors.index.json", twoShards)
			write(t, dir+"/model-00001-of-00002.safetensors", tensor("a", 1, 4))
			write(t, dir+"/model-00002-of-00002.safetensors", tensor("b", 2, 4))
		}, map[string]byte{"a": 1, "b": 2}},
		"single before shards": {func(dir string) {
			text(t, dir+"/model.safetensors.index.json", twoShards)
			write(t, dir+"/model.safetensors", tensor("a", 3, 4))
		}, map[string]byte{"a": 3}},
		"the index decides between copies": {func(dir string) {
			text(t, dir+"/model.safetensors.index.json", twoShards)
			write(t, dir+"/model-00001-of-00002.safetensors", tensor("a", 1, 4), tensor("b", 9, 4))
			write(t, dir+"/model-00002-of-00002.safetensors", tensor("b", 2, 4), tensor("a", 9, 4))
		}, map[string]byte{"a": 1, "b": 2}},
		"tensors beside the index": {func(dir string) {
			text(t, dir+"/model.safetensors.index.json", twoShards)
			write(t, dir+"/model-00001-of-00002.safetensors", tensor("a", 1, 4), tensor("c", 3, 4))
			write(t, dir+"/model-00002-of-00002.safetensors", tensor("b", 2, 4))
		}, map[string]byte{"a": 1, "b": 2, "c": 3}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(dir)
			w, err := OpenWeights(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if len(w.Tensors()) != len(c.want) {
				t.Errorf("tensors %v, want %v", w.Tensors(), c.want)
			}
			for _, info := range w.Tensors() {
				data := make([]byte, info.Bytes())
				if err := w.Read(info.Name, data); err != nil {
					t.Error(err)
				}
				if !bytes.Equal(data, bytes.Repeat([]byte{c.want[info.Name]}, 16)) {
					t.Errorf("%s holds %v, want %d", info.Name, data, c.want[info.Name])
				}
			}
			wantError(t, w.Read("z", nil), `no tensor "z"`)
		})
	}
}

func TestOpenWeightsRefuses(t *testing.T) {
	first, second := "/model-00001-of-00002.safetensors", "/model-00002-of-00002.safetensors"
	index := "/model.safetensors.index.json"
	for name, c := range map[string]struct {
		make func(dir string)
		want []string
	}{
		"nothing": {func(string) {}, []string{"no weights in ", "model.safetensors", "model.safetensors.index.json"}},
		"adapter": {func(dir string) { write(t, dir+"/adapter_model.safetensors") },
			[]string{"no weights in ", "adapter_model.safetensors is a LoRA adapter"}},
		"torch": {func(dir string) { text(t, dir+"/pytorch_model.bin", "") },
			[]string{"no weights in ", "pytorch_model.bin isn't read", "convert"}},
		"truncated": {func(dir string) {
			write(t, dir+"/model.safetensors", tensor("a", 1, 4))
			truncate(70)(t, dir+"/model.safetensors")
		}, []string{"/model.safetensors: the file is truncated", "bytes are missing"}},
		"malformed index": {func(dir string) { text(t, dir+index, "{") }, []string{index + " is malformed"}},
		"empty index":     {func(dir string) { text(t, dir+index, "{}") }, []string{index + " has no weight_map"}},
		"shard elsewhere": {func(dir string) { text(t, dir+index, `{"weight_map": {"a": "../x.safetensors"}}`) },
			[]string{`"../x.safetensors" outside of its directory`}},
		"missing shards": {func(dir string) { text(t, dir+index, twoShards) },
			[]string{index, "shards that aren't there: model-00001-of-00002.safetensors, model-00002-of-00002.safetensors;"}},
		"missing shard": {func(dir string) {
			text(t, dir+index, twoShards)
			write(t, dir+first, tensor("a", 1, 4))
		}, []string{"aren't there: model-00002-of-00002.safetensors;"}},
		"missing tensor": {func(dir string) {
			text(t, dir+index, twoShards)
			write(t, dir+first, tensor("a", 1, 4))
			write(t, dir+second, tensor("c", 1, 4))
		}, []string{index, "tensors that aren't there: b in model-00002-of-00002.safetensors;"}},
		"tensor in another shard": {func(dir string) {
			text(t, dir+index, twoShards)
			write(t, dir+first, tensor("a", 1, 4), tensor("b", 1, 4))
			write(t, dir+second)
		}, []string{"aren't there: b in model-00002-of-00002.safetensors;"}},
		"unlisted copies": {func(dir string) {
			text(t, dir+index, twoShards)
			write(t, dir+first, tensor("a", 1, 4), tensor("c", 1, 4))
			write(t, dir+second, tensor("b", 1, 4), tensor("c", 1, 4))
		}, []string{`tensor "c" is in another shard too`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(dir)
			_, err := OpenWeights(dir)
			wantError(t, err, append(c.want, dir)...)
		})
	}
	dir := t.TempDir()
	_, err := OpenWeights(filepath.Join(dir, "none"))
	wantError(t, err, "doesn't exist")
	text(t, dir+"/file", "")
	_, err = OpenWeights(dir + "/file")
	wantError(t, err, "is a file; give the model's directory")
}
