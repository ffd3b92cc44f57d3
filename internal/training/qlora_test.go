package training

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/nf4"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/models"
)

// A step on quantized weights is one on the weights that they decode to: the same loss, and the same gradients of all
// adapters, whatever is recomputed.
func TestQuantizedStep(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		// With rate 1 SGD moves the weights by their gradients.
		step := func(overrides ...string) (*Run, outcome) {
			r := start(t, d, config(t, "llama", slices.Concat(short, overrides, []string{"optim.kind=sgd", "optim.lr=1", "optim.clip_norm=0",
				"optim.weight_decay=0", "model.lora.enabled=true", "model.lora.targets=[q_proj,down_proj]"})...))
			s := r.stepper
			for i, w := range s.spec.Weights {
				if strings.HasSuffix(w.Name, ".lora_B.weight") { // zero otherwise, and A without a gradient
					upload(t, s, i, wave(w.Size()))
				}
			}
			if s.spec.LoRA.Quantize {
				return r, take(t, r)
			}
			for i, w := range quantizedSpec(t, r).Weights {
				if w.Quantized {
					values, err := s.parameters[i].Float32s()
					if err != nil {
						t.Fatal(err)
					}
					codes, absmax := nf4.Encode(values)
					upload(t, s, i, nf4.Decode(codes, absmax, len(values)))
				}
			}
			return r, take(t, r)
		}
		plain, want := step()
		for _, recompute := range []string{"none", "layer", "attention"} {
			r, got := step("model.quantize=nf4", "model.gradient_checkpointing="+recompute)
			if diff := math.Abs(float64(got.loss - want.loss)); diff > 1e-6 || got.targets != want.targets || got.gradNorm == 0 {
				t.Errorf("%s: %+v, want %+v", recompute, got, want)
			}
			most := 0.0
			for _, i := range r.stepper.trained() {
				a, errA := r.stepper.parameters[i].Float32s()
				b, errB := plain.stepper.parameters[i].Float32s()
				if errA != nil || errB != nil {
					t.Fatal(errA, errB)
				}
				for k := range a {
					most = max(most, math.Abs(float64(a[k]-b[k])))
				}
			}
			t.Logf("%s: gradients differ by %.1e at most", recompute, most)
			if most > 1e-6 {
				t.Errorf("%s: gradients differ by %v", recompute, most)
			}
		}
	})
}

// take takes one step on the first records.
func take(t *testing.T, r *Run) outcome {
	t.Helper()
	o, err := r.stepper.run(batch(t, r, 2), 2, 1, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func wave(n int) []float32 {
	values := make([]float32, n)
	for i := range values {
		values[i] = 0.1 * float32(math.Sin(float64(i)))
	}
	return values
}

func upload(t *testing.T, s *stepper, i int, values []float32) {
	t.Helper()
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	shape := s.parameters[i].Shape()
	s.parameters[i].Free()
	var err error
	if s.parameters[i], err = s.device.Upload(shape, raw); err != nil {
		t.Fatal(err)
	}
}

// quantizedSpec is the spec of a run, had it quantized its weights.
func quantizedSpec(t *testing.T, r *Run) *pretrained.Spec {
	t.Helper()
	c := r.setup.Config.Model
	c.Quantize = "nf4"
	spec, err := NewSpec(c, r.setup.Model)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// Quantized weights take 4.5 bits each, and never are more than those of a few layers decoded.
func TestQuantizedMemory(t *testing.T) {
	d := devicetest.Open(t, device.CPU)
	const layers, elements = 6, 4*64*64 + 3*64*176 // of the projections of a layer
	dir := t.TempDir()
	raw, err := os.ReadFile(filepath.Join(modelDir("llama"), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	deep := replaceOnce(t, string(raw), `"num_hidden_layers": 2`, fmt.Sprintf(`"num_hidden_layers": %d`, layers))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(deep), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := pretrained.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	newSpec := func(quantize string) (*pretrained.Spec, configs.Config, int64) {
		c := config(t, "llama", "model.path="+dir, "model.lora.enabled=true", "model.quantize="+quantize)
		spec, err := NewSpec(c.Model, source.Config)
		if err != nil {
			t.Fatal(err)
		}
		bytes := int64(0)
		for _, in := range spec.Inputs() {
			bytes += in.Shape.ByteSize()
		}
		return spec, c, bytes
	}
	_, _, plain := newSpec("none")
	spec, c, quantized := newSpec("nf4")
	if saved := float64(plain-quantized) / (layers * elements); saved != 4-4.5/8 {
		t.Errorf("a quantized weight takes %v bytes less than a float32, want 4 - 4.5/8", saved)
	}

	shape := feed.Shape{Rows: 1, Length: 4, TargetLength: 4} // few activations
	check := func(name string, m device.Memory) {
		t.Helper()
		decoded := float64(m.Temporary) / (4 * elements)
		t.Logf("%s: temporaries of the size of %.1f decoded layers", name, decoded)
		if decoded > layers/2 {
			t.Errorf("%s: temporaries as large as %v of %d decoded layers", name, decoded, layers)
		}
	}
	for _, test := range []struct {
		recompute string
		rows      int // computed one at a time
	}{{"none", 1}, {"layer", 1}, {"layer", 2}} {
		c.Model.GradientCheckpointing = test.recompute
		s := newStepper(d, spec, c)
		defer s.close()
		whole := shape
		whole.Rows = test.rows
		p, err := s.program(whole.Cut(1))
		if err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprintf("step in %d parts, recomputing %s", test.rows, test.recompute), p.Memory())
	}
	n := len(spec.Inputs())
	score, err := d.Compile("score", append(spec.Inputs(), shape.Inputs()...), nil, func(_ *Graph, in []*Node) []*Node {
		sum, _, _ := models.Loss(spec.Model(in[:n]), shape.Batch(in[n:]), nil)
		return []*Node{sum}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer score.Finalize()
	check("score", score.Memory())
}
