package blocks

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Weight is one tensor of a checkpoint. An architecture declares Shape and Init; models.Weights gives it its Name; the
// program being built binds its value.
type Weight struct {
	Name  string
	Shape []int
	Init  Init
	// Frozen weights get no gradient and no optimizer state.
	Frozen bool

	value *Node
}

// Bind sets the graph value that the blocks compute with. Its dtype decides the dtype of the activations.
func (w *Weight) Bind(value *Node) { w.value = value }

// Value is the bound graph value.
func (w *Weight) Value() *Node { return w.value }

// Size is the number of elements.
func (w *Weight) Size() int {
	n := 1
	for _, d := range w.Shape {
		n *= d
	}
	return n
}

// Init says how a weight starts when a model is trained from scratch.
type Init struct {
	Kind InitKind
	// Scale is the standard deviation of Normal, the bound of Uniform and the value of Constant.
	Scale float64
	// ZeroRow is a row that starts as zeros, the padding token's embedding; nil for none.
	ZeroRow *int
}

// InitKind is the distribution of an Init.
type InitKind int

// The distributions that the three families start from.
const (
	Constant InitKind = iota
	Normal
	Uniform
)

// ConstantInit starts every element at value.
func ConstantInit(value float64) Init { return Init{Kind: Constant, Scale: value} }

// NormalInit draws from a normal distribution of mean 0 and the standard deviation std.
func NormalInit(std float64) Init { return Init{Kind: Normal, Scale: std} }

// Linear is a projection y = x Wᵀ + b, with W stored [out, in] as torch does. LoRA, when set, adds its low-rank update.
type Linear struct {
	Weight *Weight `weight:"weight"`
	Bias   *Weight `weight:"bias"`
	LoRA   *LoRA   `weight:""`
}

// NewLinear declares a projection from in to out features.
func NewLinear(in, out int, bias bool, init Init) Linear {
	l := Linear{Weight: &Weight{Shape: []int{out, in}, Init: init}}
	if bias {
		l.Bias = &Weight{Shape: []int{out}, Init: ConstantInit(0)}
	}
	return l
}

// Forward maps [..., in] to [..., out].
func (l *Linear) Forward(x *Node, t *Training) *Node {
	y := project(x, l.Weight.value)
	if l.Bias != nil {
		y = Add(y, ExpandLeftToRank(l.Bias.value, y.Rank()))
	}
	if l.LoRA != nil {
		y = Add(y, l.LoRA.Forward(x, t))
	}
	return y
}

func project(x, w *Node) *Node {
	return DotGeneral(x, []int{x.Rank() - 1}, nil, w, []int{1}, nil)
}

// LoRA is the low-rank update of a frozen projection, (alpha/rank) x Aᵀ Bᵀ (Hu et al., 2021).
type LoRA struct {
	A       *Weight `weight:"lora_A.weight"` // [rank, in]
	B       *Weight `weight:"lora_B.weight"` // [out, rank]
	Scale   float64 // alpha / rank
	Dropout float64
}

// NewLoRA declares an update for l. A starts as PEFT starts it (Kaiming uniform with a = sqrt 5: bound 1/sqrt(in)),
// B at zero, so that training starts from the unchanged model.
func NewLoRA(l *Linear, rank int, alpha, dropout float64) *LoRA {
	out, in := l.Weight.Shape[0], l.Weight.Shape[1]
	return &LoRA{
		A:       &Weight{Shape: []int{rank, in}, Init: Init{Kind: Uniform, Scale: 1 / math.Sqrt(float64(in))}},
		B:       &Weight{Shape: []int{out, rank}, Init: ConstantInit(0)},
		Scale:   alpha / float64(rank),
		Dropout: dropout,
	}
}

// Forward maps [..., in] to [..., out].
func (l *LoRA) Forward(x *Node, t *Training) *Node {
	x = t.Dropout(x, l.Dropout)
	return MulScalar(project(project(x, l.A.value), l.B.value), l.Scale)
}

// Embedding looks rows up in a table [vocab, embed].
type Embedding struct {
	Weight *Weight `weight:"weight"`
}

// NewEmbedding declares a table of rows vectors of size embed.
func NewEmbedding(rows, embed int, init Init) Embedding {
	return Embedding{Weight: &Weight{Shape: []int{rows, embed}, Init: init}}
}

// Forward maps ids [batch, seq] to [batch, seq, embed].
func (e *Embedding) Forward(ids *Node) *Node {
	return Gather(e.Weight.value, ExpandAxes(ids, -1))
}

// Head maps [batch, seq, embed] to logits [batch, seq, vocab] with the table itself: a tied output projection.
func (e *Embedding) Head(x *Node) *Node { return project(x, e.Weight.value) }

// Training is what a forward pass needs to know when a backward pass follows. A nil *Training is inference: no dropout,
// nothing recomputed.
type Training struct {
	// Recompute drops the activations inside each layer and computes them again in the backward pass.
	Recompute bool
	// random is the state of the random number generator; nil trains without dropout.
	random *Node
}

// NewTraining starts a training pass. random is a generator state of RNGStateShape, or nil for no dropout.
func NewTraining(recompute bool, random *Node) *Training {
	return &Training{Recompute: recompute, random: random}
}

// Dropout zeroes elements of x with probability rate and scales the rest by 1/(1-rate).
func (t *Training) Dropout(x *Node, rate float64) *Node {
	if t == nil || t.random == nil || rate == 0 {
		return x
	}
	var u *Node
	t.random, u = RandomUniform(t.random, shapes.Make(dtypes.Float32, x.Shape().Dimensions...))
	keep := GreaterOrEqual(u, Scalar(x.Graph(), dtypes.Float32, rate))
	return Where(keep, MulScalar(x, 1/(1-rate)), ZerosLike(x))
}

// LayerStart marks where a layer begins: with Recompute, only these points are kept for the backward pass.
func (t *Training) LayerStart(x *Node) *Node {
	if t == nil || !t.Recompute {
		return x
	}
	return x.Checkpoint()
}

// LayersEnd marks the end of the last layer.
func (t *Training) LayersEnd(x *Node) *Node {
	if t == nil || !t.Recompute {
		return x
	}
	return x.StopCheckpoint()
}
