package pretrained

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/longform-go/longform/internal/durable"
	"github.com/longform-go/longform/internal/gguf"
	"github.com/longform-go/longform/internal/llamacpp"
	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/models/llama"
)

// ggufSuffix tells a file of llama.cpp from a directory.
const ggufSuffix = ".gguf"

// ggufStore reads a GGUF file.
type ggufStore struct{ *llamacpp.Model }

func (s ggufStore) read(info safetensors.Info) ([]float32, error) { return s.ReadFloat32(info.Name) }

func fromGGUF(path string) (*Source, error) {
	base, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", path, err)
	}
	m, err := llamacpp.Open(path)
	if err != nil {
		return nil, fmt.Errorf("model %w", err) // which has the path
	}
	return &Source{
		Name: path, Config: m.Config(), base: base, files: m.Files(), tokenizer: m.Files(), weights: ggufStore{m}, paths: []string{path},
	}, nil
}

// ExportGGUF writes a llama model, with its adapter merged, as a GGUF file that llama.cpp opens, its matrices in the format
// t. The file, of which the model gets its name, must not exist.
func (s *Source) ExportGGUF(path string, t gguf.Type, extra Extra) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("export to %s: it exists; choose another name", path)
	}
	weights, closeAll, err := s.exported(extra)
	if err != nil {
		return err
	}
	defer closeAll()
	config, ok := s.Config.(llama.Config)
	if !ok {
		return fmt.Errorf("model %s: GGUF files are written of llama models, not of %s", s.Name, s.Config.Family())
	}
	content := llamacpp.Content{Name: strings.TrimSuffix(filepath.Base(path), ggufSuffix), Config: config, EOS: s.EOS(), Type: t}
	if content.Tokenizer, err = s.tokenizerFor(extra); err != nil {
		return err
	}
	for _, w := range weights {
		content.Tensors = append(content.Tensors, llamacpp.Tensor{Name: w.Name, Shape: w.Shape, Read: w.values})
	}
	// A file under its name is a whole one.
	temporary := path + ".part"
	if err := os.RemoveAll(temporary); err != nil { // of an interrupted export
		return fmt.Errorf("export: %w", err)
	}
	if err := llamacpp.Write(temporary, content); err != nil {
		return fmt.Errorf("model %s: %w", s.Name, err)
	}
	if err := cmp.Or(os.Rename(temporary, path), durable.SyncDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}
