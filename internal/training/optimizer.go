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
	// step returns the weight after the gradient, and keeps the state after it. w and gradient are float32, state is as it
	// is stored.
	step(w, gradient *Node, state []*Node, at moment, keep keeper) *Node
}

// keeper stores an array as the next state of a slot, and returns, in float32, what is then stored. Where that is used
// instead of the state before, XLA updates the state without a copy.
type keeper func(slot int, next *Node) *Node

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

func (o adamW) step(w, gradient *Node, state []*Node, at moment, keep keeper) *Node {
	m, v := o.average(gradient, to32(state[0]), to32(state[1]))
	return o.update(w, keep(0, m), keep(1, v), at)
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

func (o sgd) step(w, gradient *Node, _ []*Node, at moment, _ keeper) *Node {
	if d := decay(o.Optim, w); d != 0 {
		gradient = Add(gradient, MulScalar(w, d))
	}
	return Sub(w, Mul(at.rate, gradient))
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

func (o adafactor) step(w, gradient *Node, state []*Node, at moment, keep keeper) *Node {
	fade := OneMinus(Exp(MulScalar(Log(at.step), adafactorDecayRate)))
	average := func(old, now *Node) *Node { return Add(Mul(old, fade), Mul(now, OneMinus(fade))) }
	squared := AddScalar(Square(gradient), adafactorEps)
	var mean *Node // of squared gradients
	if len(state) == 1 {
		mean = keep(0, average(state[0], squared))
	} else {
		row := keep(0, average(state[0], ReduceMean(squared, -1)))
		column := keep(1, average(state[1], ReduceMean(squared, -2)))
		row = Div(row, ReduceAndKeep(row, ReduceMean, -1))
		mean = Mul(ExpandAxes(row, -1), ExpandAxes(column, -2))
	}
	rate := at.rate
	if o.RelativeStep {
		rate = Mul(rate, MaxScalar(rms(w), adafactorMinScale))
	}
	update := Div(gradient, Sqrt(mean))
	update = Div(update, MaxScalar(DivScalar(rms(update), adafactorClip), 1.0))
	if d := decay(o.Optim, w); d != 0 {
		w = Mul(w, OneMinus(MulScalar(rate, d)))
	}
	return Sub(w, Mul(rate, update))
}

// rms is the root mean square of all elements.
func rms(x *Node) *Node { return Sqrt(ReduceAllMean(Square(x))) }

// to32 and like convert between the stored element type and the float32 of the arithmetic.
func to32(x *Node) *Node         { return ConvertDType(x, dtypes.Float32) }
func like(x, stored *Node) *Node { return ConvertDType(x, stored.DType()) }
