// Package llamacpp knows how llama.cpp keeps a LLaMA model in a GGUF file: what its metadata are called, how its tensors are
// named and permuted, and how its tokenizer is written down. To everyone else such a file is the Hugging Face directory
// that it could have been made of. Sources: llama.cpp's conversion/llama.py, src/llama-vocab.cpp and gguf-py's
// constants.py.
package llamacpp

import (
	"bytes"
	"fmt"
	"io/fs"
	"time"

	"github.com/longform-go/longform/internal/gguf"
	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/models/llama"
)

// Model is an open GGUF file of the llama architecture.
type Model struct {
	file    *gguf.File
	path    string
	config  llama.Config
	files   files
	tensors map[string]gguf.Info // by Hugging Face's names
}

// Open reads the file's metadata. Another architecture, and numbers in a format that can't be read, are an error.
func Open(path string) (*Model, error) {
	file, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	m := &Model{file: file, path: path, tensors: map[string]gguf.Info{}}
	if err := m.open(); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func (m *Model) open() (err error) {
	meta := metadata{m.file}
	if m.config, err = meta.config(); err != nil {
		return err
	}
	for _, t := range m.file.Tensors() {
		if err := t.Type.Readable(); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if t.Name != ropeFactors {
			m.tensors[huggingFaceName(t.Name)] = t
		}
	}
	m.files = files{
		"config.json":            func() ([]byte, error) { return m.config.JSON("float32") },
		"generation_config.json": func() ([]byte, error) { return meta.generation(m.config) },
		"tokenizer_config.json":  func() ([]byte, error) { return meta.tokenizerConfig(m.config) },
		"tokenizer.json":         meta.tokenizer,
	}
	return nil
}

// Config is the model's configuration.
func (m *Model) Config() llama.Config { return m.config }

// Files are config.json, generation_config.json, tokenizer.json and tokenizer_config.json, as Hugging Face would have
// them. They are made when they are opened; a tokenizer that can't be rebuilt exactly is an error then.
func (m *Model) Files() fs.FS { return m.files }

// Tensors describes the tensors by Hugging Face's names. Quantized ones count as F32.
func (m *Model) Tensors() []safetensors.Info {
	var infos []safetensors.Info
	for name, t := range m.tensors {
		dtype := "F32"
		if t.Type == gguf.F16 || t.Type == gguf.BF16 {
			dtype = t.Type.String()
		}
		infos = append(infos, safetensors.Info{Name: name, DType: dtype, Shape: t.Shape})
	}
	return infos
}

// ReadFloat32 is the tensor of a Hugging Face name, in Hugging Face's order of rows.
func (m *Model) ReadFloat32(name string) ([]float32, error) {
	t, ok := m.tensors[name]
	if !ok {
		return nil, fmt.Errorf("%s has no tensor for %s", m.path, name)
	}
	values, err := m.file.ReadFloat32(t.Name)
	if err != nil {
		return nil, err
	}
	if heads := rotatedHeads(name, m.config); heads > 0 {
		values = fromPairs(values, t.Shape[0], heads)
	}
	return values, nil
}

// Close releases the file.
func (m *Model) Close() error { return m.file.Close() }

// files are a directory of files that are made when they are opened.
type files map[string]func() ([]byte, error)

// Open opens a file by its name.
func (f files) Open(name string) (fs.File, error) {
	content, err := []byte(nil), fs.ErrNotExist
	if make, ok := f[name]; ok {
		content, err = make()
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &inMemory{bytes.NewReader(content), name}, nil
}

type inMemory struct {
	*bytes.Reader
	name string
}

func (f *inMemory) Stat() (fs.FileInfo, error) { return f, nil }
func (f *inMemory) Close() error               { return nil }
func (f *inMemory) Name() string               { return f.name }
func (f *inMemory) Mode() fs.FileMode          { return 0o444 }
func (f *inMemory) ModTime() time.Time         { return time.Time{} }
func (f *inMemory) IsDir() bool                { return false }
func (f *inMemory) Sys() any                   { return nil }
