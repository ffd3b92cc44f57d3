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

// step computes the moments twice, so that they aren't in memory as float32: for the weight and the scales, and then, when
// the largest of each block is known, for the codes. The barriers keep XLA from storing them for the second time, and from
// writing what it still has to read: first the weight is in its place, then the codes, then the scales.
func (o adamW8) step(stored []*Node, gradient *Node, at moment, keep keeper) {
	if len(stored) == 3 {
		o.adamW.step(stored, gradient, at, keep)
		return
	}
	moments := func(state []*Node) (m, v *Node) {
		return o.average(gradient, signed.dequantize(state[0], state[1]), unsigned.dequantize(state[2], state[3]), at)
	}
	m, v := moments(stored[1:])
	w := keep(0, o.update(to32(stored[0]), m, v, at))
	again := OptimizationBarriers(concat(stored[1:], []*Node{largest(m), largest(v), w})...)
	m, v = moments(again)
	scales := again[4:6]
	codes := []*Node{keep(1, signed.quantize(m, scales[0])), keep(3, unsigned.quantize(v, scales[1]))}
	scales = OptimizationBarriers(concat(scales, codes)...)
	keep(2, scales[0])
	keep(4, scales[1])
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

// quantize returns the codes of x, float32, uint8 in its shape. Numbers are stored as parts of the scales of their blocks.
func (d dynamic) quantize(x, scales *Node) *Node {
	share := Mul(x, spread(Inverse(MaxScalar(scales, 1e-37)), x.Shape())) // in a block of zeros, 0
	distance := d.nearest(Abs(share))
	if d.signed {
		distance = Where(LessThan(share, ScalarZero(x.Graph(), dtypes.Float32)), Neg(MinScalar(distance, d.zero())), distance)
	}
	return ConvertDType(AddScalar(distance, d.zero()), dtypes.Uint8)
}

// dequantize is the inverse of quantize.
func (d dynamic) dequantize(codes, scales *Node) *Node {
	distance := AddScalar(to32(codes), -d.zero())
	share := d.number(Abs(distance))
	if d.signed {
		share = Where(LessThan(distance, ScalarZero(codes.Graph(), dtypes.Float32)), Neg(share), share)
	}
	return Mul(share, spread(scales, codes.Shape()))
}

// largest is the largest absolute value of each block of x: its scale.
func largest(x *Node) *Node {
	x = Reshape(Abs(x), -1)
	if missing := -x.Shape().Size() & (block - 1); missing > 0 {
		x = Concatenate([]*Node{x, Zeros(x.Graph(), shapes.Make(x.DType(), missing))}, 0)
	}
	return ReduceMax(Reshape(x, -1, block), -1)
}

// spread gives each element of an array its block's scale.
func spread(scales *Node, shape shapes.Shape) *Node {
	x := Reshape(BroadcastToDims(ExpandAxes(scales, -1), scales.Shape().Size(), block), -1)
	if n := shape.Size(); n < x.Shape().Size() {
		x = Slice(x, AxisRange(0, n))
	}
	return Reshape(x, shape.Dimensions...)
}
