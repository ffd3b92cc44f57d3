package training

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/configs"
)

// optimizer updates one weight at a time from its gradient. All arithmetic is in float32.
type optimizer interface {
	// slots are the arrays of state that a weight needs, of the given shape and stored as stored; they start as zeros.
	slots(shape []int, stored dtypes.DType) []slot
	// step keeps a weight and its state after the gradient, which is float32. stored are the weight and then its slots.
	step(stored []*Node, gradient *Node, at moment, keep keeper)
}

// keeper stores what array i of those that are stored becomes, from float32 or from what it is stored as, and returns that.
// XLA does so without a copy where nothing that it computes after that uses what was stored before.
type keeper func(i int, next *Node) *Node

// slot is one array of optimizer state of a weight.
type slot struct {
	name  string
	shape shapes.Shape
}

// moment is what changes from step to step: inputs of the program, scalars.
type moment struct {
	rate *Node // learning rate, float32
	step *Node // number of the step, from 1, float32
	key  *Node // of the step's rounding, uint32
}

func newOptimizer(c configs.Optim) optimizer {
	switch c.Kind {
	case "adamw8bit":
		return adamW8{adamW{c}}
	case "adafactor":
		return adafactor{c}
	case "sgd":
		return sgd{c}
	}
	return adamW{c}
}

// decay is the weight decay of a weight: matrices shrink, vectors (norms and biases) don't.
func decay(c configs.Optim, w *Node) float64 {
	if w.Rank() < 2 {
		return 0
	}
	return c.WeightDecay
}

// adamW is Adam with decoupled weight decay (Loshchilov and Hutter, 2019), with the arithmetic of torch.optim.AdamW.
type adamW struct{ configs.Optim }

func (o adamW) slots(shape []int, stored dtypes.DType) []slot {
	return []slot{{"exp_avg", shapes.Make(stored, shape...)}, {"exp_avg_sq", shapes.Make(stored, shape...)}}
}

func (o adamW) step(stored []*Node, gradient *Node, at moment, keep keeper) {
	m, v := o.average(gradient, to32(stored[1]), to32(stored[2]))
	m, v = to32(keep(1, m)), to32(keep(2, v))
	keep(0, o.update(to32(stored[0]), m, v, at))
}

// average returns the averages of the gradient and of its square.
func (o adamW) average(gradient, m, v *Node) (*Node, *Node) {
	return Add(MulScalar(m, o.Beta1), MulScalar(gradient, 1-o.Beta1)),
		Add(MulScalar(v, o.Beta2), MulScalar(Square(gradient), 1-o.Beta2))
}

func (o adamW) update(w, m, v *Node, at moment) *Node {
	// 1 - beta^step, the share of the averages that isn't their start at zero.
	bias := func(beta float64) *Node { return Neg(Expm1(MulScalar(at.step, math.Log(beta)))) }
	if d := decay(o.Optim, w); d != 0 {
		w = Mul(w, OneMinus(MulScalar(at.rate, d)))
	}
	root := AddScalar(Div(Sqrt(v), Sqrt(bias(o.Beta2))), o.Eps)
	return Sub(w, Mul(Div(at.rate, bias(o.Beta1)), Div(m, root)))
}

// sgd is stochastic gradient descent without momentum; its weight decay is that of torch.optim.SGD.
type sgd struct{ configs.Optim }

func (o sgd) slots([]int, dtypes.DType) []slot { return nil }

func (o sgd) step(stored []*Node, gradient *Node, at moment, keep keeper) {
	w := to32(stored[0])
	if d := decay(o.Optim, w); d != 0 {
		gradient = Add(gradient, MulScalar(w, d))
	}
	keep(0, Sub(w, Mul(at.rate, gradient)))
}

// adafactor keeps the second moment of a matrix as its row and column means (Shazeer and Stern, 2018), with the arithmetic
// and the constants of transformers' Adafactor without momentum. With RelativeStep the rate is relative to the size of the
// weight, as in T5's pretraining; without, it is used as it is, as T5 is usually fine-tuned.
type adafactor struct{ configs.Optim }

const (
	adafactorEps       = 1e-30 // added to squared gradients
	adafactorMinScale  = 1e-3  // least size of a weight that scales the rate
	adafactorClip      = 1.0   // largest root mean square of an update
	adafactorDecayRate = -0.8  // of the averages: 1 - step^-0.8
)

// slots are float32 however weights are stored: they are small.
func (o adafactor) slots(shape []int, _ dtypes.DType) []slot {
	exact := func(dims ...int) shapes.Shape { return shapes.Make(dtypes.Float32, dims...) }
	n := len(shape)
	if n < 2 {
		return []slot{{"exp_avg_sq", exact(shape...)}}
	}
	column := append(append([]int{}, shape[:n-2]...), shape[n-1])
	return []slot{{"exp_avg_sq_row", exact(shape[:n-1]...)}, {"exp_avg_sq_col", exact(column...)}}
}

func (o adafactor) step(stored []*Node, gradient *Node, at moment, keep keeper) {
	fade := OneMinus(Exp(MulScalar(Log(at.step), adafactorDecayRate)))
	average := func(old, now *Node) *Node { return Add(Mul(old, fade), Mul(now, OneMinus(fade))) }
	squared := AddScalar(Square(gradient), adafactorEps)
	var mean *Node // of squared gradients
	if len(stored) == 2 {
		mean = keep(1, average(stored[1], squared))
	} else {
		row := keep(1, average(stored[1], ReduceMean(squared, -1)))
		column := keep(2, average(stored[2], ReduceMean(squared, -2)))
		row = Div(row, ReduceAndKeep(row, ReduceMean, -1))
		mean = Mul(ExpandAxes(row, -1), ExpandAxes(column, -2))
	}
	w, rate := to32(stored[0]), at.rate
	if o.RelativeStep {
		rate = Mul(rate, MaxScalar(rms(w), adafactorMinScale))
	}
	update := Div(gradient, Sqrt(mean))
	update = Div(update, MaxScalar(DivScalar(rms(update), adafactorClip), 1.0))
	if d := decay(o.Optim, w); d != 0 {
		w = Mul(w, OneMinus(MulScalar(rate, d)))
	}
	keep(0, Sub(w, Mul(rate, update)))
}

// rms is the root mean square of all elements.
func rms(x *Node) *Node { return Sqrt(ReduceAllMean(Square(x))) }

// to32 and like convert between the stored element type and the float32 of the arithmetic.
func to32(x *Node) *Node         { return ConvertDType(x, dtypes.Float32) }
func like(x, stored *Node) *Node { return ConvertDType(x, stored.DType()) }
