package pretrained

import (
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/longform-go/longform/data/demo"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/hub"
	"github.com/longform-go/longform/internal/llamacpp"
)

// Download brings a model of the hub here, weights included, so that Config is the published one and not what is known
// by its name. It does nothing for other sources. Load downloads too; calling this first makes a failure an early one.
func (s *Source) Download() error {
	if s.repository == "" || s.weights != nil {
		return nil
	}
	if err := s.download(); err != nil {
		return fmt.Errorf("model %s: %w", s.Name, err)
	}
	return nil
}

func (s *Source) download() error {
	if err := s.describe(); err != nil {
		return err
	}
	if err := s.remote.FetchWeights(); err != nil {
		return err
	}
	weights, err := checkpoint.OpenWeights(s.remote.Dir())
	if err != nil {
		return err
	}
	if s.Config, err = parse(s.files, safetensorsStore{weights}); err != nil {
		weights.Close()
		return err
	}
	s.weights, s.paths = safetensorsStore{weights}, weights.Paths()
	return nil
}

// describe downloads the configuration of a model of the hub.
func (s *Source) describe() error {
	if s.repository == "" || s.files != nil {
		return nil
	}
	m, err := openModel(s.repository)
	if err != nil {
		return err
	}
	if err := m.FetchConfig(); err != nil {
		return err
	}
	files := os.DirFS(m.Dir())
	if s.Config, err = parse(files, nil); err != nil {
		return err
	}
	s.remote, s.files = m, files
	return nil
}

// fetchTokenizer downloads the tokenizer of a model of the hub.
func (s *Source) fetchTokenizer() error {
	if s.repository == "" || s.tokenizer != nil {
		return nil
	}
	if err := s.describe(); err != nil {
		return err
	}
	if err := s.remote.FetchTokenizer(); err != nil {
		return err
	}
	s.tokenizer = os.DirFS(s.remote.Dir())
	return nil
}

// UseTokenizer takes the tokenizer of another model, named as for Find; its directory needs no more than the tokenizer.
func (s *Source) UseTokenizer(name string) error {
	if strings.HasSuffix(name, ggufSuffix) {
		m, err := llamacpp.Open(name)
		if err != nil {
			return fmt.Errorf("tokenizer %w", err) // which has the path
		}
		s.tokenizer = m.Files() // made of the metadata, which have been read
		return m.Close()
	}
	files, err := tokenizerOf(name)
	if err != nil {
		return fmt.Errorf("tokenizer %s: %w", name, err)
	}
	s.tokenizer = files
	return nil
}

func tokenizerOf(name string) (fs.FS, error) {
	if name == DemoName {
		return demo.Files, nil
	}
	if isDir, err := isDirectory(name); err != nil {
		return nil, err
	} else if isDir {
		dir, err := newest(name)
		if err != nil {
			return nil, err
		}
		if !holds(dir, "tokenizer.json") {
			return nil, fmt.Errorf("no tokenizer.json in it; save it with the fast tokenizer of transformers")
		}
		return os.DirFS(dir), nil
	}
	if !hub.IsName(name) {
		return nil, fmt.Errorf("no such directory; give one that holds tokenizer.json, a GGUF file, a hub name, or %s", DemoName)
	}
	m, err := openModel(name)
	if err == nil {
		err = m.FetchTokenizer()
	}
	if err != nil {
		return nil, fmt.Errorf("no such directory, and not from the hub either: %w", err)
	}
	return os.DirFS(m.Dir()), nil
}

// openModel finds a model on the hub and says when a download will take a while.
func openModel(name string) (hub.Model, error) {
	m, err := hub.OpenModel(name)
	if err == nil {
		m.Large = func(file string, bytes int64) {
			fmt.Fprintf(os.Stderr, "fetch   %s/%s, %d MB\n", name, file, bytes/1e6)
		}
	}
	return m, err
}
