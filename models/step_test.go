package models_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained/pretrainedtest"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// Wherever rows of several lengths are cut, what Step reads one part after the other is what Hidden reads at once: rows end together,
// so that there may be nothing before the cut of one. An encoder-decoder's begin together, behind the start token.
func TestStep(t *testing.T) {
	const longest, room, vocabulary = 20, 24, 96
	lengths := []int{longest, 13, 2}
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, name := range []string{"llama-gqa-headdim-tied", "opt-pre", "t5-tiny"} {
			t.Run(name, func(t *testing.T) {
				p := pretrainedtest.Load(t, d, filepath.Join("testdata", name))
				cuts := []int{0, 1, 9, 16} // of the longest
				// Hidden reads rows from the left; as a decoder's output, behind the start token.
				whole := data.Batch{Rows: len(lengths), Length: longest, TargetLength: longest}
				tokens := make([]int32, len(lengths)*longest) // on the right
				for r, n := range lengths {
					row := make([]int32, longest)
					for i := range n {
						row[i] = int32((5 + 31*r + 7*i) % vocabulary)
						tokens[(r+1)*longest-n+i] = row[i]
					}
					labels := row
					if p.Config.EncoderDecoder() {
						labels = slices.Concat(tokens[r*longest+1:(r+1)*longest], []int32{0})
						tokens[r*longest] = int32(p.Config.Tokens().DecoderStart)
					}
					whole.Inputs, whole.Lengths, whole.Labels = append(whole.Inputs, row...), append(whole.Lengths, int32(n)), append(whole.Labels, labels...)
				}
				shape := feed.ShapeOf(whole)
				weights := len(p.Values)
				program, err := d.Compile("steps", append(p.Inputs(), shape.Inputs()...), nil, func(g *Graph, in []*Node) []*Node {
					m, b := p.Model(in[:weights]), shape.Batch(in[weights:])
					all := Reshape(Const(g, tokens), len(lengths), longest)
					out := []*Node{m.Hidden(b, nil)}
					for _, cut := range cuts {
						c := emptyCache(p.Config, m, b, room)
						if cut > 0 {
							_, c = m.Step(SliceAxis(all, 1, AxisRangeFromStart(cut)), c)
							c = models.CacheOf(p.Config, c.Nodes())
						}
						hidden, _ := m.Step(SliceAxis(all, 1, AxisRangeToEnd(cut)), c)
						out = append(out, hidden)
					}
					return out
				})
				if err != nil {
					t.Fatal(err)
				}
				defer program.Finalize()
				inputs, err := feed.Upload(d, whole)
				if err != nil {
					t.Fatal(err)
				}
				defer feed.Free(inputs)
				out, err := program.Run(slices.Concat(p.Values, inputs))
				if err != nil {
					t.Fatal(err)
				}
				defer feed.Free(out)
				values := make([][]float32, len(out))
				for i, b := range out {
					if values[i], err = b.Float32s(); err != nil {
						t.Fatal(err)
					}
				}
				embed := out[0].Shape().Dimensions[2]
				for i, cut := range cuts {
					for r, n := range lengths {
						shift := longest - n // of what Hidden read
						if p.Config.EncoderDecoder() {
							shift = 0
						}
						for at := max(cut, shift); at < longest; at++ {
							want := values[0][(r*longest+at-shift)*embed:][:embed]
							got := values[1+i][(r*(longest-cut)+at-cut)*embed:][:embed]
							for k := range want {
								if !near(float64(got[k]), float64(want[k]), 1e-4) {
									t.Fatalf("cut at %d, row %d, position %d: feature %d is %v, read at once %v", cut, r, at-shift, k, got[k], want[k])
								}
							}
						}
					}
				}
			})
		}
	})
}

// emptyCache has rows of b's lengths before them; of an encoder-decoder, what it has made of b.
func emptyCache(config models.Config, m models.Model, b models.Batch, room int) models.Cache {
	g, l, rows, longest := b.Inputs.Graph(), config.Cache(), b.Inputs.Shape().Dimensions[0], b.Inputs.Shape().Dimensions[1]
	c := models.Cache{Position: AddScalar(b.Lengths, -longest), Slot: ScalarZero(g, dtypes.Int32)}
	for range l.Layers {
		c.Self = append(c.Self, &blocks.KV{
			K: Zeros(g, shapes.Make(dtypes.Float32, rows*l.Heads, l.HeadDim, room)), V: Zeros(g, shapes.Make(dtypes.Float32, rows*l.Heads, room, l.HeadDim)),
			Heads: l.Heads, Slot: c.Slot,
		})
	}
	if e, ok := m.(models.Encoder); ok {
		c.Position, c.Lengths, c.Cross = ZerosLike(b.Lengths), b.Lengths, e.Encode(b)
	}
	return models.CacheOf(config, c.Nodes())
}
