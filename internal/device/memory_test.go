package device

import (
	"fmt"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
)

// Programs that take memory of several sizes don't take all of it together.
func TestMakeRoom(t *testing.T) {
	d := open(t, CPU)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var programs []*Program
	largest, sum := int64(0), int64(0)
	for n := 3000; n < 6000; n += 300 { // 36 MB and more
		p, err := d.Compile(fmt.Sprint("product of ", n), []Input{{"x", float32s(n, 4)}}, nil, func(_ *graph.Graph, in []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.MatMul(graph.MatMul(in[0], graph.Transpose(in[0], 0, 1)), in[0])}
		})
		must(p, err)
		defer p.Finalize()
		largest, sum = max(largest, p.Memory().Temporary), sum+p.Memory().Temporary
		programs = append(programs, p)
	}
	before := resident()
	d.most = before + largest
	for range 2 {
		for i, p := range programs {
			n := 3000 + 300*i
			x := upload(t, d, make([]float32, 4*n), n, 4)
			out, err := p.Run([]*Buffer{x})
			must(out, err)
			must(out[0].Float32s())
			out[0].Free()
			x.Free()
		}
	}
	if more := resident() - before; more > 2*largest || sum < 6*largest {
		t.Errorf("%d MB more than before, of %d MB in all and at most %d MB at once", more>>20, sum>>20, largest>>20)
	}
}
