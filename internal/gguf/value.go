package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// kind is the type of a value in the metadata, by its number in the file.
type kind uint32

const (
	kindUint8 kind = iota
	kindInt8
	kindUint16
	kindInt16
	kindUint32
	kindInt32
	kindFloat32
	kindBool
	kindString
	kindArray
	kindUint64
	kindInt64
	kindFloat64
)

// truncated is the error of a header that goes on after the end of its file.
type truncated struct{}

func (truncated) Error() string { return "the file ends in it" }

// reader reads a header. After its first error it returns zeros.
type reader struct {
	buffered *bufio.Reader
	left     int64 // bytes of the file that are still to come
	err      error
}

// fill reads exactly dst.
func (r *reader) fill(dst []byte) {
	if r.err != nil {
		return
	}
	if int64(len(dst)) > r.left {
		r.err = truncated{}
		return
	}
	r.left -= int64(len(dst))
	if _, err := io.ReadFull(r.buffered, dst); err != nil {
		r.err = cause(err)
	}
}

func (r *reader) uint32() uint32 { return number[uint32](r) }
func (r *reader) uint64() uint64 { return number[uint64](r) }

// Lengths beyond ggml's own limits are damage: a large file alone doesn't bound them.
const (
	maxText = 1 << 30 // bytes
	maxList = 1 << 30 // elements
)

// text reads a string of at most limit bytes.
func (r *reader) text(limit uint64) string {
	n := r.uint64()
	switch {
	case r.err != nil:
		return ""
	case n > limit:
		r.err = fmt.Errorf("a text of %d bytes; %d are possible", n, limit)
		return ""
	case n > uint64(r.left):
		r.err = truncated{}
		return ""
	}
	b := make([]byte, n)
	r.fill(b)
	return string(b)
}

// value reads a value of kind k.
func (r *reader) value(k kind, arrays bool) any {
	if r.err != nil {
		return nil
	}
	switch k {
	case kindUint8:
		return number[uint8](r)
	case kindInt8:
		return number[int8](r)
	case kindUint16:
		return number[uint16](r)
	case kindInt16:
		return number[int16](r)
	case kindUint32:
		return number[uint32](r)
	case kindInt32:
		return number[int32](r)
	case kindFloat32:
		return number[float32](r)
	case kindBool:
		return r.bool()
	case kindString:
		return r.string()
	case kindUint64:
		return number[uint64](r)
	case kindInt64:
		return number[int64](r)
	case kindFloat64:
		return number[float64](r)
	case kindArray:
		if arrays {
			return r.array()
		}
		r.err = fmt.Errorf("an array of arrays, which ggml doesn't read either")
		return nil
	}
	r.err = fmt.Errorf("a value of the unknown type %d", k)
	return nil
}

func (r *reader) array() any {
	k, n := kind(r.uint32()), r.uint64()
	switch k {
	case kindUint8:
		return numbers[uint8](r, n)
	case kindInt8:
		return numbers[int8](r, n)
	case kindUint16:
		return numbers[uint16](r, n)
	case kindInt16:
		return numbers[int16](r, n)
	case kindUint32:
		return numbers[uint32](r, n)
	case kindInt32:
		return numbers[int32](r, n)
	case kindFloat32:
		return numbers[float32](r, n)
	case kindBool:
		return list(r, n, 1, r.bool)
	case kindString:
		return list(r, n, 8, r.string)
	case kindUint64:
		return numbers[uint64](r, n)
	case kindInt64:
		return numbers[int64](r, n)
	case kindFloat64:
		return numbers[float64](r, n)
	}
	return r.value(k, false) // says what is wrong
}

func (r *reader) string() string { return r.text(maxText) }

func (r *reader) bool() bool {
	b := number[uint8](r)
	if b > 1 && r.err == nil {
		r.err = fmt.Errorf("a truth value of %d", b)
	}
	return b == 1
}

// list reads n elements of at least size bytes each. It grows with what has been read, not with what is claimed.
func list[T any](r *reader, n uint64, size int64, element func() T) []T {
	switch {
	case r.err != nil:
		return nil
	case n > maxList:
		r.err = fmt.Errorf("a list of %d; %d are possible", n, maxList)
		return nil
	case n > uint64(r.left/size):
		r.err = truncated{}
		return nil
	}
	all := make([]T, 0, min(n, 1<<16))
	for range n {
		v := element()
		if r.err != nil {
			return nil
		}
		all = append(all, v)
	}
	return all
}

type numeric interface {
	uint8 | int8 | uint16 | int16 | uint32 | int32 | uint64 | int64 | float32 | float64
}

func number[T numeric](r *reader) (v T) {
	var b [8]byte
	n := binary.Size(v)
	r.fill(b[:n])
	if _, err := binary.Decode(b[:n], binary.LittleEndian, &v); err != nil {
		panic(err) // the sizes agree
	}
	return v
}

func numbers[T numeric](r *reader, n uint64) []T {
	var v T
	return list(r, n, int64(binary.Size(v)), func() T { return number[T](r) })
}
