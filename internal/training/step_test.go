package training

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/feed"
)

// short makes small programs, all of one shape.
var short = []string{"data.max_length=16", "data.buckets=16"}

// checkInPlace refuses programs that hold part of what they update twice.
func checkInPlace(t *testing.T, s *stepper) {
	t.Helper()
	if s.device.Kind() != device.CPU {
		return
	}
	var updated, sums int64
	for _, in := range s.gradientInputs() {
		sums += in.Shape.ByteSize()
	}
	for _, in := range s.stateInputs() {
		updated += in.Shape.ByteSize()
	}
	inputs := s.spec.Inputs()
	for _, i := range s.trained() {
		updated += inputs[i].Shape.ByteSize()
	}
	for key, p := range s.programs {
		want := updated
		if key.kind == "accumulate" {
			want = sums
		}
		copies, bytes, err := p.Copies()
		if err != nil {
			t.Fatal(err)
		}
		if aliased := p.Memory().Alias; float64(aliased) < 0.99*float64(want) || copies != 0 {
			t.Errorf("program %v: %d of %d bytes are updated in place, with %d copies of %d bytes", key, aliased, want, copies, bytes)
		}
	}
}

// cut cuts a batch into parts of so many rows.
func cut(b data.Batch, rows []int) []data.Batch {
	var parts []data.Batch
	for _, n := range rows {
		parts = append(parts, b.Split(n)[0])
		b.Rows -= n
		b.Inputs, b.Lengths, b.Labels = b.Inputs[n*b.Length:], b.Lengths[n:], b.Labels[n*b.TargetLength:]
	}
	return parts
}

// However a batch is cut, the step is the same: its loss, its gradient norm, the weights and the optimizer's state.
func TestAccumulation(t *testing.T) {
	eachFamily(t, func(t *testing.T, d *device.Device, family string) {
		// SGD, because AdamW's first step is the gradient's sign, and rounding decides that of a gradient near zero.
		r := start(t, d, config(t, family, append(short, "optim.kind=sgd", "optim.lr=1")...))
		s := r.stepper
		b := batch(t, r, 4)
		// The parts differ in targets, and one row is empty.
		b.Lengths[2] = 0
		for i := range b.TargetLength {
			b.Labels[2*b.TargetLength+i] = data.NoLoss
			if i > 3 {
				b.Labels[i] = data.NoLoss
			}
		}
		before := download(t, s)
		whole, err := s.run(b, 4, 1, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := download(t, s)
		if moved := largestDifference(before, want); moved < 1e-2 {
			t.Fatalf("the step moves weights by %v at most, too little to compare", moved)
		}
		for _, rows := range [][]int{{2, 2}, {1, 1, 1, 1}, {1, 2, 1}, {2, 1, 1}, {1, 1, 2}} {
			s.restoreTo(t, before)
			at, err := s.uploadMoment(1, 1)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.inParts(cut(b, rows), at, 0, 1)
			if err != nil {
				t.Fatal(err)
			}
			if got.targets != whole.targets || !close32(got.loss, whole.loss) || !close32(got.gradNorm, whole.gradNorm) {
				t.Errorf("cut as %v: %+v, whole %+v", rows, got, whole)
			}
			if worst := largestDifference(want, download(t, s)); worst > 1e-5 {
				t.Errorf("cut as %v: weights differ by %v", rows, worst)
			}
		}
		checkInPlace(t, s)
	})
}

func close32(a, b float32) bool { return math.Abs(float64(a-b)) <= 1e-5*math.Abs(float64(b)) }

// largestDifference is between the float32 arrays of two states.
func largestDifference(a, b state) float64 {
	most := 0.0
	for _, part := range [][2][][]byte{{a.parameters, b.parameters}, {a.slots, b.slots}} {
		for i := range part[0] {
			x, y := part[0][i], part[1][i]
			for at := 0; at < len(x); at += 4 {
				diff := math.Abs(float64(number(x[at:]) - number(y[at:])))
				if math.IsNaN(diff) || diff > most {
					most = diff
				}
			}
		}
	}
	return most
}

func number(raw []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(raw)) }

