package blocks

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// unfused says why attention of q [batch, query, heads, headDim] over k can't be one cuDNN kernel, forward and backward,
// or nothing when it can. dropout is the rate at which weights are dropped in this pass.
//
// The limits of the head size are those that JAX checks for cuDNN's flash attention in training, on Ampere and Hopper. A
// mask is causal order or nothing. Padding on the right needs no more than causal order: padded keys come after all
// queries that count.
func (a Attention) unfused(q, k shapes.Shape, dropout float64) string {
	headDim := q.Dimensions[3]
	switch {
	case !q.DType.IsHalfPrecision():
		return fmt.Sprintf("it computes in bfloat16 or float16, not %s", q.DType)
	case a.Bias != nil:
		return "a learned bias gets no gradient from it"
	case a.Mask != nil:
		return "it takes no mask beside causal order"
	case q.Dimensions[1] != k.Dimensions[1]:
		return fmt.Sprintf("%d queries attend to %d keys", q.Dimensions[1], k.Dimensions[1])
	case headDim%8 != 0 || headDim > 128:
		return fmt.Sprintf("the head size is %d, not a multiple of 8 up to 128", headDim)
	case dropout > 0:
		return fmt.Sprintf("attention dropout is %v", dropout)
	}
	return ""
}

// fused is Attend as one kernel, which keeps no scores. In the order of axes that projections give, [batch, seq, heads,
// headDim], nothing is transposed.
func (a Attention) fused(q, k, v *Node) *Node {
	out, _ := BackendFusedScaledDotProductAttention(q, k, v, compute.AttentionAxesLayoutBSHD,
		&compute.ScaledDotProductAttentionConfig{Scale: a.Scale, Causal: a.Causal})
	d := out.Shape().Dimensions
	return Reshape(out, d[0], d[1], d[2]*d[3])
}
