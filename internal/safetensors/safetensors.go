// Package safetensors reads and writes the safetensors file format, and
// nothing else: tensors go in and out as raw bytes, so that any caller can use
// it without the machinery of a model.
//
// A file is the length of its header (8 bytes, little endian), the header (a
// JSON object that gives each tensor's dtype, shape and place) and the data,
// little endian and in row-major order.
package safetensors

import (
	"fmt"
	"math/bits"
	"slices"
)

// maxHeader is the largest header, in bytes, that the format allows.
const maxHeader = 100_000_000

// dtypes are the element types with their width in bits, ordered by alignment
// as Hugging Face's writer orders them; Write puts the last ones first.
var dtypes = []struct {
	name string
	bits uint64
}{
	{"BOOL", 8},
	{"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6},
	{"U8", 8}, {"I8", 8},
	{"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
	{"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},
	{"I32", 32}, {"U32", 32}, {"F32", 32},
	{"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64},
}

// dtypeRank is the place of a dtype in dtypes, -1 for an unknown one.
func dtypeRank(name string) int {
	for i, d := range dtypes {
		if d.name == name {
			return i
		}
	}
	return -1
}

// Info describes one tensor.
type Info struct {
	Name  string
	DType string // as the format writes it: "F32", "F16", "BF16", "I64", ...
	Shape []int  // empty for a scalar
}

// Bytes is the size of the tensor's data. It is -1 for a description that is
// no tensor's: an unknown dtype, a negative dimension, or 2^61 bytes and
// more. Files that Open accepts have none of these.
func (i Info) Bytes() int64 {
	n, err := i.bytes()
	if err != nil {
		return -1
	}
	return n
}

// bytes is Bytes with the reason.
func (i Info) bytes() (int64, error) {
	rank := dtypeRank(i.DType)
	if rank < 0 {
		return 0, fmt.Errorf("tensor %q: unknown dtype %q", i.Name, i.DType)
	}
	n := dtypes[rank].bits
	for _, d := range i.Shape {
		if d < 0 {
			return 0, fmt.Errorf("tensor %q: negative dimension in shape %v", i.Name, i.Shape)
		}
		high, low := bits.Mul64(n, uint64(d))
		if high != 0 {
			return 0, fmt.Errorf("tensor %q: shape %v is too large", i.Name, i.Shape)
		}
		n = low
	}
	if n%8 != 0 {
		return 0, fmt.Errorf("tensor %q: shape %v of %s doesn't fill whole bytes", i.Name, i.Shape, i.DType)
	}
	return int64(n / 8), nil // below 2^61
}

func (i Info) clone() Info {
	i.Shape = slices.Clone(i.Shape)
	return i
}
