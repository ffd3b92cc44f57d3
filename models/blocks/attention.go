package blocks

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// masked is the score of a key that may not be attended to: finite, so that a row that may attend to nothing (padding)
// comes out uniform instead of NaN.
const masked = -1e30

// Attention says how Attend weighs keys.
type Attention struct {
	// Scale multiplies the scores: 1/sqrt(headDim), or 1 for T5.
	Scale float64
	// Causal lets query i attend to keys up to i only; there are as many queries as keys.
	Causal bool
	// Mask is true where a query may attend to a key: [batch or 1, 1, query, key]. Nil allows all.
	Mask *Node
	// Bias is added to the scaled scores: [batch or 1, heads, query, key], float32. Nil adds nothing.
	Bias *Node
	// Dropout is the probability of dropping an attention weight in training.
	Dropout float64
}

// Attend is scaled dot-product attention (Vaswani et al., 2017) with query heads in equal groups over the key/value heads
// (Ainslie et al., 2023).
//
// q is [batch, query, heads, headDim]; k and v are [batch, key, kvHeads, headDim]. The result is
// [batch, query, heads*headDim].
func Attend(q, k, v *Node, a Attention, t *Training) *Node {
	if t.fuses(q.Shape(), k.Shape(), a) {
		return a.fused(q, k, v)
	}
	kept := t.start(RecomputeAttention, q, k, v)
	return t.end(RecomputeAttention, a.attend(kept[0], kept[1], kept[2], t))
}

func (a Attention) attend(q, k, v *Node, t *Training) *Node {
	dims := q.Shape().Dimensions
	batch, query, heads, headDim := dims[0], dims[1], dims[2], dims[3]
	key, kvHeads := k.Shape().Dimensions[1], k.Shape().Dimensions[2]
	group := heads / kvHeads

	// One batched product per key/value head: its group of queries is folded into the rows.
	q = Reshape(q, batch, query, kvHeads, group, headDim)
	scores := dot(q, k).General([]int{4}, []int{0, 2}, []int{3}, []int{0, 2}) // [batch, kvHeads, query, group, key]
	scores = MulScalar(ConvertDType(scores, dtypes.Float32), a.Scale)
	if a.Bias != nil {
		bias := Reshape(a.Bias, a.Bias.Shape().Dimensions[0], kvHeads, group, query, key)
		scores = Add(scores, ConvertDType(TransposeAllAxes(bias, 0, 1, 3, 2, 4), dtypes.Float32))
	}
	if mask := a.mask(q.Graph(), batch, query, key); mask != nil {
		mask = BroadcastToShape(ExpandAxes(mask, 3), shapes.Make(dtypes.Bool, scores.Shape().Dimensions...))
		scores = Where(mask, scores, FillScalar(scores.Graph(), scores.Shape(), masked))
	}
	weights := t.Dropout(ConvertDType(Softmax(scores, -1), v.DType()), a.Dropout)
	out := dot(weights, v).General([]int{4}, []int{0, 1}, []int{1}, []int{0, 2}) // [batch, kvHeads, query, group, headDim]
	return Reshape(TransposeAllAxes(out, 0, 2, 1, 3, 4), batch, query, heads*headDim)
}

// mask is true where a query may attend to a key, [batch or 1, 1, query or 1, key], or nil.
func (a Attention) mask(g *Graph, batch, query, key int) *Node {
	switch {
	case !a.Causal:
		return a.Mask
	case a.Mask == nil:
		return Causal(g, query)
	}
	return LogicalAnd(BroadcastToDims(Causal(g, query), batch, 1, query, key), BroadcastToDims(a.Mask, batch, 1, query, key))
}

// SplitHeads maps [batch, seq, heads*headDim] to [batch, seq, heads, headDim].
func SplitHeads(x *Node, heads int) *Node {
	d := x.Shape().Dimensions
	return Reshape(x, d[0], d[1], heads, d[2]/heads)
}

// Causal is the mask [1, 1, seq, seq] with which position i sees positions up to i.
func Causal(g *Graph, seq int) *Node {
	query := Iota(g, shapes.Make(dtypes.Int32, 1, 1, seq, seq), 2)
	key := Iota(g, shapes.Make(dtypes.Int32, 1, 1, seq, seq), 3)
	return GreaterOrEqual(query, key)
}

// SameSegment is the mask [batch, 1, seq, seq] with which a position sees only its own document. segments is
// [batch, seq].
func SameSegment(segments *Node) *Node {
	return Equal(ExpandAxes(segments, 1, -1), ExpandAxes(segments, 1, 2))
}

// Within is the mask [batch, 1, 1, length] that is true for the first lengths[b] positions. lengths is [batch] int32.
func Within(lengths *Node, length int) *Node {
	position := Iota(lengths.Graph(), shapes.Make(dtypes.Int32, 1, 1, 1, length), 3)
	return LessThan(
		BroadcastToDims(position, lengths.Shape().Dimensions[0], 1, 1, length),
		BroadcastToDims(ExpandAxes(lengths, 1, 2, 3), lengths.Shape().Dimensions[0], 1, 1, length))
}
