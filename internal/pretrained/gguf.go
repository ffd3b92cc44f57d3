package pretrained

import (
	"fmt"
	"path/filepath"

	"github.com/longform-go/longform/internal/llamacpp"
	"github.com/longform-go/longform/internal/safetensors"
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
		Name: path, Config: m.Config(), base: base, files: m.Files(), tokenizer: m.Files(), weights: ggufStore{m},
	}, nil
}
