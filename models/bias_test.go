package models_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained/pretrainedtest"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// The relative position biases of T5 get torch's gradients, whatever is recomputed, and where fused attention is allowed:
// it would give them none.
func TestBiasGradients(t *testing.T) {
	dir := "testdata/t5-gated-untied-old"
	var e expected
	var want map[string][][]float64
	for file, into := range map[string]any{"expected.json": &e, "bias_gradients.json": &want} {
		raw, err := os.ReadFile(filepath.Join(dir, file))
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		p := pretrainedtest.Load(t, d, dir)
		b := e.batch(true, 3)
		shape := feed.ShapeOf(b)
		n := len(p.Values)
		var biases []int
		for i, in := range p.Inputs() {
			if strings.HasSuffix(in.Name, "relative_attention_bias.weight") {
				biases = append(biases, i)
			}
		}
		inputs, err := feed.Upload(d, b)
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Free(inputs)
		for _, how := range []blocks.Training{
			{}, {Recompute: blocks.RecomputeLayer}, {Recompute: blocks.RecomputeAttention}, {Fused: true},
		} {
			program, err := d.Compile("bias", append(p.Inputs(), shape.Inputs()...), nil, func(_ *Graph, in []*Node) []*Node {
				_, _, objective := models.Loss(p.Model(in[:n]), shape.Batch(in[n:]), &how)
				return Gradient(objective, in[biases[0]], in[biases[1]])
			})
			if err != nil {
				t.Fatal(err)
			}
			defer program.Finalize()
			out, err := program.Run(slices.Concat(p.Values, inputs))
			if err != nil {
				t.Fatal(err)
			}
			for i, b := range out {
				got, err := b.Float32s()
				if err != nil {
					t.Fatal(err)
				}
				side, _, _ := strings.Cut(p.Inputs()[biases[i]].Name, ".")
				largest := 0.0
				for j, w := range slices.Concat(want[side]...) {
					largest = max(largest, math.Abs(float64(got[j])))
					if math.Abs(float64(got[j])-w) > 1e-4*max(1, math.Abs(w)) {
						t.Errorf("%+v: gradient %d of the %s's bias is %v, in torch %v", how, j, side, got[j], w)
					}
				}
				if largest == 0 {
					t.Errorf("%+v: the %s's bias has no gradient", how, side)
				}
				b.Free()
			}
		}
	})
}
