package blocks

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// IgnoreIndex is the label of a position without a loss, as in torch.
const IgnoreIndex = -100

// CrossEntropy is the negative log-likelihood of labels [batch, seq] int32 under logits [batch, seq, vocab], computed in
// float32: its sum over each row [batch] and the number of labels that count in each row [batch], both float32. The
// caller divides, so that batches can be cut anywhere.
//
// Differentiate objective, a scalar, and not sum: its gradient is that of all sums together, softmax minus one-hot, written
// down instead of derived. That leaves the logits to be read once more and nothing of their size to be kept, and on the
// Go backend Softmax is one fused operation, where the exponentials of the derived form took most of a step.
func CrossEntropy(logits, labels *Node) (sum, count, objective *Node) {
	logits = ConvertDType(logits, dtypes.Float32)
	counted := NotEqual(labels, Scalar(labels.Graph(), labels.DType(), IgnoreIndex))
	vocab := Iota(labels.Graph(), shapes.Make(labels.DType(), logits.Shape().Dimensions...), logits.Rank()-1)
	isLabel := Equal(vocab, BroadcastToDims(ExpandAxes(labels, -1), logits.Shape().Dimensions...))

	fixed := StopGradient(logits)
	probabilities := Softmax(fixed, -1)
	// The largest probability is 1 over the sum of the exponentials above the largest logit.
	label := ReduceSum(Where(isLabel, fixed, ZerosLike(fixed)), -1)
	nll := Sub(Sub(ReduceMax(fixed, -1), Log(ReduceMax(probabilities, -1))), label)
	nll = Where(counted, nll, ZerosLike(nll))

	slope := Where(isLabel, AddScalar(probabilities, -1), probabilities)
	slope = Mul(slope, ExpandAxes(ConvertDType(counted, dtypes.Float32), -1))
	objective = ReduceAllSum(Mul(StopGradient(slope), logits))
	return ReduceSum(nll, -1), ReduceSum(ConvertDType(counted, dtypes.Float32), -1), objective
}
