package blocks

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// RandomBits are random numbers, uint32, one for each element of shape: a hash of the element's index and of key, a uint32
// scalar. number tells arrays with the same key apart. Compilers fuse the hash into what reads the numbers, so that they take
// no memory, in the backward pass neither; those of a generator of random numbers are written down and kept.
func RandomBits(key *Node, shape shapes.Shape, number int) *Node {
	g := key.Graph()
	index := Reshape(Iota(g, shapes.Make(dtypes.Uint32, shape.Size()), 0), shape.Dimensions...)
	const golden = 0x9e3779b9 // 2^32 over the golden ratio: multiples of it are far apart
	key = hash(Add(key, Scalar(g, dtypes.Uint32, uint32(number)*golden)))
	return hash(BitwiseXor(index, key))
}

// hash is lowbias32 (Wellons, "Prospecting for Hash Functions", 2018): a bijection of uint32 in which every bit depends on
// every bit of x.
func hash(x *Node) *Node {
	shifted := func(x *Node, by int) *Node { return BitwiseXor(x, BitwiseShiftRightLogicalScalar(x, by)) }
	times := func(x *Node, factor uint32) *Node { return Mul(x, Scalar(x.Graph(), dtypes.Uint32, factor)) }
	x = times(shifted(x, 16), 0x7feb352d)
	x = times(shifted(x, 15), 0x846ca68b)
	return shifted(x, 16)
}

// RandomRows are random numbers, uint32 [rows, width], of which each row depends on its key [rows], uint32, and its number
// [rows], int32, alone.
func RandomRows(key, number *Node, width int) *Node {
	g, rows := key.Graph(), key.Shape().Dimensions[0]
	const golden = 0x9e3779b9
	key = hash(Add(key, Mul(ConvertDType(number, dtypes.Uint32), Scalar(g, dtypes.Uint32, uint32(golden)))))
	index := Iota(g, shapes.Make(dtypes.Uint32, rows, width), 1)
	return hash(BitwiseXor(index, BroadcastToDims(ExpandAxes(key, 1), rows, width)))
}
