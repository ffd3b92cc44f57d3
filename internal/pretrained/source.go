// Package pretrained goes from the name of a model to its parameters on a device, and from there back to the tensors of
// a checkpoint. A name is what from_pretrained takes, a directory or the hub name of a released model, or one of ours: a
// run's directory, a PEFT adapter's directory, or "demo".
package pretrained

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/data/demo"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/auto"
)

// DemoName is the model built into the binary: a configuration and a tokenizer without weights.
const DemoName = "demo"

// Source is a model before its weights are read.
type Source struct {
	// Name is what the model was found by.
	Name string
	// Dir holds the weights; empty for what is built in.
	Dir    string
	Config models.Config
	// LoRA and Adapter are set when Name is a PEFT adapter: its settings and its directory. Dir is then its base model.
	LoRA    *models.LoRA
	Adapter string

	files      fs.FS               // config.json and tokenizer files; nil for a known size
	weights    *checkpoint.Weights // nil without weights
	weightsErr error               // why there are none, for a directory
}

// tokenizerFiles are copied from a model to the checkpoints trained from it.
var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json",
}

// Find looks a model up. It reads configurations and headers only. The caller closes it.
func Find(name string) (*Source, error) {
	if name == DemoName {
		return fromFiles(name, "", demo.Files)
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return fromDirectory(name)
	case err == nil:
		return nil, fmt.Errorf("model %s is a file; give the directory that holds config.json", name)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("model %s: %w", name, err)
	}
	if config, ok := auto.Known(name); ok {
		return &Source{Name: name, Config: config}, nil
	}
	return nil, fmt.Errorf("model %s: no such directory, and not a known model (%s)", name, strings.Join(auto.Names(), ", "))
}

func fromDirectory(dir string) (*Source, error) {
	last, err := checkpoint.Marked(dir, "latest")
	switch {
	case err == nil:
		dir = last
	case !errors.Is(err, checkpoint.ErrNone):
		return nil, fmt.Errorf("model %s: %w", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, adapterConfigName)); err == nil {
		return fromAdapter(dir)
	}
	return fromFiles(dir, dir, os.DirFS(dir))
}

func fromFiles(name, dir string, files fs.FS) (*Source, error) {
	raw, err := fs.ReadFile(files, "config.json")
	if err != nil {
		return nil, fmt.Errorf("model %s: no config.json in it; give a directory that from_pretrained opens", name)
	}
	s := &Source{Name: name, Dir: dir, files: files}
	var tensors []string
	if dir != "" {
		// Planning and random weights need no tensors, so an error here is one only to Load.
		if s.weights, s.weightsErr = checkpoint.OpenWeights(dir); s.weightsErr == nil {
			for _, info := range s.weights.Tensors() {
				tensors = append(tensors, info.Name)
			}
		}
	}
	if s.Config, err = auto.Parse(raw, tensors); err != nil {
		s.Close()
		return nil, fmt.Errorf("model %s: %w", name, err)
	}
	return s, nil
}

// Close closes the weight files.
func (s *Source) Close() {
	if s.weights != nil {
		s.weights.Close()
	}
}

// Tokenizer reads the model's tokenizer.
func (s *Source) Tokenizer() (*data.Tokenizer, error) {
	if s.files == nil {
		return nil, fmt.Errorf("model %s: only its size is known, not its tokenizer; give a directory with tokenizer.json", s.Name)
	}
	raw, err := fs.ReadFile(s.files, "tokenizer.json")
	if err != nil {
		return nil, fmt.Errorf("model %s: no tokenizer.json in it; save the model with its fast tokenizer", s.Name)
	}
	t, err := data.NewTokenizer(raw)
	if err != nil {
		return nil, fmt.Errorf("model %s: tokenizer.json: %w", s.Name, err)
	}
	return t, nil
}

// TokenizerFiles are the files that a checkpoint needs beside the weights, by name. tok replaces tokenizer.json, because
// it may have got a token.
func (s *Source) TokenizerFiles(tok *data.Tokenizer) map[string][]byte {
	found := map[string][]byte{}
	for _, name := range tokenizerFiles {
		if raw, err := fs.ReadFile(s.files, name); err == nil {
			found[name] = raw
		}
	}
	found["tokenizer.json"] = tok.JSON()
	return found
}

// EOS are the ids that end a text: those of generation_config.json, as transformers takes them, or else of config.json.
func (s *Source) EOS() []int {
	var generation struct {
		EOS models.IDs `json:"eos_token_id"`
	}
	if s.files != nil {
		if raw, err := fs.ReadFile(s.files, "generation_config.json"); err == nil && json.Unmarshal(raw, &generation) == nil && len(generation.EOS) > 0 {
			return generation.EOS
		}
	}
	return s.Config.Tokens().EOS
}
