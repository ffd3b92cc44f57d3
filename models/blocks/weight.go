package blocks

import (
	"math"

	"github.com/gomlx/compute/dtypes"
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
	// Quantized weights are frozen projections that are kept in fewer bits.
	Quantized bool
	// Joint is what the weight may be joined with, or nil.
	Joint *Joint

	value  *Node
	decode func(*Node) *Node // makes a value of codes; nil where value is one
	joined *Node             // value of the whole Joint; nil where it is by itself
}

// Bind sets the graph value that the blocks compute with. Its dtype decides the dtype of the activations.
func (w *Weight) Bind(value *Node) { w.value = value }

// BindCodes binds a quantized weight: decode makes its value of codes wherever it is used.
func (w *Weight) BindCodes(codes *Node, decode func(codes *Node) *Node) {
	w.value, w.decode = codes, decode
}

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
	return l.adjust(l.Weight.project(x, t), x, t)
}

// adjust adds what there is besides x Wᵀ.
func (l *Linear) adjust(y, x *Node, t *Training) *Node {
	if l.LoRA != nil {
		y = Add(y, l.LoRA.Forward(x, t))
	}
	if l.Bias != nil {
		y = Add(y, ExpandLeftToRank(l.Bias.value, y.Rank()))
	}
	return y
}

// Head is the projection, which has no bias, as the products that Logits and CrossEntropy sum up. LoRA drops nothing.
func (l *Linear) Head(x *Node) []Product {
	products := []Product{{x, l.Weight.value}}
	if l.LoRA != nil {
		products = append(products, l.LoRA.product(x))
	}
	return products
}

// project is x Wᵀ for x [..., in] and w [out, in].
func project(x, w *Node) *Node {
	return dot(x, w).General([]int{x.Rank() - 1}, nil, []int{1}, nil)
}

// projectFew is project of a few rows, as decoding has them, in the element type as: a single one is a vector, for which see dot32.
func projectFew(x, w *Node, as dtypes.DType) *Node {
	contract := []int{x.Rank() - 1}
	if x.Shape().Size() == x.Shape().Dimensions[x.Rank()-1] {
		return ConvertDType(dot32(x, w).General(contract, nil, []int{1}, nil), as)
	}
	return dot(x, w).WithOutputDType(as).General(contract, nil, []int{1}, nil)
}

// swapped is project with the gradient by W as (xᵀ dy)ᵀ, where gomlx has dyᵀ x. XLA on the CPU transposes the first factor
// in memory, and computes it anew while it does: x is less work than dy, which has a gate's or a loss's slope in it.
func swapped(x, w *Node) *Node {
	var dy *Node
	rows := func(n *Node) *Node {
		features := n.Shape().Dimensions[n.Rank()-1]
		return Reshape(n, n.Shape().Size()/features, features)
	}
	w = IdentityWithCustomGradient(w, func(_, _ *Node) *Node {
		return Transpose(dot(rows(x), rows(dy)).General([]int{0}, nil, []int{0}, nil), 0, 1)
	})
	// The gradient by y is known before those by x and W.
	return IdentityWithCustomGradient(project(x, w), func(_, v *Node) *Node {
		dy = v
		return v
	})
}

// dot is a product whose gradients are products of the same element type. gomlx asks for sums in float32 by default,
// which XLA does anyway, but then also converts both factors of a bfloat16 product's gradients to float32.
func dot(a, b *Node) *DotBuilder {
	return Dot(a, b).WithAccumulatorDType(dtypes.InvalidDType)
}

// dot32 is a product in float32, of factors that may have fewer bits. For decoding: of a product with a vector XLA on a GPU makes
// a reduction, in which it rounds each term to the product's element type, and not only their sum.
func dot32(a, b *Node) *DotBuilder { return dot(a, b).WithOutputDType(dtypes.Float32) }

// project maps x [..., in] to x Wᵀ [..., out]. A quantized W is decoded when x is there, and for the backward pass again
// when its gradient is: never are more than a few decoded weights there at once.
func (w *Weight) project(x *Node, t *Training) *Node {
	if w.decode == nil {
		switch {
		case t == nil:
			return projectFew(x, w.value, x.DType())
		case t.swaps():
			return swapped(x, w.value)
		}
		return project(x, w.value)
	}
	// A zero that depends on x orders the program. It is a float, whose product with zero XLA must compute, and not one
	// of the codes' type, where XLA would know it. As a checkpoint it is where recomputation begins.
	zero := SchedulingBarrier(Scalar(x.Graph(), dtypes.Float32, 0), x)
	if t != nil {
		zero = zero.Checkpoint()
	}
	codes := Add(w.value, ConvertDType(zero, w.value.DType()))
	y := project(x, StopGradient(w.decode(codes)))
	if t != nil && !t.recomputing {
		y = y.StopCheckpoint()
	}
	return y
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
	p := l.product(t.Dropout(x, l.Dropout))
	return project(p.X, p.W)
}

func (l *LoRA) product(x *Node) Product {
	return Product{MulScalar(project(x, l.A.value), l.Scale), l.B.value}
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

// Head is a tied output projection: logits are products with the table itself.
func (e *Embedding) Head(x *Node) []Product { return []Product{{x, e.Weight.value}} }
