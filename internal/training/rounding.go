package training

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// rounding stores float32 results in fewer bits. To bfloat16 it rounds stochastically: to one of the two neighbours, to
// each with a probability that falls linearly with its distance, so that the mean is what was rounded. An update much
// smaller than the weight, 1/256 of which is a step of bfloat16, then counts on average instead of being lost every time
// (Gupta et al., "Deep Learning with Limited Numerical Precision", 2015).
type rounding struct {
	key *Node // uint32 scalar, another at every step of every run
}

// like is x, float32, in the element type of stored. number is that of the array among all that are rounded with one key.
func (r rounding) like(x, stored *Node, number int) *Node {
	nearest := like(x, stored)
	if stored.DType() != dtypes.BFloat16 {
		return nearest
	}
	// bfloat16 is the upper half of float32. A random number below it carries into the upper half as often as the lower half
	// is large. It must not carry into what makes a NaN.
	sum := Add(Bitcast(x, dtypes.Uint32), r.random(x.Shape(), number))
	upper := BitwiseAnd(sum, Scalar(x.Graph(), dtypes.Uint32, 0xffff0000))
	return Where(IsFinite(x), like(Bitcast(upper, dtypes.Float32), stored), nearest)
}

// random are numbers from 0 to 0xffff, uint32, one for each element: half of a hash of the element's index and the key, the
// other half of which serves the next number. They are computed where they are used and take no memory.
func (r rounding) random(shape shapes.Shape, number int) *Node {
	g := r.key.Graph()
	index := Reshape(Iota(g, shapes.Make(dtypes.Uint32, shape.Size()), 0), shape.Dimensions...)
	const golden = 0x9e3779b9 // 2^32 over the golden ratio: multiples of it are far apart
	key := hash(Add(r.key, Scalar(g, dtypes.Uint32, uint32(number/2)*golden)))
	h := hash(BitwiseXor(index, key))
	if number%2 == 0 {
		return BitwiseShiftRightLogicalScalar(h, 16)
	}
	return BitwiseAnd(h, Scalar(g, dtypes.Uint32, 0xffff))
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
