package blocks

import (
	"fmt"
	"math"

	. "github.com/gomlx/gomlx/core/graph"
)

// Activation is the nonlinearity of a feed-forward layer, by its Hugging Face name.
type Activation string

// The activations that the three families use.
const (
	ReLU    Activation = "relu"
	SiLU    Activation = "silu"
	GeLUNew Activation = "gelu_new" // the tanh approximation
)

// Validate refuses an activation that Apply doesn't know.
func (a Activation) Validate() error {
	switch a {
	case ReLU, SiLU, GeLUNew:
		return nil
	}
	return fmt.Errorf("activation %q is not supported (%s, %s, %s are)", string(a), ReLU, SiLU, GeLUNew)
}

// Apply maps x elementwise.
func (a Activation) Apply(x *Node) *Node {
	switch a {
	case ReLU:
		return Max(x, ZerosLike(x))
	case SiLU:
		return Mul(x, Logistic(x))
	default: // GeLUNew
		inner := Mul(MulScalar(x, math.Sqrt(2/math.Pi)), OnePlus(MulScalar(Square(x), 0.044715)))
		return Mul(MulScalar(x, 0.5), OnePlus(Tanh(inner)))
	}
}
