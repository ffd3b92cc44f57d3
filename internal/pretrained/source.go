// Package pretrained goes from the name of a model to its parameters on a device, and from there back to the tensors of
// a checkpoint. A name is what from_pretrained takes, a directory or the hub name of a released model, or one of ours: a
// run's directory, a PEFT adapter's directory, a GGUF file, or "demo".
package pretrained

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/data/demo"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/hub"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/auto"
)

// DemoName is the model built into the binary: a configuration and a tokenizer without weights.
const DemoName = "demo"

// Source is a model before its weights are read.
type Source struct {
	// Name is what the model was found by.
	Name string
	// Dir holds the weights; empty for what is built in, for GGUF files and for models of the hub.
	Dir    string
	Config models.Config
	// LoRA and Adapter are set when Name is a PEFT adapter: its settings and its directory. Dir is then its base model.
	LoRA    *models.LoRA
	Adapter string

	base       string    // the name of an adapter's base model
	files      fs.FS     // config.json and generation_config.json; nil for a known size
	tokenizer  fs.FS     // the tokenizer's files; nil for a known size
	weights    store     // nil without weights
	paths      []string  // of the weights' files
	weightsErr error     // why there are none, for a directory
	repository string    // the hub name of a model of the hub
	remote     hub.Model // that model, from when files is set
}

// generationFile says how a model generates.
const generationFile = "generation_config.json"

// tokenizerFiles are copied from a model to the checkpoints trained from it.
var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", formatFile,
}

// Find looks a model up. Of a directory it reads configurations and headers only. Of a hub name that tells the model's
// size it reads nothing yet, so that a plan needs no network; other models of the hub are downloaded. The caller closes
// the source.
func Find(name string) (*Source, error) {
	if name == DemoName {
		return fromFiles(name, "", demo.Files)
	}
	if strings.HasSuffix(name, ggufSuffix) {
		return fromGGUF(name)
	}
	if isDir, err := isDirectory(name); err != nil {
		return nil, fmt.Errorf("model %s: %w", name, err)
	} else if isDir {
		return fromDirectory(name)
	}
	s := &Source{Name: name}
	if hub.IsName(name) {
		s.repository = name
	}
	var known bool
	if s.Config, known = auto.Known(name); known {
		return s, nil
	}
	if s.repository == "" {
		return nil, fmt.Errorf("model %s: no such directory, not a hub name (owner/name), and not a known size (%s)", name, strings.Join(auto.Names(), ", "))
	}
	if err := s.describe(); err != nil {
		return nil, fmt.Errorf("model %s: no such directory, and not from the hub either: %w", name, err)
	}
	_ = s.Download() // planning and random weights need no tensors; Load tries again and says what is wrong
	return s, nil
}

// isDirectory tells a directory from what doesn't exist; anything else is an error.
func isDirectory(name string) (bool, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !info.IsDir():
		return false, errors.New("a file; give the directory that holds it")
	}
	return true, nil
}

// newest is the last checkpoint of a run's directory, and any other directory itself.
func newest(dir string) (string, error) {
	last, err := checkpoint.Marked(dir, "latest")
	switch {
	case err == nil:
		return last, nil
	case errors.Is(err, checkpoint.ErrNone):
		return dir, nil
	}
	return "", err
}

func fromDirectory(name string) (*Source, error) {
	dir, err := newest(name)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", name, err)
	}
	if holds(dir, adapterConfigName) {
		return fromAdapter(dir)
	}
	return fromFiles(dir, dir, os.DirFS(dir))
}

func fromFiles(name, dir string, files fs.FS) (*Source, error) {
	s := &Source{Name: name, Dir: dir, files: files, tokenizer: files}
	if dir != "" {
		// Planning and random weights need no tensors, so an error here is one only to Load.
		if w, err := checkpoint.OpenWeights(dir); err == nil {
			s.weights, s.paths = safetensorsStore{w}, w.Paths()
		} else {
			s.weightsErr = err
		}
	}
	var err error
	if s.Config, err = parse(files, s.weights); err != nil {
		s.Close()
		return nil, fmt.Errorf("model %s: %w", name, err)
	}
	return s, nil
}

// parse reads config.json. Without weights they may be nil.
func parse(files fs.FS, weights store) (models.Config, error) {
	raw, err := fs.ReadFile(files, "config.json")
	if err != nil {
		return nil, fmt.Errorf("no config.json in it; give a directory that from_pretrained opens")
	}
	var tensors []string
	if weights != nil {
		for _, info := range weights.Tensors() {
			tensors = append(tensors, info.Name)
		}
	}
	return auto.Parse(raw, tensors)
}

// Close closes the weight files.
func (s *Source) Close() {
	if s.weights != nil {
		s.weights.Close()
	}
}

// Tokenizer reads the model's tokenizer. One with ids that the embedding has no row for is refused.
func (s *Source) Tokenizer() (*data.Tokenizer, error) {
	if err := s.fetchTokenizer(); err != nil {
		return nil, fmt.Errorf("model %s: %w", s.Name, err)
	}
	if s.tokenizer == nil {
		return nil, fmt.Errorf("model %s: only its size is known, not its tokenizer; give a directory with tokenizer.json, or set model.tokenizer", s.Name)
	}
	raw, err := fs.ReadFile(s.tokenizer, "tokenizer.json")
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("no tokenizer.json in it; save the model with its fast tokenizer")
	}
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", s.Name, err)
	}
	t, err := data.NewTokenizer(raw)
	if err != nil {
		return nil, fmt.Errorf("model %s: tokenizer.json: %w", s.Name, err)
	}
	if size, rows := t.Size(), s.Config.Vocabulary(); size > rows {
		return nil, fmt.Errorf("model %s: its tokenizer has %d ids and its embedding %d rows; use the tokenizer that belongs to the model", s.Name, size, rows)
	}
	return t, nil
}

// TokenizerFile reads a file beside the model's tokenizer. One that the model doesn't have is an fs.ErrNotExist.
func (s *Source) TokenizerFile(name string) ([]byte, error) {
	if err := s.fetchTokenizer(); err != nil {
		return nil, err
	}
	if s.tokenizer == nil {
		return nil, fs.ErrNotExist
	}
	return fs.ReadFile(s.tokenizer, name)
}

// TokenizerFiles are the files that a checkpoint needs beside the weights, by name. tok replaces tokenizer.json, because
// it may have got a token.
func (s *Source) TokenizerFiles(tok *data.Tokenizer) (map[string][]byte, error) {
	found := map[string][]byte{}
	take := func(files fs.FS, names ...string) error {
		for _, name := range names {
			raw, err := fs.ReadFile(files, name)
			switch {
			case err == nil:
				found[name] = raw
			case !errors.Is(err, fs.ErrNotExist):
				return fmt.Errorf("model %s: %w", s.Name, err)
			}
		}
		return nil
	}
	if err := take(s.tokenizer, tokenizerFiles...); err != nil {
		return nil, err
	}
	if s.files != nil {
		if err := take(s.files, generationFile); err != nil {
			return nil, err
		}
	}
	found["tokenizer.json"] = tok.JSON()
	return found, nil
}

// EOS are the ids that end a text: those of generation_config.json, as transformers takes them, or else of config.json.
func (s *Source) EOS() []int {
	var generation struct {
		EOS models.IDs `json:"eos_token_id"`
	}
	if s.files != nil {
		if raw, err := fs.ReadFile(s.files, generationFile); err == nil && json.Unmarshal(raw, &generation) == nil && len(generation.EOS) > 0 {
			return generation.EOS
		}
	}
	return s.Config.Tokens().EOS
}
