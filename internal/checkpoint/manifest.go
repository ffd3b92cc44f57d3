package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/longform-go/longform/internal/safetensors"
)

const (
	manifestFile    = "manifest.json"
	manifestVersion = 1
)

// Manifest lists what a checkpoint consists of. It is written last, so a
// directory that has one was complete once. Hashes are SHA-256 in hexadecimal.
type Manifest struct {
	Version  int                  `json:"version"`
	Step     int                  `json:"step"`
	Progress json.RawMessage      `json:"progress,omitempty"`
	Files    map[string]FileEntry `json:"files"`   // all but the manifest itself
	Tensors  map[string]Entry     `json:"tensors"` // of the weights and the training state
	// Checksum is the hash of the manifest without it, as compact JSON.
	Checksum string `json:"checksum,omitempty"`
}

// FileEntry is a file of a checkpoint.
type FileEntry struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Entry is a tensor of a checkpoint. Its hash is that of its data, the same in
// whatever file it lies.
type Entry struct {
	File   string `json:"file"`
	DType  string `json:"dtype"`
	Shape  []int  `json:"shape"`
	SHA256 string `json:"sha256"`
}

// writeFile writes a small file and records it.
func (m Manifest) writeFile(dir, name string, content []byte) error {
	hook("write " + name)
	if err := writeFile(filepath.Join(dir, name), content); err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	m.Files[name] = FileEntry{int64(len(content)), hex.EncodeToString(sum[:])}
	return nil
}

// writeTensors writes a safetensors file and records it.
func (m Manifest) writeTensors(dir, name string, tensors []safetensors.Tensor) error {
	hook("write " + name)
	// The format mark is what Hugging Face's loader asks for.
	sums, err := safetensors.Write(filepath.Join(dir, name), tensors, map[string]string{"format": "pt"})
	if err != nil {
		return err
	}
	m.Files[name] = FileEntry{sums.Size, sums.File}
	for _, t := range tensors {
		m.Tensors[t.Name] = Entry{name, t.DType, append([]int{}, t.Shape...), sums.Tensors[t.Name]}
	}
	return nil
}

// encode is the manifest as JSON with its checksum.
func (m Manifest) encode() ([]byte, error) {
	var err error
	if m.Checksum, err = m.checksum(); err != nil {
		return nil, err
	}
	out, err := json.MarshalIndent(m, "", " ")
	return append(out, '\n'), err
}

func (m Manifest) checksum() (string, error) {
	m.Checksum = ""
	raw, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}

func readManifest(dir string) (Manifest, error) {
	var m Manifest
	raw, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return m, errors.New(manifestFile + " is missing")
	}
	if err != nil {
		return m, cause(err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("%s is damaged: %w", manifestFile, err)
	}
	if m.Version != manifestVersion {
		return m, fmt.Errorf("%s has version %d, this program reads version %d", manifestFile, m.Version, manifestVersion)
	}
	if sum, err := m.checksum(); err != nil || sum != m.Checksum {
		return m, errors.New(manifestFile + " is damaged: its checksum doesn't match")
	}
	return m, nil
}

// Verify reads a checkpoint and compares all of it with its manifest. The error
// names the file that is missing or damaged, and the tensors in it.
func Verify(dir string) (Manifest, error) {
	m, err := readManifest(dir)
	for _, name := range sortedKeys(m.Files) {
		if err == nil {
			err = m.verify(dir, name)
		}
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("checkpoint %s: %w", dir, err)
	}
	return m, nil
}

func (m Manifest) verify(dir, name string) error {
	want := m.Files[name]
	path := filepath.Join(dir, name)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is missing", name)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	if stat.Size() != want.Bytes {
		return fmt.Errorf("%s has %d bytes instead of %d", name, stat.Size(), want.Bytes)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != want.SHA256 {
		return fmt.Errorf("%s is damaged: its contents have changed%s", name, m.damaged(path))
	}
	return nil
}

// damaged names the tensors of a file whose data aren't what they were, as an
// addition to a message. It is empty for files without tensors, or with a
// damaged header.
func (m Manifest) damaged(path string) string {
	f, err := safetensors.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	var names []string
	for _, t := range f.Tensors() {
		data := make([]byte, t.Bytes())
		sum := [sha256.Size]byte{}
		if f.Read(t.Name, data) == nil {
			sum = sha256.Sum256(data)
		}
		if hex.EncodeToString(sum[:]) != m.Tensors[t.Name].SHA256 {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " in tensor " + list(names)
}

// list joins names for a message, leaving off what is too much for a line.
func list(names []string) string {
	const most = 5
	slices.Sort(names)
	var b bytes.Buffer
	for i, name := range names {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(names)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name)
	}
	return b.String()
}
