package blocks

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// RMSNorm divides by the root mean square of the last axis (Zhang and Sennrich, 2019).
type RMSNorm struct {
	Weight  *Weight `weight:"weight"`
	Epsilon float64
}

// NewRMSNorm declares a norm over size features.
func NewRMSNorm(size int, epsilon float64) RMSNorm {
	return RMSNorm{Weight: &Weight{Shape: []int{size}, Init: ConstantInit(1)}, Epsilon: epsilon}
}

// Forward maps [..., size] to the same shape.
func (n *RMSNorm) Forward(x *Node) *Node {
	x32 := ConvertDType(x, dtypes.Float32)
	y := Mul(x32, inverseRoot(ReduceAndKeep(Square(x32), ReduceMean, -1), n.Epsilon))
	return ConvertDType(Mul(y, vector32(n.Weight, y)), x.DType())
}

// LayerNorm subtracts the mean and divides by the standard deviation of the last axis (Ba et al., 2016). Without weights
// it only normalizes.
type LayerNorm struct {
	Weight  *Weight `weight:"weight"`
	Bias    *Weight `weight:"bias"`
	Epsilon float64
}

// NewLayerNorm declares a norm over size features; affine says whether it scales and shifts.
func NewLayerNorm(size int, epsilon float64, affine bool) LayerNorm {
	n := LayerNorm{Epsilon: epsilon}
	if affine {
		n.Weight = &Weight{Shape: []int{size}, Init: ConstantInit(1)}
		n.Bias = &Weight{Shape: []int{size}, Init: ConstantInit(0)}
	}
	return n
}

// Forward maps [..., size] to the same shape.
func (n *LayerNorm) Forward(x *Node) *Node {
	x32 := ConvertDType(x, dtypes.Float32)
	centred := Sub(x32, ReduceAndKeep(x32, ReduceMean, -1))
	y := Mul(centred, inverseRoot(ReduceAndKeep(Square(centred), ReduceMean, -1), n.Epsilon))
	if n.Weight != nil {
		y = Add(Mul(y, vector32(n.Weight, y)), vector32(n.Bias, y))
	}
	return ConvertDType(y, x.DType())
}

// inverseRoot is 1/sqrt(variance + epsilon), written without Rsqrt, which has no gradient in gomlx.
func inverseRoot(variance *Node, epsilon float64) *Node {
	return Inverse(Sqrt(AddScalar(variance, epsilon)))
}

func vector32(w *Weight, like *Node) *Node {
	return ExpandLeftToRank(ConvertDType(w.value, dtypes.Float32), like.Rank())
}
