package safetensors

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// Tensor is a tensor to be written.
type Tensor struct {
	Info
	// Data fills dst, whose length is Bytes, with the tensor's data, little
	// endian and in row-major order. It is called once, when its turn to be
	// written has come, and mustn't keep dst.
	Data func(dst []byte) error
}

// Sums tells what was written. Hashes are SHA-256 in hexadecimal.
type Sums struct {
	Size    int64             // of the whole file, in bytes
	File    string            // hash of the whole file
	Tensors map[string]string // hash of each tensor's data, by name
}

// Write makes the file path, which mustn't exist yet, and forces it to disk.
// Tensors are written one at a time, hashed on their way, and laid out as
// Hugging Face's writer does: wider dtypes first, then by name. The header is
// padded with spaces to a multiple of 8 bytes. If anything fails, no file is
// left.
func Write(path string, tensors []Tensor, metadata map[string]string) (sums Sums, err error) {
	sorted, head, err := layOut(tensors, metadata)
	if err != nil {
		return Sums{}, fmt.Errorf("write %s: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return Sums{}, fmt.Errorf("write weights: %w", err)
	}
	done := false
	defer func() { // also when Data panics
		if !done {
			file.Close()
			os.Remove(path)
		}
	}()
	if sums, err = encode(file, sorted, head); err == nil {
		err = finish(file, sums.Size)
	}
	if err != nil {
		return Sums{}, fmt.Errorf("write %s: %w", path, cause(err))
	}
	done = true
	return sums, nil
}

// finish checks that all has arrived and forces it to disk.
func finish(file *os.File, size int64) error {
	stat, err := file.Stat()
	if err != nil {
		return err
	}
	if stat.Size() != size {
		return fmt.Errorf("%d bytes were written but the file has %d", size, stat.Size())
	}
	return cmp.Or(file.Sync(), file.Close())
}

// layOut orders the tensors and makes the bytes before their data: the
// header's length and the header.
func layOut(tensors []Tensor, metadata map[string]string) ([]Tensor, []byte, error) {
	sorted := slices.Clone(tensors)
	slices.SortStableFunc(sorted, func(a, b Tensor) int {
		return cmp.Or(dtypeRank(b.DType)-dtypeRank(a.DType), strings.Compare(a.Name, b.Name))
	})
	var buf bytes.Buffer
	buf.Write(make([]byte, 8)) // the length comes last
	buf.WriteByte('{')
	if metadata != nil {
		buf.WriteString(`"__metadata__":`)
		buf.Write(marshal(metadata))
	}
	names := map[string]bool{"__metadata__": true}
	var at int64
	for i, t := range sorted {
		size, err := t.bytes()
		switch {
		case err != nil:
			return nil, nil, err
		case names[t.Name]:
			return nil, nil, fmt.Errorf("tensor name %q is taken", t.Name)
		case !utf8.ValidString(t.Name):
			return nil, nil, fmt.Errorf("tensor name %q isn't UTF-8", t.Name)
		case at+size < at:
			return nil, nil, errors.New("the tensors are too large")
		}
		names[t.Name] = true
		if i > 0 || metadata != nil {
			buf.WriteByte(',')
		}
		shape := t.Shape
		if shape == nil {
			shape = []int{} // a scalar's shape is [], not null
		}
		buf.Write(marshal(t.Name))
		fmt.Fprintf(&buf, `:{"dtype":%s,"shape":%s,"data_offsets":[%d,%d]}`, marshal(t.DType), marshal(shape), at, at+size)
		at += size
	}
	buf.WriteByte('}')
	for buf.Len()%8 != 0 {
		buf.WriteByte(' ')
	}
	head := buf.Bytes()
	if len(head)-8 > maxHeader {
		return nil, nil, fmt.Errorf("a header of %d bytes is over the format's limit of %d", len(head)-8, maxHeader)
	}
	binary.LittleEndian.PutUint64(head, uint64(len(head)-8))
	return sorted, head, nil
}

// encode streams the file to w.
func encode(w io.Writer, sorted []Tensor, head []byte) (Sums, error) {
	whole := sha256.New()
	w = io.MultiWriter(w, whole)
	if _, err := w.Write(head); err != nil {
		return Sums{}, err
	}
	sums := Sums{Size: int64(len(head)), Tensors: make(map[string]string, len(sorted))}
	var buf []byte
	for _, t := range sorted {
		size := t.Bytes()
		if int64(cap(buf)) < size {
			buf = make([]byte, size)
		}
		buf = buf[:size]
		if err := t.Data(buf); err != nil {
			return Sums{}, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		// The tensor's own hash is taken while the file's is, on another core.
		sum := make(chan [sha256.Size]byte, 1)
		go func() { sum <- sha256.Sum256(buf) }()
		_, err := w.Write(buf)
		digest := <-sum
		if err != nil {
			return Sums{}, err
		}
		sums.Tensors[t.Name] = hex.EncodeToString(digest[:])
		sums.Size += size
	}
	sums.File = hex.EncodeToString(whole.Sum(nil))
	return sums, nil
}

// marshal is JSON without the escapes that HTML needs, as other writers write
// it. The types it is given can't fail.
func marshal(v any) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