// Recomputing activations changes no loss and no gradient, with dropout neither; and dropout follows from the seed.
func TestRecomputationAndDropout(t *testing.T) {
	eachFamily(t, func(t *testing.T, d *device.Device, family string) {
		run := func(r *Run, seed uint64) (all []float64) {
			b := batch(t, r, 2)
			before := download(t, r.stepper)
			for step := 1; step <= 2; step++ {
				o, err := r.stepper.run(b, 2, 0.1, step, seed)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, float64(o.loss), float64(o.gradNorm))
			}
			r.stepper.restoreTo(t, before)
			return all
		}
		kept := start(t, d, config(t, family, append(short, "optim.kind=sgd", "optim.lr=0.1", "model.dropout=0.2")...))
		first := run(kept, 1)
		if again := run(kept, 1); !slices.Equal(first, again) {
			t.Errorf("the same seed gives %v, then %v", first, again)
		}
		if other := run(kept, 2); worst(first, other) < 1e-4 {
			t.Errorf("seeds 1 and 2 both give %v", first)
		}
		recomputed := run(start(t, d, config(t, family, append(short, "optim.kind=sgd", "optim.lr=0.1", "model.dropout=0.2", "model.gradient_checkpointing=true")...)), 1)
		if diff := worst(first, recomputed); diff > 1e-6 {
			t.Errorf("losses and norms %v, recomputed %v: they differ by %.1e", first, recomputed, diff)
		}
		if d.Kind() == device.CPU {
			return // the rest is two programs more, of the same graph
		}
		without := start(t, d, config(t, family, append(short, "model.dropout=0")...))
		evaluated := []float64{}
		for _, r := range []*Run{kept, without} {
			loss, _, err := r.scorer.MeanLoss(r.stepper.parameters, []data.Batch{batch(t, r, 4)})
			if err != nil {
				t.Fatal(err)
			}
			evaluated = append(evaluated, loss)
		}
		if evaluated[0] != evaluated[1] {
			t.Errorf("the validation loss is %v with dropout and %v without", evaluated[0], evaluated[1])
		}
	})
}

// Every seed, step and micro-batch has random numbers of its own, the same each time.
func TestRandomStates(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	s := start(t, d, config(t, "llama", short...)).stepper
	state := func(seed uint64, step, part int) string {
		in, err := s.uploadBatch(data.Batch{}, seed, step, part)
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Free(in)
		return string(contents(t, in[len(in)-1:])[0])
	}
	seen := map[string][]any{}
	for seed := range uint64(3) {
		for step := range 4 {
			for part := range 4 {
				now := state(seed, step, part)
				if other, ok := seen[now]; ok {
					t.Errorf("seed %d, step %d, part %d have the random state of %v", seed, step, part, other)
				}
				seen[now] = []any{seed, step, part}
				if state(seed, step, part) != now {
					t.Errorf("seed %d, step %d, part %d have two random states", seed, step, part)
				}
			}
		}
	}
}

// A plan tells the same of the programs of a run with micro-batches, as do those of every optimizer.
func TestPlanInPlace(t *testing.T) {
	d := devicetest.Open(t, device.CPU)
	for _, test := range []struct{ family, settings string }{
		{"opt", "optim.kind=sgd"},
		{"t5", "optim.kind=adafactor optim.relative_step=true"},
	} {
		c := config(t, test.family, append(strings.Fields(test.settings), "data.max_length=16", "run.batch_size=4", "run.micro_batch_size=2")...)
		plan, err := NewPlan(c, d)
		if err != nil {
			t.Fatal(err)
		}
		if !plan.Known || float64(plan.AliasBytes) < 0.99*float64(plan.StateBytes) || plan.Copies != 0 {
			t.Errorf("%s with %s: %d of %d bytes are updated in place, with %d copies", test.family, test.settings, plan.AliasBytes, plan.StateBytes, plan.Copies)
		}
	}
}

