package blocks

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Training is what a pass over whole sequences needs to know besides them. A nil *Training is decoding, and the zero
// Training evaluation: no dropout, nothing recomputed, no fused attention.
type Training struct {
	// Recompute says what the backward pass computes again instead of keeping it.
	Recompute Recompute
	// Fused lets attention be one kernel where it can: the device has cuDNN.
	Fused bool
	// Random is the key of dropout's random numbers, a uint32 scalar; nil trains without dropout.
	Random *Node

	dropouts    int // so far
	unfused     []string
	recomputing bool // between start and end
}

// Recompute is a choice of activations that aren't kept for the backward pass.
type Recompute string

// RecomputeLayer keeps only the input of each layer, RecomputeAttention all but the scores [batch, heads, query, key] of
// attention and what follows from them.
const (
	RecomputeNone      Recompute = "none"
	RecomputeLayer     Recompute = "layer"
	RecomputeAttention Recompute = "attention"
)

// Unfused says why attention wasn't fused although Fused allowed it, each reason once.
func (t *Training) Unfused() []string { return t.unfused }

// Dropout zeroes elements of x with probability rate and scales the rest by 1/(1-rate).
func (t *Training) Dropout(x *Node, rate float64) *Node {
	if t.rate(rate) == 0 {
		return x
	}
	bits := RandomBits(t.Random, x.Shape(), t.dropouts)
	t.dropouts++
	keep := GreaterOrEqual(bits, Scalar(x.Graph(), dtypes.Uint32, uint32(rate*(1<<32))))
	return Where(keep, MulScalar(x, 1/(1-rate)), ZerosLike(x))
}

// rate is the rate of a dropout in this pass.
func (t *Training) rate(configured float64) float64 {
	if t == nil || t.Random == nil {
		return 0
	}
	return configured
}

// LayerStart marks where a layer begins.
func (t *Training) LayerStart(x *Node) *Node { return t.start(RecomputeLayer, x)[0] }

// LayersEnd marks the end of the last layer.
func (t *Training) LayersEnd(x *Node) *Node { return t.end(RecomputeLayer, x) }

// start marks nodes from which on everything is computed again, if what is chosen. The random key isn't one of them: XLA
// computes most masks of dropout where they are used anyway, and with a key that waits for the backward pass it scheduled
// what is computed again too early, which took three times the memory of a QLoRA step.
func (t *Training) start(what Recompute, nodes ...*Node) []*Node {
	if t == nil || t.Recompute != what {
		return nodes
	}
	t.recomputing = true
	kept := make([]*Node, len(nodes))
	for i, n := range nodes {
		kept[i] = n.Checkpoint()
	}
	return kept
}

// end marks a node that is kept again, if what is chosen.
func (t *Training) end(what Recompute, x *Node) *Node {
	if t == nil || t.Recompute != what {
		return x
	}
	t.recomputing = false
	return x.StopCheckpoint()
}

// fuses says whether attention a of q and k is to be one kernel, and keeps the reason why not.
func (t *Training) fuses(q, k shapes.Shape, a Attention) bool {
	if t == nil || !t.Fused {
		return false
	}
	reason := a.unfused(q, k, t.rate(a.Dropout))
	if reason != "" && !slices.Contains(t.unfused, reason) {
		t.unfused = append(t.unfused, reason)
	}
	return reason == ""
}

// swaps says whether gradients of weights are to be products in swapped order. It is for devices without cuDNN, which are
// CPUs; and not where activations are computed again, since it would keep them.
func (t *Training) swaps() bool { return t != nil && !t.Fused && t.Recompute == RecomputeNone }
