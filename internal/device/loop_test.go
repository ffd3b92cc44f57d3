package device

import (
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
)

// The same constants and reductions serve before, inside and after a loop, which may take gradients inside.
func TestScan(t *testing.T) {
	each(t, func(t *testing.T, d *Device) {
		for _, n := range []int{1, 3} {
			inputs := []Input{{"x", float32s(4)}, {"rows", float32s(n, 4)}}
			p, err := d.Compile("scan", inputs, nil, func(_ *graph.Graph, in []*graph.Node) []*graph.Node {
				before := graph.MulScalar(graph.ReduceAllSum(in[0]), 2)
				zeros := []*graph.Node{graph.ZerosLike(in[0]), graph.ZerosLike(before)}
				sums := Scan(in[:1], in[1:], zeros, func(fixed, row, sums []*graph.Node) []*graph.Node {
					x := fixed[0]
					dot := graph.MulScalar(graph.ReduceAllSum(graph.Mul(graph.Square(x), row[0])), 2)
					return []*graph.Node{graph.Add(sums[0], graph.Gradient(dot, x)[0]), graph.Add(sums[1], dot)}
				})
				after := graph.MulScalar(graph.ReduceAllSum(sums[0]), 2)
				return []*graph.Node{before, sums[0], sums[1], after}
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Finalize)
			x, rows := []float32{1, 2, 3, 4}, []float32{1, 0, 0, 1, 1, 2, 0, 0, 0, 1, 1, 1}
			out := run(t, p, upload(t, d, x, 4), upload(t, d, rows[:4*n], n, 4))
			gradient, dot, after := make([]float32, 4), float32(0), float32(0)
			for i, r := range rows[:4*n] {
				gradient[i%4] += 4 * x[i%4] * r
				dot += 2 * x[i%4] * x[i%4] * r
				after += 2 * 4 * x[i%4] * r
			}
			for i, want := range [][]float32{{20}, gradient, {dot}, {after}} {
				if got := values(t, out[i]); !slices.Equal(got, want) {
					t.Errorf("%d rows: output %d is %v, want %v", n, i, got, want)
				}
			}
		}
	})
}
