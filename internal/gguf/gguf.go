// Package gguf reads and writes the file format of llama.cpp, and the number formats of its tensors: it turns blocks of
// quantized numbers into float32 and back, so that a model can be used from the one file that most people pass around.
// What the tensors and the metadata mean for a model is the business of others.
//
// A file is a magic number, a version, two counts, metadata as typed key-value pairs, a description of each tensor, and
// the tensors' data, each at a multiple of the alignment; all little endian. Sources: docs/gguf.md and src/gguf.cpp of
// ggml, and ggml-quants.c for the blocks.
package gguf

import (
	"fmt"
	"math/bits"
	"slices"
)

// Alignment is where tensors start in files that don't say otherwise, and in those that Write makes.
const Alignment = 32

// Type is the number format of a tensor, by its number in the file.
type Type uint32

// The formats that Dequantize reads.
const (
	F32  Type = 0
	F16  Type = 1
	Q4_0 Type = 2
	Q4_1 Type = 3
	Q5_0 Type = 6
	Q5_1 Type = 7
	Q8_0 Type = 8
	Q2_K Type = 10
	Q3_K Type = 11
	Q4_K Type = 12
	Q5_K Type = 13
	Q6_K Type = 14
	BF16 Type = 30
)

// layout is how a format packs numbers: so many in a block of so many bytes.
type layout struct {
	name           string
	numbers, bytes uint64
}

// layouts are the formats that a file may hold, those that nothing here computes with included.
var layouts = map[Type]layout{
	F32: {"F32", 1, 4}, F16: {"F16", 1, 2}, BF16: {"BF16", 1, 2}, 28: {"F64", 1, 8},
	24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8},
	Q4_0: {"Q4_0", 32, 18}, Q4_1: {"Q4_1", 32, 20}, Q5_0: {"Q5_0", 32, 22}, Q5_1: {"Q5_1", 32, 24}, Q8_0: {"Q8_0", 32, 34},
	Q2_K: {"Q2_K", 256, 84}, Q3_K: {"Q3_K", 256, 110}, Q4_K: {"Q4_K", 256, 144}, Q5_K: {"Q5_K", 256, 176},
	Q6_K: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50},
	20: {"IQ4_NL", 32, 18}, 21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136},
	29: {"IQ1_M", 256, 56}, 34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17}, 40: {"NVFP4", 64, 36},
}

// String is the format's name in llama.cpp, such as "Q4_K".
func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Block is how many numbers share a block; rows of a tensor are made of whole blocks.
func (t Type) Block() int { return int(layouts[t].numbers) }

// Info describes one tensor.
type Info struct {
	Name  string
	Type  Type
	Shape []int // row-major, as NumPy has it: the reverse of the order in the file
}

// Bytes is the size of the tensor's data, and -1 for a description that is no tensor's. Files that Open accepts have none
// of these.
func (i Info) Bytes() int64 {
	n, err := i.bytes()
	if err != nil {
		return -1
	}
	return n
}

// Size is the number of elements.
func (i Info) Size() int {
	n := 1
	for _, d := range i.Shape {
		n *= d
	}
	return n
}

// bytes is Bytes with the reason.
func (i Info) bytes() (int64, error) {
	l, ok := layouts[i.Type]
	switch {
	case !ok:
		return 0, fmt.Errorf("tensor %q has the unknown %s", i.Name, i.Type)
	case len(i.Shape) == 0 || len(i.Shape) > maxDimensions:
		return 0, fmt.Errorf("tensor %q has %d dimensions; 1 to %d are possible", i.Name, len(i.Shape), maxDimensions)
	case uint64(i.Shape[len(i.Shape)-1])%l.numbers != 0:
		return 0, fmt.Errorf("tensor %q: rows of %d numbers aren't whole blocks of %s, which have %d", i.Name, i.Shape[len(i.Shape)-1], l.name, l.numbers)
	}
	n := uint64(1)
	for _, d := range i.Shape {
		high, low := bits.Mul64(n, uint64(d))
		if d <= 0 || high != 0 || low > 1<<56 { // so that its bytes have 63 bits
			return 0, fmt.Errorf("tensor %q has the impossible shape %v", i.Name, i.Shape)
		}
		n = low
	}
	return int64(n / l.numbers * l.bytes), nil
}

func (i Info) clone() Info {
	i.Shape = slices.Clone(i.Shape)
	return i
}

// KV is a pair of the metadata. A value is of type uint8, int8, uint16, int16, uint32, int32, float32, bool, string, uint64,
// int64 or float64, or a slice of one of them.
type KV struct {
	Key   string
	Value any
}
