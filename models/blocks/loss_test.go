package blocks

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// Losses, counts and gradients are torch's, whatever the chunks, and whether the projection is one product or two.
func TestCrossEntropy(t *testing.T) {
	raw, err := os.ReadFile("testdata/cross_entropy.json")
	if err != nil {
		t.Fatal(err)
	}
	var torch struct {
		Hidden, Weight []float32
		Labels         []int32
		Sums, Counts   []float64
		ByHidden       []float64 `json:"by_hidden"`
		ByWeight       []float64 `json:"by_weight"`
	}
	if err := json.Unmarshal(raw, &torch); err != nil {
		t.Fatal(err)
	}
	const batch, seq, vocab, embed = 2, 5, 11, 6
	in := []array{{torch.Hidden, []int{batch, seq, embed}}, {torch.Weight, []int{vocab, embed}}, {torch.Labels, []int{batch, seq}}}
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, c := range []struct{ rows, products int }{{10, 1}, {10, 2}, {5, 1}, {4, 2}, {1, 1}} {
			out := evaluate(t, d, in, func(_ *Graph, in []*Node) []*Node {
				head := []Product{{in[0], in[1]}}
				if c.products == 2 {
					of := func(x *Node, r SliceAxisSpec) *Node { return SliceAxis(x, -1, r) }
					a, b := AxisRangeFromStart(4), AxisRangeToEnd(4)
					head = []Product{{of(in[0], a), of(in[1], a)}, {of(in[0], b), of(in[1], b)}}
				}
				sum, count, objective := crossEntropy(head, in[2], c.rows)
				return append([]*Node{sum, count}, Gradient(objective, in[0], in[1])...)
			})
			for i, want := range [][]float64{torch.Sums, torch.Counts, torch.ByHidden, torch.ByWeight} {
				for j := range want {
					if !near(out[i][j], want[j], 1e-5) {
						t.Fatalf("%d tokens a chunk, %d products: output %d is %v at %d, in torch %v", c.rows, c.products, i, out[i][j], j, want[j])
					}
				}
			}
		}
	})
}

// Chunks follow one another: no more than one has logits at a time, with or without gradients. A frozen projection is
// multiplied by twice and gets no gradient.
func TestCrossEntropyMemory(t *testing.T) {
	d := devicetest.Open(t, device.CPU)
	const batch, seq, vocab, embed, chunks = 4, 256, 2048, 16, 8
	const logits = 4 * batch * seq * vocab
	inputs := []device.Input{
		{Name: "hidden", Shape: shapes.Make(dtypes.Float32, batch, seq, embed)},
		{Name: "weight", Shape: shapes.Make(dtypes.Float32, vocab, embed)},
		{Name: "labels", Shape: shapes.Make(dtypes.Int32, batch, seq)},
	}
	for _, c := range []struct {
		name     string
		by       []int // the inputs that get a gradient
		products int   // matrix products of a chunk
	}{{"evaluation", nil, 1}, {"frozen", []int{0}, 2}, {"trained", []int{0, 1}, 3}} {
		t.Run(c.name, func(t *testing.T) {
			p, err := d.Compile(c.name, inputs, nil, func(_ *Graph, in []*Node) []*Node {
				sum, count, objective := crossEntropy([]Product{{in[0], in[1]}}, in[2], batch*seq/chunks)
				out := []*Node{sum, count}
				for _, i := range c.by {
					out = append(out, Gradient(objective, in[i])...)
				}
				return out
			})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Finalize()
			text, err := p.Optimized()
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Memory().Temporary; got > 5*logits/chunks/2 {
				t.Errorf("temporaries are %d bytes, where the logits of a chunk are %d", got, logits/chunks)
			}
			if whole := fmt.Sprintf("[%d,%d", batch*seq, vocab); strings.Contains(text, whole) {
				t.Errorf("there is an array %s]", whole)
			}
			if got := len(regexp.MustCompile(` dot\(`).FindAllString(text, -1)); got != c.products*chunks {
				t.Errorf("%d matrix products, want %d", got, c.products*chunks)
			}
		})
	}
}
