package pretrained

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/nf4"
	"github.com/longform-go/longform/models/blocks"
)

// nf4Shapes are the arrays that a quantized weight is kept in: codes [blocks, 32], two in a byte, and absmax [blocks].
func nf4Shapes(w *blocks.Weight) (codes, absmax shapes.Shape) {
	n := nf4.Blocks(w.Size())
	return shapes.Make(dtypes.Uint8, n, nf4.BlockSize/2), shapes.Make(dtypes.Float32, n)
}

// decodeNF4 is nf4.Decode in a program: it makes the weight of the given shape of its codes, rounded to dtype.
func decodeNF4(absmax *Node, dtype dtypes.DType, shape []int) func(codes *Node) *Node {
	return func(codes *Node) *Node {
		g, d := codes.Graph(), codes.Shape().Dimensions
		// A byte for each of its two halves, not two arrays interleaved, so that all of it is one loop over the weight.
		halves := BroadcastToDims(ExpandAxes(codes, -1), d[0], d[1], 2)
		shift := BroadcastToDims(Const(g, [][][]uint8{{{4, 0}}}), d[0], d[1], 2)
		code := BitwiseAnd(BitwiseShiftRightLogical(halves, shift), Scalar(g, dtypes.Uint8, 15))
		levels := Gather(Const(g, nf4.Levels[:]), ExpandAxes(ConvertDType(code, dtypes.Int32), -1))
		values := Mul(Reshape(levels, d[0], nf4.BlockSize), ExpandAxes(absmax, -1))
		values = Reshape(ConvertDType(values, dtype), values.Shape().Size())
		size := shapes.Make(dtype, shape...).Size()
		if size < values.Shape().Size() {
			values = SliceAxis(values, 0, AxisRangeFromStart(size))
		}
		return Reshape(values, shape...)
	}
}
