package gguf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// File is an open GGUF file. Its methods may be called from several goroutines at once, Close excepted.
//
// Data is read, not mapped into memory: a file that becomes shorter while it is open is then an error, not the end of the
// process.
type File struct {
	path   string
	file   *os.File
	header header
}

// Open reads what stands before the tensors' data and checks all of it against the format and the file's length.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open GGUF file: %w", err)
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
		return errors.New("not a regular file; give the path of a .gguf file")
	}
	f.header, err = parse(f.file, stat.Size())
	return err
}

// Metadata are the key-value pairs in their order. Their slices are shared with the file.
func (f *File) Metadata() []KV { return slices.Clone(f.header.metadata) }

// Value is the metadata's value of a key, nil where it has none. Slices are shared with the file.
func (f *File) Value(key string) any {
	if i, ok := f.header.keys[key]; ok {
		return f.header.metadata[i].Value
	}
	return nil
}

// Tensors describes the tensors in the order of their data.
func (f *File) Tensors() []Info {
	infos := make([]Info, len(f.header.tensors))
	for i, t := range f.header.tensors {
		infos[i] = t.clone()
	}
	return infos
}

// Tensor describes one tensor.
func (f *File) Tensor(name string) (Info, bool) {
	i, ok := f.header.names[name]
	if !ok {
		return Info{}, false
	}
	return f.header.tensors[i].clone(), true
}

// Read fills dst with the data of a tensor as it is in the file. The length of dst has to be the tensor's Bytes.
func (f *File) Read(name string, dst []byte) error {
	i, ok := f.header.names[name]
	if !ok {
		return fmt.Errorf("%s has no tensor %q", f.path, name)
	}
	t := f.header.tensors[i]
	if int64(len(dst)) != t.size {
		return fmt.Errorf("%s: tensor %q has %d bytes, the buffer for it %d", f.path, name, t.size, len(dst))
	}
	_, err := f.file.ReadAt(dst, f.header.data+t.offset)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: tensor %q: the file has become shorter while it was open", f.path, name)
	}
	if err != nil {
		return fmt.Errorf("%s: tensor %q: %w", f.path, name, cause(err))
	}
	return nil
}

// ReadFloat32 is a tensor as numbers in row-major order, whatever their format in the file.
func (f *File) ReadFloat32(name string) ([]float32, error) {
	t, ok := f.Tensor(name)
	if !ok {
		return nil, fmt.Errorf("%s has no tensor %q", f.path, name)
	}
	if err := t.Type.Readable(); err != nil {
		return nil, fmt.Errorf("%s: tensor %q: %w", f.path, name, err)
	}
	raw := make([]byte, t.Bytes())
	if err := f.Read(name, raw); err != nil {
		return nil, err
	}
	values := make([]float32, t.Size())
	return values, Dequantize(values, t.Type, raw)
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
