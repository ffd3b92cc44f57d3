package device

import (
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/testneeds"
)

// fewProduct compiles the product of x and w, and says whether few.c computes it.
func fewProduct(t *testing.T, d *Device, x, w shapes.Shape, build func(x, w *graph.Node) *graph.Node) (p *Program, ours bool) {
	t.Helper()
	p, err := d.Compile("product", []Input{{Shape: x}, {Shape: w}}, nil, func(_ *graph.Graph, in []*graph.Node) []*graph.Node { return []*graph.Node{build(in[0], in[1])} })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Finalize)
	text, err := p.Optimized()
	if err != nil {
		t.Fatal(err)
	}
	return p, strings.Contains(text, fewTarget)
}

// openFew opens a CPU for whose vectors few.c is written.
func openFew(t *testing.T) *Device {
	d := open(t, CPU)
	if !d.plugin.few {
		testneeds.Missing(t, "few.c isn't written for this processor or this compiler")
	}
	return d
}

// linear is x wᵀ, and batched x w for each of a batch.
func linear(x, w *graph.Node) *graph.Node {
	return graph.Dot(x, w).General([]int{x.Rank() - 1}, nil, []int{1}, nil)
}
func batched(x, w *graph.Node) *graph.Node {
	return graph.Dot(x, w).General([]int{2}, []int{0}, []int{1}, []int{0})
}

func randomFloats(n int) []float32 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	all := make([]float32, n)
	for i := range all {
		all[i] = float32(r.NormFloat64())
	}
	return all
}

// The products of few.c are those of float64, with any vectors, whatever is left over of a size.
func TestFew(t *testing.T) {
	d := openFew(t)
	t.Cleanup(func() { _ = useVectors(1) || useVectors(0) })
	tests := []struct {
		x, w []int
	}{
		{[]int{2, 5}, []int{3, 5}},
		{[]int{8, 576}, []int{960, 576}},
		{[]int{3, 97}, []int{101, 97}},
		{[]int{4, 2, 64}, []int{49, 64}},
		{[]int{16, 1600}, []int{50, 1600}}, // more columns than are taken at once
		{[]int{7, 771}, []int{33, 771}},
		{[]int{6, 3, 64}, []int{6, 64, 130}},
		{[]int{24, 3, 256}, []int{24, 256, 64}},
		{[]int{2, 1, 5}, []int{2, 5, 7}},
		{[]int{5, 16, 33}, []int{5, 33, 128}},
		{[]int{1, 6, 33}, []int{1, 33, 71}},
	}
	for _, test := range tests {
		x, w := shapes.Make(dtypes.Float32, test.x...), shapes.Make(dtypes.Float32, test.w...)
		build, in := linear, test.w[1]
		if len(test.w) == 3 {
			build = batched
		}
		p, ours := fewProduct(t, d, x, w, build)
		if !ours {
			t.Errorf("%v and %v: XLA computes it", x, w)
		}
		if flops, _, err := p.Cost(); err != nil || flops != float64(2*in*p.outputs[0].Size()) {
			t.Errorf("%v and %v: it costs %v operations, want %d, error %v", x, w, flops, 2*in*p.outputs[0].Size(), err)
		}
		xs, ws := randomFloats(x.Size()), randomFloats(w.Size() + 1)[1:]
		for width := range 2 {
			if !useVectors(width) {
				t.Logf("the processor has no vectors of kind %d", width)
				continue
			}
			got := runFloats(t, d, p, xs, ws)
			rows, out := x.Size()/in, len(got)/(x.Size()/in)
			for i, y := range got {
				row, column := i/out, i%out
				sum, size := 0., 0.
				for k := range in {
					at := column*in + k
					if len(test.w) == 3 {
						at = (row/test.x[1]*in+k)*out + column
					}
					term := float64(xs[row*in+k]) * float64(ws[at])
					sum, size = sum+term, size+math.Abs(term)
				}
				if math.Abs(float64(y)-sum) > 1e-6*size {
					t.Fatalf("%v and %v, vectors %d: element %d of row %d of %d is %v, want %v", x, w, width, column, row, rows, y, sum)
				}
			}
		}
	}
}

// runFloats runs p, which takes x and w.
func runFloats(t *testing.T, d *Device, p *Program, x, w []float32) []float32 {
	t.Helper()
	var in []*Buffer
	for i, values := range [][]float32{x, w} {
		b, err := d.UploadFloat32(values, p.inputs[i].Shape.Dimensions...)
		if err != nil {
			t.Error(err)
			return nil
		}
		defer b.Free()
		in = append(in, b)
	}
	out, err := p.Run(in)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer out[0].Free()
	got, err := out[0].Float32s()
	if err != nil {
		t.Error(err)
	}
	return got
}

// Several programs at once get what each gets alone.
func TestFewAtOnce(t *testing.T) {
	d := openFew(t)
	x, w := shapes.Make(dtypes.Float32, 8, 576), shapes.Make(dtypes.Float32, 3072, 576)
	p, _ := fewProduct(t, d, x, w, linear)
	want := runFloats(t, d, p, randomFloats(x.Size()), randomFloats(w.Size()))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 25 {
				got := runFloats(t, d, p, randomFloats(x.Size()), randomFloats(w.Size()))
				for i := range want {
					if len(got) != len(want) || got[i] != want[i] {
						t.Errorf("element %d differs", i)
						return
					}
				}
			}
		})
	}
	all.Wait()
}

// XLA computes what it is faster at, and what isn't such a product.
func TestNotFew(t *testing.T) {
	d := open(t, CPU)
	f32, bf16 := dtypes.Float32, dtypes.BFloat16
	tests := []struct {
		name  string
		x, w  shapes.Shape
		build func(x, w *graph.Node) *graph.Node
	}{
		{"a row", shapes.Make(f32, 1, 64), shapes.Make(f32, 96, 64), linear},
		{"many rows", shapes.Make(f32, 17, 64), shapes.Make(f32, 96, 64), linear},
		{"many rows of a batch", shapes.Make(f32, 2, 17, 64), shapes.Make(f32, 2, 64, 96), batched},
		{"bfloat16", shapes.Make(bf16, 8, 64), shapes.Make(bf16, 96, 64), linear},
		{"the other axis of w", shapes.Make(f32, 8, 64), shapes.Make(f32, 64, 96), func(x, w *graph.Node) *graph.Node { return graph.Dot(x, w).General([]int{1}, nil, []int{0}, nil) }},
		{"the other axis of x", shapes.Make(f32, 64, 8), shapes.Make(f32, 96, 64), func(x, w *graph.Node) *graph.Node { return graph.Dot(x, w).General([]int{0}, nil, []int{1}, nil) }},
		{"the other axis of a batch", shapes.Make(f32, 2, 8, 64), shapes.Make(f32, 2, 64, 64), func(x, w *graph.Node) *graph.Node {
			return graph.Dot(x, w).General([]int{2}, []int{0}, []int{2}, []int{0})
		}},
	}
	for _, test := range tests {
		if _, ours := fewProduct(t, d, test.x, test.w, test.build); ours {
			t.Errorf("%s: few.c computes it", test.name)
		}
	}
}
