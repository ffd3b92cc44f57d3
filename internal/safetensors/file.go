package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
)

// File is an open safetensors file. Its methods may be called from several
// goroutines at once, Close excepted.
type File struct {
	path   string
	file   *os.File
	header header
	data   int64 // where the data starts in the file
	index  map[string]int
}

// Open reads a file's header and checks all of it against the format and the
// file's length: at most 100,000,000 bytes that start with '{', no key twice,
// data without holes or overlaps, each tensor as large as its dtype and shape
// say, and the file neither shorter nor longer.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	f := &File{path: path, file: file}
	if err := f.open(); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func (f *File) open() error {
	stat, err := f.file.Stat()
	if err != nil {
		return cause(err)
	}
	if !stat.Mode().IsRegular() {
		return errors.New("not a regular file; give the path of a .safetensors file")
	}
	size := stat.Size()
	raw, err := f.readHeader(size)
	if err != nil {
		return err
	}
	if f.header, err = parseHeader(raw); err != nil {
		return fmt.Errorf("not a valid safetensors file: %w", err)
	}
	f.data = 8 + int64(len(raw))
	// Subtracting can't overflow; adding the header's claims could.
	switch have := size - f.data; {
	case have < f.header.size():
		return fmt.Errorf("the file is truncated, %d bytes are missing; copy or download it again", f.header.size()-have)
	case have > f.header.size():
		return fmt.Errorf("not a valid safetensors file: %d bytes follow the last tensor", have-f.header.size())
	}
	f.index = make(map[string]int, len(f.header.tensors))
	for i, t := range f.header.tensors {
		f.index[t.Name] = i
	}
	return nil
}

// readHeader reads the header of a file of the given size. It allocates no
// more than the file holds, whatever length the file claims.
func (f *File) readHeader(size int64) ([]byte, error) {
	if size < 8 {
		return nil, truncatedHeader(8 - size)
	}
	var prefix [8]byte
	if _, err := f.file.ReadAt(prefix[:], 0); err != nil {
		return nil, cause(err)
	}
	if string(prefix[:]) == "version " {
		return nil, errors.New("this is a Git LFS pointer, not the weights; fetch them with: git lfs pull")
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	if length > maxHeader {
		return nil, fmt.Errorf("not a valid safetensors file: it claims a header of %d bytes, the limit is %d", length, maxHeader)
	}
	if missing := int64(length) - (size - 8); missing > 0 {
		return nil, truncatedHeader(missing)
	}
	raw := make([]byte, length)
	if _, err := f.file.ReadAt(raw, 8); err != nil {
		return nil, cause(err)
	}
	return raw, nil
}

func truncatedHeader(missing int64) error {
	return fmt.Errorf("the file is truncated inside its header, at least %d bytes are missing; copy or download it again", missing)
}

// Tensors describes the file's tensors in the order of their data.
func (f *File) Tensors() []Info {
	infos := make([]Info, len(f.header.tensors))
	for i, t := range f.header.tensors {
		infos[i] = t.clone()
	}
	return infos
}

// Metadata is the free text that the file carries, nil where it has none.
func (f *File) Metadata() map[string]string { return maps.Clone(f.header.metadata) }

// Read fills dst with the data of a tensor, little endian and in row-major
// order. The length of dst has to be the tensor's Bytes.
func (f *File) Read(name string, dst []byte) error {
	i, ok := f.index[name]
	if !ok {
		return fmt.Errorf("%s has no tensor %q", f.path, name)
	}
	t := f.header.tensors[i]
	if int64(len(dst)) != t.end-t.begin {
		return fmt.Errorf("%s: tensor %q has %d bytes, the buffer for it %d", f.path, name, t.end-t.begin, len(dst))
	}
	_, err := f.file.ReadAt(dst, f.data+t.begin)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: tensor %q: the file has become shorter while it was open", f.path, name)
	}
	if err != nil {
		return fmt.Errorf("%s: tensor %q: %w", f.path, name, cause(err))
	}
	return nil
}

// Close releases the file.
func (f *File) Close() error { return f.file.Close() }

// cause strips the operation and the path, which the caller's message has.
func cause(err error) error {
	if p, ok := err.(*fs.PathError); ok {
		return p.Err
	}
	return err
}
