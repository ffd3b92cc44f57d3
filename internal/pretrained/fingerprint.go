package pretrained

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/longform-go/longform/internal/checkpoint"
)

// Of a file of weights so many pieces of so many bytes are read, from its begin to its end: training changes numbers all over it.
const (
	pieces = 64
	piece  = 1 << 15
)

// Fingerprint is a SHA-256 of what a model's texts come from: its configuration, its tokenizer, the format that it was trained in and
// pieces of its weights, of an adapter's and its base's. It is empty where the weights aren't here.
func (s *Source) Fingerprint() (string, error) {
	if s.weights == nil {
		return "", nil
	}
	if err := s.fetchTokenizer(); err != nil {
		return "", fmt.Errorf("model %s: %w", s.Name, err)
	}
	type file struct {
		from fs.FS
		name string
	}
	files := []file{{s.files, "config.json"}, {s.files, generationFile}, {s.tokenizer, "tokenizer.json"}, {s.tokenizer, formatFile}}
	weights := s.paths
	if s.Adapter != "" {
		files = append(files, file{os.DirFS(s.Adapter), adapterConfigName})
		weights = append([]string{filepath.Join(s.Adapter, checkpoint.AdapterFile)}, weights...)
	}
	h := sha256.New()
	for _, f := range files {
		raw, err := fs.ReadFile(f.from, f.name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("model %s: %w", s.Name, err)
		}
		fmt.Fprintf(h, "%s %d\n%s", f.name, len(raw), raw)
	}
	for _, path := range weights {
		err := sample(h, path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("model %s: %w", s.Name, err)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// sample writes a file's name, size and pieces, which are all of a small one.
func sample(to io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "%s %d\n", filepath.Base(path), info.Size())
	last := max(0, info.Size()-piece)
	for i := range int64(pieces) {
		if _, err := io.Copy(to, io.NewSectionReader(f, last*i/(pieces-1), piece)); err != nil {
			return err
		}
	}
	return nil
}
