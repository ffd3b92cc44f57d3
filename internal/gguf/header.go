package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

const (
	magic         = "GGUF"
	version       = 3
	maxDimensions = 4
	maxKey        = 65535 // bytes
	maxAlignment  = 1 << 20
	alignmentKey  = "general.alignment"
	// The fewest bytes that a pair and a tensor's description take, which bound how many a file can have.
	minPair, minTensor = 8 + 4 + 1, 8 + 4 + 8 + 4 + 8
)

// header is what stands before the data.
type header struct {
	metadata []KV
	keys     map[string]int // places in metadata
	tensors  []entry        // in the order of their data
	names    map[string]int // places in tensors
	data     int64          // where the data starts in the file
}

// entry is a tensor and the place of its data, counted from the data's start.
type entry struct {
	Info
	offset, size int64
}

// parse reads the header of a file of the given size. What it allocates is bounded by the file, whatever that claims.
func parse(source io.ReaderAt, size int64) (header, error) {
	r := &reader{buffered: bufio.NewReaderSize(io.NewSectionReader(source, 0, size), 1<<16), left: size}
	h := header{keys: map[string]int{}, names: map[string]int{}}
	tensors, pairs, err := r.start(size)
	if err != nil {
		return h, err
	}
	for i := range pairs {
		if err := h.addPair(r); err != nil {
			return h, invalid(i, pairs, "key", err)
		}
	}
	for i := range tensors {
		if err := h.addTensor(r); err != nil {
			return h, invalid(i, tensors, "tensor", err)
		}
	}
	alignment := int64(Alignment)
	if v, ok := h.keys[alignmentKey]; ok {
		a, ok := h.metadata[v].Value.(uint32)
		if !ok || a == 0 || a&(a-1) != 0 || a > maxAlignment {
			return h, fmt.Errorf("not a valid GGUF file: %s is %v; it must be a power of two", alignmentKey, h.metadata[v].Value)
		}
		alignment = int64(a)
	}
	h.data = pad(size-r.left, alignment)
	return h, h.place(size, alignment)
}

func invalid(i, n uint64, what string, err error) error {
	var short truncated
	if errors.As(err, &short) {
		return fmt.Errorf("the file is truncated inside its header, at %s %d of %d; copy or download it again", what, i+1, n)
	}
	return fmt.Errorf("not a valid GGUF file: %w", err)
}

// start reads the first 24 bytes.
func (r *reader) start(size int64) (tensors, pairs uint64, err error) {
	var first [8]byte
	r.fill(first[:])
	switch v := binary.LittleEndian.Uint32(first[4:]); {
	case string(first[:]) == "version ":
		return 0, 0, errors.New("this is a Git LFS pointer, not the model; fetch it with: git lfs pull")
	case string(first[:4]) != magic && r.err == nil:
		return 0, 0, fmt.Errorf("not a GGUF file: it starts with %q, not %q", first[:4], magic)
	case r.err != nil:
	case v > 0 && v&0xffff == 0:
		return 0, 0, errors.New("a GGUF file for big-endian machines is not supported; convert it with gguf-convert-endian")
	case v != 2 && v != version:
		return 0, 0, fmt.Errorf("version %d of GGUF is not supported; 2 and 3 are", v)
	}
	tensors, pairs = r.uint64(), r.uint64()
	switch {
	case r.err != nil:
		return 0, 0, fmt.Errorf("the file is truncated: it has %d bytes; copy or download it again", size)
	case pairs > uint64(r.left/minPair):
		return 0, 0, fmt.Errorf("not a valid GGUF file: it claims %d keys in %d bytes", pairs, size)
	case tensors > uint64(r.left/minTensor):
		return 0, 0, fmt.Errorf("not a valid GGUF file: it claims %d tensors in %d bytes", tensors, size)
	}
	return tensors, pairs, nil
}

func (h *header) addPair(r *reader) error {
	key := r.text(maxKey)
	value := r.value(kind(r.uint32()), true)
	switch _, twice := h.keys[key]; {
	case r.err != nil && key != "":
		return fmt.Errorf("key %q: %w", key, r.err)
	case r.err != nil:
		return r.err
	case twice:
		return fmt.Errorf("key %q occurs twice", key)
	}
	h.keys[key] = len(h.metadata)
	h.metadata = append(h.metadata, KV{key, value})
	return nil
}

func (h *header) addTensor(r *reader) error {
	t := entry{Info: Info{Name: r.text(maxKey)}}
	n := r.uint32()
	if n > maxDimensions {
		return fmt.Errorf("tensor %q has %d dimensions; 1 to %d are possible", t.Name, n, maxDimensions)
	}
	for range n {
		d := r.uint64()
		if d > math.MaxInt {
			return fmt.Errorf("tensor %q has a dimension of %d", t.Name, d)
		}
		t.Shape = append(t.Shape, int(d))
	}
	slices.Reverse(t.Shape)
	t.Type = Type(r.uint32())
	offset := r.uint64()
	if r.err != nil {
		return r.err
	}
	var err error
	if t.size, err = t.bytes(); err != nil {
		return err
	}
	if offset > math.MaxInt64 {
		return fmt.Errorf("tensor %q starts at %d, outside of the file", t.Name, offset)
	}
	t.offset = int64(offset)
	if _, twice := h.names[t.Name]; twice {
		return fmt.Errorf("tensor %q occurs twice", t.Name)
	}
	h.names[t.Name] = len(h.tensors)
	h.tensors = append(h.tensors, t)
	return nil
}

// place checks that each tensor starts where the one before it ends, padded, as ggml wants it, and that all are in the
// file.
func (h *header) place(size, alignment int64) error {
	room := size - h.data // subtracting can't overflow; adding the header's claims could
	at := int64(0)
	for _, t := range h.tensors {
		switch {
		case t.offset != at:
			return fmt.Errorf("not a valid GGUF file: tensor %q starts at %d of the data, not at %d, where the one before it ends", t.Name, t.offset, at)
		case room < at || room-at < t.size:
			return fmt.Errorf("the file is truncated: tensor %q needs %d bytes and %d are there; copy or download it again", t.Name, t.size, max(0, room-at))
		}
		at = pad(at+t.size, alignment)
	}
	return nil
}

// pad is the next multiple of alignment, a power of two.
func pad(n, alignment int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }
