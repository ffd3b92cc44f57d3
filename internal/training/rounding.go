package training

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/models/blocks"
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

// random are numbers from 0 to 0xffff, uint32, one for each element: half of random bits, the other half of which serves the
// next number.
func (r rounding) random(shape shapes.Shape, number int) *Node {
	bits := blocks.RandomBits(r.key, shape, number/2)
	if number%2 == 0 {
		return BitwiseShiftRightLogicalScalar(bits, 16)
	}
	return BitwiseAnd(bits, Scalar(bits.Graph(), dtypes.Uint32, 0xffff))
}
