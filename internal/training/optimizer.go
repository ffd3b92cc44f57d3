package training

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/device"
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

// moment holds the numbers that a step is computed with: inputs of its program, so that runs which differ in them share it.
// All are scalars, float32 but for the key. As one array XLA would find reason in it to fuse the updates of matrices, and
// keep all their gradients until then.
type moment struct {
	rate, decay, clip *Node // learning rate, weight decay, largest norm of the gradient
	beta1, rest1      *Node // what AdamW's average keeps of itself, and what it takes of the gradient
	beta2, rest2      *Node // the same of squares
	share1, root2     *Node // the share of the averages that isn't their start at zero: 1 - beta1^step, (1 - beta2^step)^½
	eps               *Node
	fade              *Node // what Adafactor's averages keep of themselves
	key               *Node // of the step's rounding, uint32
}

// scalar is one of a moment's fields.
type scalar struct {
	name  string
	value float64
	field func(*moment) **Node
}

// scalars are all of a moment's fields but the key. They are computed in float64, as torch does.
func scalars(c configs.Optim, rate float64, step int) []scalar {
	n := float64(step)
	return []scalar{
		{"rate", rate, func(m *moment) **Node { return &m.rate }},
		{"decay", c.WeightDecay, func(m *moment) **Node { return &m.decay }},
		{"clip", c.ClipNorm, func(m *moment) **Node { return &m.clip }},
		{"beta1", c.Beta1, func(m *moment) **Node { return &m.beta1 }},
		{"rest1", 1 - c.Beta1, func(m *moment) **Node { return &m.rest1 }},
		{"beta2", c.Beta2, func(m *moment) **Node { return &m.beta2 }},
		{"rest2", 1 - c.Beta2, func(m *moment) **Node { return &m.rest2 }},
		{"share1", 1 - math.Pow(c.Beta1, n), func(m *moment) **Node { return &m.share1 }},
		{"root2", math.Sqrt(1 - math.Pow(c.Beta2, n)), func(m *moment) **Node { return &m.root2 }},
		{"eps", c.Eps, func(m *moment) **Node { return &m.eps }},
		{"fade", 1 - math.Pow(n, adafactorDecayRate), func(m *moment) **Node { return &m.fade }},
	}
}

func momentInputs() []device.Input {
	var in []device.Input
	for _, s := range scalars(configs.Optim{}, 0, 1) {
		in = append(in, device.Input{Name: s.name, Shape: shapes.Make(dtypes.Float32)})
	}
	return append(in, device.Input{Name: "key", Shape: shapes.Make(dtypes.Uint32)})
}

// momentOf is the moment that inputs hold.
func momentOf(in []*Node) moment {
	var m moment
	for i, s := range scalars(configs.Optim{}, 0, 1) {
		*s.field(&m) = in[i]
	}
	m.key = in[len(in)-1]
	return m
}

// shrunk is a weight w after its decay: matrices shrink, vectors (norms and biases) don't.
func (m moment) shrunk(w, rate *Node) *Node {
	if w.Rank() < 2 {
		return w
	}
	return Mul(w, OneMinus(Mul(rate, m.decay)))
}

func newOptimizer(c configs.Optim) optimizer {
	switch c.Kind {
	case "adamw8bit":
		return adamW8{}
	case "adafactor":
		return adafactor{c.RelativeStep}
	case "sgd":
		return sgd{}
	}
	return adamW{}
}

// adamW is Adam with decoupled weight decay (Loshchilov and Hutter, 2019), with the arithmetic of torch.optim.AdamW.
type adamW struct{}

func (adamW) slots(shape []int, stored dtypes.DType) []slot {
	return []slot{{"exp_avg", shapes.Make(stored, shape...)}, {"exp_avg_sq", shapes.Make(stored, shape...)}}
}

func (o adamW) step(stored []*Node, gradient *Node, at moment, keep keeper) {
	m, v := o.average(gradient, to32(stored[1]), to32(stored[2]), at)
	m, v = to32(keep(1, m)), to32(keep(2, v))
	keep(0, o.update(to32(stored[0]), m, v, at))
}

// average returns the averages of the gradient and of its square.
func (adamW) average(gradient, m, v *Node, at moment) (*Node, *Node) {
	return Add(Mul(m, at.beta1), Mul(gradient, at.rest1)), Add(Mul(v, at.beta2), Mul(Square(gradient), at.rest2))
}

func (adamW) update(w, m, v *Node, at moment) *Node {
	root := Add(Div(Sqrt(v), at.root2), at.eps)
	return Sub(at.shrunk(w, at.rate), Mul(Div(at.rate, at.share1), Div(m, root)))
}

// sgd is stochastic gradient descent without momentum; its weight decay is that of torch.optim.SGD.
type sgd struct{}

func (sgd) slots([]int, dtypes.DType) []slot { return nil }

func (sgd) step(stored []*Node, gradient *Node, at moment, keep keeper) {
	w := to32(stored[0])
	if w.Rank() > 1 {
		gradient = Add(gradient, Mul(w, at.decay))
	}
	keep(0, Sub(w, Mul(at.rate, gradient)))
}

// adafactor keeps the second moment of a matrix as its row and column means (Shazeer and Stern, 2018), with the arithmetic
// and the constants of transformers' Adafactor without momentum. With RelativeStep the rate is relative to the size of the
// weight, as in T5's pretraining; without, it is used as it is, as T5 is usually fine-tuned.
type adafactor struct{ relativeStep bool }

const (
	adafactorEps       = 1e-30 // added to squared gradients
	adafactorMinScale  = 1e-3  // least size of a weight that scales the rate
	adafactorClip      = 1.0   // largest root mean square of an update
	adafactorDecayRate = -0.8  // of the averages: 1 - step^-0.8
)

// slots are float32 however weights are stored: they are small.
func (adafactor) slots(shape []int, _ dtypes.DType) []slot {
	exact := func(dims ...int) shapes.Shape { return shapes.Make(dtypes.Float32, dims...) }
	n := len(shape)
	if n < 2 {
		return []slot{{"exp_avg_sq", exact(shape...)}}
	}
	column := append(append([]int{}, shape[:n-2]...), shape[n-1])
	return []slot{{"exp_avg_sq_row", exact(shape[:n-1]...)}, {"exp_avg_sq_col", exact(column...)}}
}

func (o adafactor) step(stored []*Node, gradient *Node, at moment, keep keeper) {
	average := func(old, now *Node) *Node { return Add(Mul(old, at.fade), Mul(now, OneMinus(at.fade))) }
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
	if o.relativeStep {
		rate = Mul(rate, MaxScalar(rms(w), adafactorMinScale))
	}
	update := Div(gradient, Sqrt(mean))
	update = Div(update, MaxScalar(DivScalar(rms(update), adafactorClip), 1.0))
	keep(0, Sub(at.shrunk(w, rate), Mul(rate, update)))
}

// rms is the root mean square of all elements.
func rms(x *Node) *Node { return Sqrt(ReduceAllMean(Square(x))) }

// to32 and like convert between the stored element type and the float32 of the arithmetic.
func to32(x *Node) *Node         { return ConvertDType(x, dtypes.Float32) }
func like(x, stored *Node) *Node { return ConvertDType(x, stored.DType()) }
