package training

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/configs"
)

// optimizer updates one weight at a time from its gradient. All arithmetic is in float32.
type optimizer interface {
	// slots are the arrays of state that a weight of the given shape needs; they start as zeros.
	slots(shape []int) []slot
	// advance returns the state after the gradient, in the order of slots.
	advance(gradient *Node, state []*Node, at moment) []*Node
	// update returns the new weight; state has already advanced.
	update(w, gradient *Node, state []*Node, at moment) *Node
}

// slot is one array of optimizer state of a weight.
type slot struct {
	name  string
	shape []int
	// exact slots are float32 whatever the precision: a mean over a thousand steps changes by less than bfloat16 can tell.
	exact bool
}

// moment is what changes from step to step: inputs of the program, float32 scalars.
type moment struct {
	rate *Node // learning rate
	step *Node // number of the step, from 1
}

func newOptimizer(c configs.Optim) optimizer {
	switch c.Kind {
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

func (o adamW) slots(shape []int) []slot {
	return []slot{{"exp_avg", shape, false}, {"exp_avg_sq", shape, true}}
}

func (o adamW) advance(gradient *Node, state []*Node, _ moment) []*Node {
	m := Add(MulScalar(state[0], o.Beta1), MulScalar(gradient, 1-o.Beta1))
	v := Add(MulScalar(state[1], o.Beta2), MulScalar(Square(gradient), 1-o.Beta2))
	return []*Node{m, v}
}

func (o adamW) update(w, _ *Node, state []*Node, at moment) *Node {
	// 1 - beta^step, the share of the averages that isn't their start at zero.
	bias := func(beta float64) *Node { return Neg(Expm1(MulScalar(at.step, math.Log(beta)))) }
	if d := decay(o.Optim, w); d != 0 {
		w = Mul(w, OneMinus(MulScalar(at.rate, d)))
	}
	root := AddScalar(Div(Sqrt(state[1]), Sqrt(bias(o.Beta2))), o.Eps)
	return Sub(w, Mul(Div(at.rate, bias(o.Beta1)), Div(state[0], root)))
}

// sgd is stochastic gradient descent without momentum; its weight decay is that of torch.optim.SGD.
type sgd struct{ configs.Optim }

func (o sgd) slots([]int) []slot { return nil }

func (o sgd) advance(*Node, []*Node, moment) []*Node { return nil }

func (o sgd) update(w, gradient *Node, _ []*Node, at moment) *Node {
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

func (o adafactor) slots(shape []int) []slot {
	n := len(shape)
	if n < 2 {
		return []slot{{"exp_avg_sq", shape, true}}
	}
	column := append(append([]int{}, shape[:n-2]...), shape[n-1])
	return []slot{{"exp_avg_sq_row", shape[:n-1], true}, {"exp_avg_sq_col", column, true}}
}

func (o adafactor) advance(gradient *Node, state []*Node, at moment) []*Node {
	keep := OneMinus(Exp(MulScalar(Log(at.step), adafactorDecayRate)))
	average := func(old, now *Node) *Node { return Add(Mul(old, keep), Mul(now, OneMinus(keep))) }
	squared := AddScalar(Square(gradient), adafactorEps)
	if len(state) == 1 {
		return []*Node{average(state[0], squared)}
	}
	return []*Node{average(state[0], ReduceMean(squared, -1)), average(state[1], ReduceMean(squared, -2))}
}

func (o adafactor) update(w, gradient *Node, state []*Node, at moment) *Node {
	rate := at.rate
	if o.RelativeStep {
		rate = Mul(rate, MaxScalar(rms(w), adafactorMinScale))
	}
	mean := state[0] // of squared gradients
	if len(state) == 2 {
		row, column := state[0], state[1]
		row = Div(row, ReduceAndKeep(row, ReduceMean, -1))
		mean = Mul(ExpandAxes(row, -1), ExpandAxes(column, -2))
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

func all32(nodes []*Node) []*Node {
	converted := make([]*Node, len(nodes))
	for i, n := range nodes {
		converted[i] = to32(n)
	}
	return converted
}
