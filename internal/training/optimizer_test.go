package training

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// readJSON reads a file of testdata, which make_expected.py writes.
func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Five steps of each optimizer give the weights that torch and transformers get.
func TestOptimizers(t *testing.T) {
	type arrays map[string][]float32
	var golden struct {
		Shapes    map[string][]int
		Initial   arrays
		Gradients []arrays
		Cases     []struct {
			Name, Kind   string
			LR           float64
			Beta1, Beta2 float64
			Eps          float64
			WeightDecay  float64 `json:"weight_decay"`
			RelativeStep bool    `json:"relative_step"`
			Weights      []arrays
		}
	}
	readJSON(t, "testdata/optimizers.json", &golden)
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, c := range golden.Cases {
			optim := configs.Optim{Kind: c.Kind, LR: c.LR, Beta1: c.Beta1, Beta2: c.Beta2, Eps: c.Eps, WeightDecay: c.WeightDecay, RelativeStep: c.RelativeStep}
			for name, shape := range golden.Shapes {
				t.Run(c.Name+"/"+name, func(t *testing.T) {
					o := newOptimization(t, d, optim, shape, golden.Initial[name])
					before, moved := golden.Initial[name], make([]float64, len(golden.Initial[name]))
					for i, want := range c.Weights {
						got := o.step(golden.Gradients[i][name], learningRate(optim, configs.Schedule{Kind: "constant"}, i+1, 5), i+1)
						for j, w := range want[name] {
							moved[j] += math.Abs(float64(w - before[j]))
							// float32 knows each weight and each of its moves to some 1e-7.
							if diff := math.Abs(float64(got[j] - w)); diff > 5e-7*math.Abs(float64(w))+2e-6*moved[j] {
								t.Fatalf("step %d, element %d: %v, expected %v", i+1, j, got[j], w)
							}
						}
						before = want[name]
					}
				})
			}
		}
	})
}

// optimization is one weight that an optimizer moves.
type optimization struct {
	t       *testing.T
	device  *device.Device
	config  configs.Optim
	program *device.Program
	shape   []int
	buffers []*device.Buffer // the weight and the state
}

func newOptimization(t *testing.T, d *device.Device, c configs.Optim, shape []int, initial []float32) *optimization {
	t.Helper()
	o := newOptimizer(c)
	inputs := []device.Input{{Name: "weight", Shape: shapes.Make(dtypes.Float32, shape...)}}
	for _, s := range o.slots(shape, dtypes.Float32) {
		inputs = append(inputs, device.Input{Name: s.name, Shape: s.shape})
	}
	state, err := zeros(d, inputs[1:])
	if err != nil {
		t.Fatal(err)
	}
	weight, err := d.UploadFloat32(initial, shape...)
	if err != nil {
		t.Fatal(err)
	}
	n := len(inputs)
	inputs = append(inputs, device.Input{Name: "gradient", Shape: inputs[0].Shape})
	p, err := d.Compile("update", append(inputs, momentInputs()...), nil, func(_ *Graph, in []*Node) []*Node {
		at := momentOf(in[n+1:])
		kept := make([]*Node, n)
		o.step(in[:n], in[n], at, func(i int, next *Node) *Node {
			kept[i] = next
			return next
		})
		return kept
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Finalize)
	return &optimization{t, d, c, p, shape, append([]*device.Buffer{weight}, state...)}
}

// step returns the weight after it.
func (o *optimization) step(gradient []float32, rate float64, number int) []float32 {
	o.t.Helper()
	in := slices.Clone(o.buffers)
	b, err := o.device.UploadFloat32(gradient, o.shape...)
	if err != nil {
		o.t.Fatal(err)
	}
	at, err := uploadMoment(o.device, o.config, rate, number, 0)
	if err != nil {
		o.t.Fatal(err)
	}
	in = append(append(in, b), at...)
	out, err := o.program.Run(in)
	if err != nil {
		o.t.Fatal(err)
	}
	o.buffers = out
	weight, err := out[0].Float32s()
	if err != nil {
		o.t.Fatal(err)
	}
	return weight
}

// The rate at every step equals transformers' schedule of the same name.
func TestSchedules(t *testing.T) {
	var golden []struct {
		Kind        string
		WarmupSteps int     `json:"warmup_steps"`
		FinalRatio  float64 `json:"final_ratio"`
		Total       int
		Factors     []float64
	}
	readJSON(t, "testdata/schedules.json", &golden)
	const peak = 3e-4
	for _, c := range golden {
		s := configs.Schedule{Kind: c.Kind, WarmupSteps: c.WarmupSteps, FinalRatio: c.FinalRatio}
		t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
			for i, factor := range c.Factors {
				if got := learningRate(configs.Optim{LR: peak}, s, i+1, c.Total); math.Abs(got-peak*factor) > 1e-12*peak {
					t.Errorf("step %d: %v, transformers %v", i+1, got, peak*factor)
				}
			}
		})
	}
}

// What transformers has no schedule for follows from what configs documents.
func TestScheduleLimits(t *testing.T) {
	const total = 1000
	for _, c := range []struct {
		name   string
		s      configs.Schedule
		optim  configs.Optim
		step   int
		factor float64
	}{
		{"inverse_sqrt has a least rate", configs.Schedule{Kind: "inverse_sqrt", WarmupSteps: 10, FinalRatio: 0.5}, configs.Optim{LR: 1}, total, 0.5},
		{"inverse_sqrt above it", configs.Schedule{Kind: "inverse_sqrt", WarmupSteps: 10, FinalRatio: 0.5}, configs.Optim{LR: 1}, 20, math.Sqrt(0.5)},
		{"linear ends there", configs.Schedule{Kind: "linear", WarmupSteps: 10, FinalRatio: 0.2}, configs.Optim{LR: 1}, total, 0.2},
		{"cosine ends there", configs.Schedule{Kind: "cosine", WarmupSteps: 10, FinalRatio: 0.2}, configs.Optim{LR: 1}, total, 0.2},
		{"a warm-up longer than the run", configs.Schedule{Kind: "linear", WarmupSteps: 2 * total}, configs.Optim{LR: 1}, total, 0.5},
		{"relative step at first", configs.Schedule{Kind: "constant"}, configs.Optim{LR: 7, RelativeStep: true}, total, 0.01},
		{"relative step later", configs.Schedule{Kind: "constant"}, configs.Optim{LR: 7, RelativeStep: true}, 40000, 0.005},
	} {
		if got := learningRate(c.optim, c.s, c.step, total); math.Abs(got-c.factor) > 1e-12 {
			t.Errorf("%s: %v, expected %v", c.name, got, c.factor)
		}
	}
}
