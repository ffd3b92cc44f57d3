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
func CrossEntropy(logits, labels *Node) (sum, count *Node) {
	logits = ConvertDType(logits, dtypes.Float32)
	counted := NotEqual(labels, Scalar(labels.Graph(), labels.DType(), IgnoreIndex))
	largest := StopGradient(ReduceAndKeep(logits, ReduceMax, -1))
	shifted := Sub(logits, largest)
	logSum := Log(ReduceSum(Exp(shifted), -1))
	// The label's logit by a masked sum: XLA fuses it, and its gradient is a select instead of a scatter.
	vocab := Iota(labels.Graph(), shapes.Make(labels.DType(), logits.Shape().Dimensions...), logits.Rank()-1)
	isLabel := Equal(vocab, BroadcastToDims(ExpandAxes(labels, -1), logits.Shape().Dimensions...))
	picked := ReduceSum(Where(isLabel, shifted, ZerosLike(shifted)), -1)
	nll := Where(counted, Sub(logSum, picked), ZerosLike(logSum))
	return ReduceSum(nll, -1), ReduceSum(ConvertDType(counted, dtypes.Float32), -1)
}