// A deeper model needs less memory when its layers' activations are computed again.
func TestRecomputationSavesMemory(t *testing.T) {
	d := devicetest.Open(t, device.CPU)
	raw, err := os.ReadFile(filepath.Join(modelDir("llama"), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	deep := []byte(replaceOnce(t, string(raw), `"num_hidden_layers": 2`, `"num_hidden_layers": 4`))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), deep, 0o600); err != nil {
		t.Fatal(err)
	}
	var temporaries []int64
	for _, on := range []string{"false", "true"} {
		plan, err := NewPlan(config(t, "llama", "model.path="+dir, "model.init=random", "data.max_length=64", "run.batch_size=8", "model.gradient_checkpointing="+on), d)
		if err != nil {
			t.Fatal(err)
		}
		temporaries = append(temporaries, plan.TemporaryBytes)
	}
	t.Logf("temporaries: %d bytes, with recomputation %d", temporaries[0], temporaries[1])
	if temporaries[1] > temporaries[0]*2/3 {
		t.Errorf("temporaries are %d bytes, with recomputation still %d", temporaries[0], temporaries[1])
	}
}

// Rate, step number and seed are inputs of the one program, and the rate does what a rate does.
func TestInputsOfOneProgram(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	r := start(t, d, config(t, "llama", append(short, "optim.kind=sgd", "optim.weight_decay=0")...))
	s := r.stepper
	b := batch(t, r, 2)
	before := download(t, s)
	moved := map[float64]float64{}
	for step, rate := range []float64{0, 0.25, 0.5} {
		s.restoreTo(t, before)
		if _, err := s.run(b, 2, rate, step+1, uint64(step)); err != nil {
			t.Fatal(err)
		}
		moved[rate] = largestDifference(before, download(t, s))
	}
	if moved[0] != 0 || moved[0.25] == 0 || math.Abs(moved[0.5]/moved[0.25]-2) > 1e-3 {
		t.Errorf("rates move weights by %v, want nothing at 0 and twice as much at 0.5 as at 0.25", moved)
	}
	if len(s.programs) != 1 {
		t.Errorf("%d programs were compiled for one shape", len(s.programs))
	}
}

// A step whose loss isn't finite leaves every bit of the state, and the next one finds nothing of it.
func TestNonfiniteStepChangesNothing(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	r := start(t, d, config(t, "llama", short...))
	s := r.stepper
	b := batch(t, r, 4)
	if _, err := s.run(b, 4, 1e-3, 1, 0); err != nil { // so that there are moments
		t.Fatal(err)
	}
	good := download(t, s)
	poisoned := state{slices.Clone(good.parameters), good.slots}
	poisoned.parameters[0] = slices.Clone(good.parameters[0])
	binary.LittleEndian.PutUint32(poisoned.parameters[0], math.Float32bits(float32(math.Inf(1))))
	b.Inputs[0] = 0 // the token whose vector that is
	for _, micro := range []int{4, 2} {
		s.restoreTo(t, good)
		want, err := s.run(b, micro, 1e-3, 2, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.restoreTo(t, poisoned)
		o, err := s.run(b, micro, 1e-3, 2, 0)
		if err != nil {
			t.Fatal(err)
		}
		if finite(float64(o.loss)) {
			t.Fatalf("%d rows at once: an infinite weight gives %+v", micro, o)
		}
		if !reflect.DeepEqual(download(t, s), poisoned) {
			t.Errorf("%d rows at once: the step changed the state", micro)
		}
		s.restoreTo(t, good)
		if got, err := s.run(b, micro, 1e-3, 2, 0); err != nil || got != want {
			t.Errorf("%d rows at once: the next step gives %+v, %v, want %+v", micro, got, err, want)
		}
	}
}
