package testset

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/durable"
)

const (
	generationsFile = "generations.jsonl"
	settingsFile    = "settings.json"
)

// settings are all that the texts come from.
type settings struct {
	Model        string             `json:"model"` // a run's checkpoint, so that training on isn't missed
	Adapter      string             `json:"adapter,omitempty"`
	Device       string             `json:"device"` // others round otherwise
	Records      int                `json:"records"`
	SHA256       string             `json:"records_sha256"`
	MaxNewTokens int                `json:"max_new_tokens"`
	MinNewTokens int                `json:"min_new_tokens"`
	Sampling     decoding.Sampling  `json:"sampling"`
	Penalties    decoding.Penalties `json:"penalties"`
	Beams        decoding.Beams     `json:"beams"`
}

func settingsOf(m Model, records []data.Record, o decoding.Options) settings {
	raw, err := json.Marshal(records)
	if err != nil {
		panic(err) // of texts
	}
	return settings{
		Model: m.Source.Name, Adapter: m.Source.Adapter, Device: m.Device.Kind(),
		Records: len(records), SHA256: fmt.Sprintf("%x", sha256.Sum256(raw)),
		MaxNewTokens: o.MaxNewTokens, MinNewTokens: o.MinNewTokens, Sampling: o.Sampling, Penalties: o.Penalties, Beams: o.Beams,
	}
}

// file is the generations of a model on disk, locked while it is open.
type file struct {
	f    *os.File
	kept []Generation // all that it holds
}

// openFile opens the generations in dir, or begins them. What a crash has left of a batch is cut off.
func openFile(dir string, s settings) (*file, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, generationsFile), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	g := &file{f: f}
	if err := g.begin(dir, s); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *file) close() { g.f.Close() }

func (g *file) begin(dir string, s settings) error {
	if err := syscall.Flock(int(g.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("%s is in use by another process; wait for it, or give another --out", dir)
	} else if err != nil {
		return fmt.Errorf("lock %s: %w", g.f.Name(), err)
	}
	raw, err := io.ReadAll(g.f)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, settingsFile)
	stored, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(raw) == 0:
		return writeJSON(path, s)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s has generations and no %s that tells where they are from; remove it, or give another --out", dir, settingsFile)
	case err != nil:
		return err
	}
	if err := s.same(stored); err != nil {
		return fmt.Errorf("%s: %w; remove it, or give another --out", dir, err)
	}
	return g.read(raw, s.Records)
}

// read keeps the whole batches of raw and cuts off the rest.
func (g *file) read(raw []byte, records int) error {
	var ends []int // of lines
	for end := 0; ; {
		line, _, whole := bytes.Cut(raw[end:], []byte("\n"))
		if !whole {
			break
		}
		var generation Generation
		if err := json.Unmarshal(line, &generation); err != nil {
			return fmt.Errorf("%s:%d: damaged: %w; remove this line and all after it", g.f.Name(), len(ends)+1, err)
		}
		end += len(line) + 1
		g.kept, ends = append(g.kept, generation), append(ends, end)
	}
	n := len(g.kept)
	if n > records {
		return fmt.Errorf("%s has %d lines for %d records; remove it", g.f.Name(), n, records)
	}
	if n < records {
		n -= n % rows
	}
	g.kept = g.kept[:n]
	size := 0
	if n > 0 {
		size = ends[n-1]
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

// same names the first setting that stored ones have otherwise.
func (s settings) same(stored []byte) error {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // NaN was refused
	}
	now, then := map[string]string{}, map[string]string{}
	flatten(raw, "", now)
	flatten(stored, "", then)
	names := maps.Clone(now)
	maps.Copy(names, then)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if now[name] != then[name] {
			return fmt.Errorf("its generations have other settings: %s is %s there, and %s here", name, cmp.Or(then[name], "missing"), cmp.Or(now[name], "missing"))
		}
	}
	return nil
}

// flatten collects the values of a JSON object, by their names with those of objects around them in front.
func flatten(raw []byte, around string, to map[string]string) {
	var object map[string]json.RawMessage
	if json.Unmarshal(raw, &object) != nil {
		to[around] = string(raw)
		return
	}
	for name, value := range object {
		if around != "" {
			name = around + "." + name
		}
		flatten(value, name, to)
	}
}

// writeJSON puts a whole file in the place of the one that may be there.
func writeJSON(path string, value any) error {
	raw, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // once renamed, there is none
	_, err = f.Write(append(raw, '\n'))
	if err = cmp.Or(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return cmp.Or(os.Rename(f.Name(), path), durable.SyncDir(filepath.Dir(path)))
}
