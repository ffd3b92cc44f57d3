package testset

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/durable"
	"github.com/longform-go/longform/internal/testset/scores"
)

const (
	generationsFile = "generations.jsonl"
	settingsFile    = "settings.json"
)

// file is the generations of a model on disk, locked while it is open.
type file struct {
	dir    string
	f      *os.File
	stored map[string]json.RawMessage // the settings; nil if there are none yet
	was    scores.Settings            // they, as far as they can be read
	kept   []Generation               // all that it holds
	ends   []int                      // where the lines of kept end
}

// openFile opens the generations in dir, or begins them.
func openFile(dir string) (*file, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("%w; give another --out", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, generationsFile), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("%w; give another --out", err)
	}
	g := &file{dir: dir, f: f}
	if err := g.begin(); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *file) close() { g.f.Close() }

func (g *file) begin() error {
	if err := syscall.Flock(int(g.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("%s is in use by another process; wait for it, or give another --out", g.dir)
	} else if err != nil {
		return fmt.Errorf("lock %s: %w", g.f.Name(), err)
	}
	raw, err := io.ReadAll(g.f)
	if err != nil {
		return err
	}
	stored, err := os.ReadFile(g.settings())
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(raw) == 0:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s has generations and no %s that tells where they are from; remove it, or give another --out", g.dir, settingsFile)
	case err != nil:
		return err
	}
	if err := json.Unmarshal(stored, &g.stored); err != nil {
		return fmt.Errorf("%s: damaged: %w; remove %s, or give another --out", g.settings(), err, g.dir)
	}
	_ = json.Unmarshal(stored, &g.was) // fields of other types are refused, when all are compared
	return g.read(raw)
}

func (g *file) settings() string { return filepath.Join(g.dir, settingsFile) }

// assume takes over from what is there what settings lack before the model is opened.
func (g *file) assume(s *scores.Settings) {
	s.Device = cmp.Or(s.Device, g.was.Device)
	if s.Fingerprint == "" { // neither are its end tokens known then
		s.Fingerprint, s.EOS = g.was.Fingerprint, g.was.EOS
	}
}

// agree refuses settings and records that aren't those of what is there.
func (g *file) agree(s scores.Settings, records []data.Record) error {
	if g.stored == nil {
		return nil
	}
	if err := same(s, g.stored); err != nil {
		return fmt.Errorf("%s: %w; remove it, or give another --out", g.dir, err)
	}
	if n := len(g.kept); n > len(records) {
		return fmt.Errorf("%s has %d lines for %d records; remove it", g.f.Name(), n, len(records))
	}
	for i, k := range g.kept {
		if (data.Record{Input: k.Input, Output: k.Output, Source: k.Source, Subset: k.Subset}) != records[i] {
			return fmt.Errorf("%s:%d: it is of another record than the data's at this place; remove this line and all after it", g.f.Name(), i+1)
		}
	}
	return nil
}

// read takes the whole lines of raw.
func (g *file) read(raw []byte) error {
	for end := 0; ; {
		line, _, whole := bytes.Cut(raw[end:], []byte("\n"))
		if !whole {
			return nil
		}
		var generation Generation
		if err := json.Unmarshal(line, &generation); err != nil {
			return fmt.Errorf("%s:%d: damaged: %w; remove this line and all after it", g.f.Name(), len(g.ends)+1, err)
		}
		end += len(line) + 1
		g.kept, g.ends = append(g.kept, generation), append(g.ends, end)
	}
}

// goOn makes ready to write behind the whole batches, cutting off what a crash has left of another. A file without settings
// gets them.
func (g *file) goOn(s scores.Settings) error {
	if g.stored == nil {
		if err := writeJSON(g.settings(), s); err != nil {
			return err
		}
		g.stored = fields(s)
	}
	n := len(g.kept) - len(g.kept)%rows
	g.kept = g.kept[:n]
	size := 0
	if n > 0 {
		size = g.ends[n-1]
	}
	if err := g.f.Truncate(int64(size)); err != nil {
		return err
	}
	_, err := g.f.Seek(int64(size), io.SeekStart)
	return err
}

// add puts a batch on disk.
func (g *file) add(batch []Generation) error {
	var lines bytes.Buffer
	e := json.NewEncoder(&lines)
	e.SetEscapeHTML(false)
	for _, generation := range batch {
		if err := e.Encode(generation); err != nil {
			return err
		}
	}
	if _, err := g.f.Write(lines.Bytes()); err != nil {
		return err
	}
	if err := g.f.Sync(); err != nil {
		return err
	}
	g.kept = append(g.kept, batch...)
	return nil
}

// writeJSON puts a value in the place of the file that may be there.
func writeJSON(path string, value any) error {
	raw, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(raw, '\n'))
}

// writeFile puts a whole file in the place of the one that may be there.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // once renamed, there is none
	_, err = f.Write(content)
	if err = cmp.Or(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return cmp.Or(os.Rename(f.Name(), path), durable.SyncDir(filepath.Dir(path)))
}
