package training

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// adamW8 is adamW with its moments in 8 bits (Dettmers et al., "8-bit Optimizers via Block-wise Quantization", 2022), with
// the codes, the blocks and the exceptions of bitsandbytes' AdamW8bit. The weight is updated from the exact moments, before
// these are quantized.
type adamW8 struct{ adamW }

const (
	block       = 256  // consecutive elements that share a scale
	min8BitSize = 4096 // smaller weights have float32 moments
)

func (o adamW8) slots(shape []int, _ dtypes.DType) []slot {
	codes := shapes.Make(dtypes.Uint8, shape...)
	if codes.Size() < min8BitSize {
		return o.adamW.slots(shape, dtypes.Float32)
	}
	scales := shapes.Make(dtypes.Float32, (codes.Size()+block-1)/block)
	return []slot{{"exp_avg", codes}, {"exp_avg_absmax", scales}, {"exp_avg_sq", codes}, {"exp_avg_sq_absmax", scales}}
}

func (o adamW8) step(w, gradient *Node, state []*Node, at moment, keep keeper) *Node {
	if len(state) == 2 {
		return o.adamW.step(w, gradient, state, at, keep)
	}
	m, v := o.average(gradient, signed.dequantize(state[0], state[1]), unsigned.dequantize(state[2], state[3]))
	for i, q := range []struct {
		of dynamic
		x  *Node
	}{{signed, m}, {unsigned, v}} {
		codes, scales := q.of.quantize(q.x)
		keep(2*i, codes)
		keep(2*i+1, scales)
	}
	return o.update(w, m, v, at)
}

// dynamic is a map from 8-bit codes to numbers from -1 or 0 to 1 whose exponent is decimal: seven decades below 1, of which
// the i-th is the middles of 2^i equal parts, or 2^(i+1) without a sign, of what lies between a tenth of its end and its
// end; and 0 and 1 (Dettmers, "8-Bit Approximations for Parallelism in Deep Learning", 2015). Codes follow the numbers'
// order. It is bitsandbytes' create_dynamic_map(signed).
type dynamic struct{ signed bool }

var signed, unsigned = dynamic{true}, dynamic{false}

const decades = 7

// parts is the number of codes of decade i, end the end of the decade.
func (d dynamic) parts(i int) float64 { return math.Exp2(float64(i + 1 - d.sign())) }
func (d dynamic) end(i int) float64   { return math.Pow10(i + 1 - decades) }

func (d dynamic) sign() int {
	if d.signed {
		return 1
	}
	return 0
}

// zero is the code of 0. The codes above it are that of the first decade's least number, and so on up to that of 1.
func (d dynamic) zero() float64 { return 127 * float64(d.sign()) }
func (d dynamic) one() float64  { return 255 - d.zero() }

// first is how far above zero the codes of a decade with so many parts begin.
func (d dynamic) first(parts *Node) *Node { return AddScalar(parts, d.sign()-1) }

// nearest is how far above zero the code of the number nearest to x lies, both float32; x is not negative.
func (d dynamic) nearest(x *Node) *Node {
	g := x.Graph()
	scalar := func(v float64) *Node { return Scalar(g, dtypes.Float32, v) }
	// number is the number of part k of decade i.
	number := func(i int, k float64) float64 { return d.end(i) * (0.1 + 0.9*(k+0.5)/d.parts(i)) }
	parts, scale := scalar(d.parts(0)), scalar(1/(0.9*d.end(0)))
	for i := 1; i < decades; i++ {
		within := GreaterOrEqual(x, scalar((number(i-1, d.parts(i-1)-1)+number(i, 0))/2))
		parts = Where(within, scalar(d.parts(i)), parts)
		scale = Where(within, scalar(1/(0.9*d.end(i))), scale)
	}
	// A decade begins at the part before its first: x·parts/(0.9·end) - parts/9 counts parts from a tenth of its end.
	part := Floor(Mul(parts, SubScalar(Mul(x, scale), 1.0/9)))
	code := Add(d.first(parts), Min(part, AddScalar(parts, -1)))
	code = Where(LessThan(x, scalar(number(0, 0)/2)), scalar(0), code)
	return Where(GreaterThan(x, scalar((1+number(decades-1, d.parts(decades-1)-1))/2)), scalar(d.one()), code)
}

// number is the inverse of nearest.
func (d dynamic) number(code *Node) *Node {
	g := code.Graph()
	scalar := func(v float64) *Node { return Scalar(g, dtypes.Float32, v) }
	parts, step := scalar(d.parts(0)), scalar(0.9*d.end(0)/d.parts(0))
	for i := 1; i < decades; i++ {
		within := GreaterOrEqual(code, d.first(scalar(d.parts(i))))
		parts = Where(within, scalar(d.parts(i)), parts)
		step = Where(within, scalar(0.9*d.end(i)/d.parts(i)), step)
	}
	x := Mul(step, Add(AddScalar(Sub(code, d.first(parts)), 0.5), DivScalar(parts, 9)))
	return ClipScalar(x, 0, 1) // below the first decade lies 0, above the last 1
}

// quantize returns the codes of x, float32, uint8 in its shape, and the largest absolute value of each block, which is what
// the block's numbers are parts of.
func (d dynamic) quantize(x *Node) (codes, scales *Node) {
	blocks := intoBlocks(x)
	scales = ReduceMax(Abs(blocks), -1)
	share := Mul(blocks, ExpandAxes(Inverse(MaxScalar(scales, 1e-37)), -1)) // in a block of zeros, 0
	distance := d.nearest(Abs(share))
	if d.signed {
		distance = Where(LessThan(share, ScalarZero(x.Graph(), dtypes.Float32)), Neg(MinScalar(distance, d.zero())), distance)
	}
	return ConvertDType(outOfBlocks(AddScalar(distance, d.zero()), x.Shape()), dtypes.Uint8), scales
}

// dequantize is the inverse of quantize.
func (d dynamic) dequantize(codes, scales *Node) *Node {
	distance := AddScalar(to32(intoBlocks(codes)), -d.zero())
	share := d.number(Abs(distance))
	if d.signed {
		share = Where(LessThan(distance, ScalarZero(codes.Graph(), dtypes.Float32)), Neg(share), share)
	}
	return outOfBlocks(Mul(share, ExpandAxes(scales, -1)), codes.Shape())
}

// intoBlocks cuts x into [blocks, block], with zeros behind the last element.
func intoBlocks(x *Node) *Node {
	x = Reshape(x, -1)
	if missing := -x.Shape().Size() & (block - 1); missing > 0 {
		x = Concatenate([]*Node{x, Zeros(x.Graph(), shapes.Make(x.DType(), missing))}, 0)
	}
	return Reshape(x, -1, block)
}

// outOfBlocks is the inverse of intoBlocks.
func outOfBlocks(blocks *Node, shape shapes.Shape) *Node {
	x := Reshape(blocks, -1)
	if n := shape.Size(); n < x.Shape().Size() {
		x = Slice(x, AxisRange(0, n))
	}
	return Reshape(x, shape.Dimensions...)
}
