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
	var updated int64
	for _, in := range s.stateInputs() {
		updated += in.Shape.ByteSize()
	}
	inputs := s.spec.Inputs()
	for _, i := range s.trained() {
		updated += inputs[i].Shape.ByteSize()
	}
	for shape, p := range s.programs {
		copies, bytes, err := p.Copies()
		if err != nil {
			t.Fatal(err)
		}
		if aliased := p.Memory().Alias; float64(aliased) < 0.99*float64(updated) || copies != 0 {
			t.Errorf("step %v: %d of %d bytes are updated in place, with %d copies of %d bytes", shape, aliased, updated, copies, bytes)
		}
	}
}

// reorder is the batch with its rows in another order.
func reorder(b data.Batch, order []int) data.Batch {
	inputs, lengths, labels := b.Inputs, b.Lengths, b.Labels
	b.Inputs, b.Lengths, b.Labels = nil, nil, nil
	for _, row := range order {
		b.Inputs = append(b.Inputs, inputs[row*b.Length:(row+1)*b.Length]...)
		b.Lengths = append(b.Lengths, lengths[row])
		b.Labels = append(b.Labels, labels[row*b.TargetLength:(row+1)*b.TargetLength]...)
	}
	return b
}

// However a batch is cut and ordered, the step is the same: its loss, its gradient norm, the weights and the optimizer's state.
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
		for _, c := range []struct {
			micro int
			order []int
		}{{2, []int{0, 1, 2, 3}}, {1, []int{0, 1, 2, 3}}, {1, []int{2, 3, 1, 0}}, {2, []int{3, 0, 2, 1}}} {
			s.restoreTo(t, before)
			got, err := s.run(reorder(b, c.order), c.micro, 1, 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got.targets != whole.targets || !close32(got.loss, whole.loss) || !close32(got.gradNorm, whole.gradNorm) {
				t.Errorf("%d rows of %v at once: %+v, whole %+v", c.micro, c.order, got, whole)
			}
			if worst := largestDifference(want, download(t, s)); worst > 1e-5 {
				t.Errorf("%d rows of %v at once: weights differ by %v", c.micro, c.order, worst)
			}
		}
		checkInPlace(t, s)
	})
}

// Sums of micro-batches in bfloat16 are those in float32 to its accuracy.
func TestGradientsInBFloat16(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	step := func(kind string) (moved []float64) {
		r := start(t, d, config(t, "llama", append(short, "optim.kind=sgd", "optim.clip_norm=0", "optim.gradients="+kind)...))
		before := download(t, r.stepper)
		if _, err := r.stepper.run(batch(t, r, 4), 1, 1, 1, 0); err != nil {
			t.Fatal(err)
		}
		after := download(t, r.stepper)
		for i := range before.parameters {
			for at := 0; at < len(before.parameters[i]); at += 4 {
				moved = append(moved, float64(number(after.parameters[i][at:])-number(before.parameters[i][at:])))
			}
		}
		return moved
	}
	exact, rounded := step("float32"), step("bfloat16")
	distance, length := 0.0, 0.0
	for i, x := range exact {
		distance += (rounded[i] - x) * (rounded[i] - x)
		length += x * x
	}
	if off := math.Sqrt(distance / length); off == 0 || off > 0.005 { // half a unit of bfloat16 is at most 2^-8 of a number
		t.Errorf("gradients summed in bfloat16 are off by %v of their size", off)
	}
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
		for _, what := range []string{"layer", "attention"} {
			recomputed := run(start(t, d, config(t, family, append(short, "optim.kind=sgd", "optim.lr=0.1", "model.dropout=0.2", "model.gradient_checkpointing="+what)...)), 1)
			if diff := worst(first, recomputed); diff > 1e-6 {
				t.Errorf("losses and norms %v, with %s recomputed %v: they differ by %.1e", first, what, recomputed, diff)
			}
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

// Every seed, step and micro-batch has a random key of its own, the same each time.
func TestRandomKeys(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	s := start(t, d, config(t, "llama", short...)).stepper
	const parts = 4
	keys := func(seed uint64, step int) string {
		in, err := s.uploadBatch(data.Batch{}, feed.Shape{Parts: parts}, seed, step)
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Free(in)
		return string(contents(t, in[len(in)-1:])[0])
	}
	seen := map[string][]any{}
	for seed := range uint64(3) {
		for step := range 4 {
			all := keys(seed, step)
			if keys(seed, step) != all {
				t.Errorf("seed %d, step %d have two random keys", seed, step)
			}
			for part := range parts {
				now := all[part*len(all)/parts:][:len(all)/parts]
				if other, ok := seen[now]; ok {
					t.Errorf("seed %d, step %d, part %d have the random key of %v", seed, step, part, other)
				}
				seen[now] = []any{seed, step, part}
			}
		}
	}
}

// A plan tells the same of a run with micro-batches, with every optimizer.
func TestPlanInPlace(t *testing.T) {
	d := devicetest.Open(t, device.CPU)
	for _, test := range []struct{ family, settings string }{
		{"llama", "optim.kind=adamw8bit"},
		{"opt", "optim.kind=adamw8bit model.precision=bf16"},
		{"opt", "optim.kind=sgd optim.gradients=bfloat16"},
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

// On a GPU too the state is updated in place, and early updates hold few of the gradients at a time.
func TestGPUMemory(t *testing.T) {
	d := devicetest.OpenTarget(t, "h100")
	raw, err := os.ReadFile(filepath.Join(modelDir("llama"), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	wide := replaceOnce(t, string(raw), `"intermediate_size": 176`, `"intermediate_size": 8192`)
	wide = replaceOnce(t, wide, `"num_hidden_layers": 2`, `"num_hidden_layers": 3`)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(wide), 0o600); err != nil {
		t.Fatal(err)
	}
	plan := func(settings string) Plan {
		plan, err := NewPlan(config(t, "llama", append(strings.Fields(settings), "model.path="+dir, "model.init=random", "model.precision=bf16", "data.max_length=16", "run.batch_size=1")...), d)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes of temporaries for %d parameters", settings, plan.TemporaryBytes, plan.Trained)
		if plan.AliasBytes < plan.StateBytes || plan.Copies > 0 {
			t.Errorf("%s: %d of %d bytes are updated in place, with %d copies", settings, plan.AliasBytes, plan.StateBytes, plan.Copies)
		}
		return plan
	}
	late, early := plan("optim.clip_norm=1"), plan("optim.clip_norm=0")
	if gradients := 2 * late.Trained; late.TemporaryBytes-early.TemporaryBytes < gradients/4 {
		t.Errorf("temporaries are %d bytes with clipping and %d without, of which %d of gradients", late.TemporaryBytes, early.TemporaryBytes, gradients)
	}
	eight := plan("optim.clip_norm=0 optim.kind=adamw8bit")
	if moments := 2 * 4 * eight.Trained; eight.TemporaryBytes-early.TemporaryBytes > moments/16 {
		t.Errorf("temporaries are %d bytes with moments of 8 bits and %d with exact ones, all of which would take %d", eight.TemporaryBytes, early.TemporaryBytes, moments)
	}
	if perParameter := float64(eight.StateBytes) / float64(eight.Trained); perParameter > 4.05 {
		t.Errorf("weights and moments of 8 bits take %.2f bytes a parameter", perParameter)
	}
}

// A deeper model needs less memory when the scores of its attention are computed again, and less still when its layers are.
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
	temporaries := map[string]int64{}
	for _, what := range []string{"none", "attention", "layer"} {
		plan, err := NewPlan(config(t, "llama", "model.path="+dir, "model.init=random", "data.max_length=256", "run.batch_size=4", "model.gradient_checkpointing="+what), d)
		if err != nil {
			t.Fatal(err)
		}
		temporaries[what] = plan.TemporaryBytes
	}
	t.Logf("temporaries in bytes: %v", temporaries)
	if temporaries["attention"] > temporaries["none"]*2/3 || temporaries["layer"] > temporaries["attention"]*4/5 {
		t.Errorf("temporaries in bytes by what is recomputed: %v", temporaries)
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

// steep makes the output projection so large that the loss stays finite and the squares of the gradients below it don't.
func steep(t *testing.T, s *stepper) state {
	t.Helper()
	steep := download(t, s)
	for i, w := range s.spec.Weights {
		if w.Name == "lm_head.weight" {
			for at := 0; at < len(steep.parameters[i]); at += 4 {
				binary.LittleEndian.PutUint32(steep.parameters[i][at:], math.Float32bits(1e25*number(steep.parameters[i][at:])))
			}
		}
	}
	s.restoreTo(t, steep)
	return steep
}

// Early updates leave the matrices whose gradient isn't finite, and the vectors; otherwise such a gradient stops them all.
func TestEarlyUpdates(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	for _, early := range []bool{false, true} {
		r := start(t, d, config(t, "llama", append(short, "optim.clip_norm=0")...))
		s := r.stepper
		if err := s.waitEarly(); err != nil { // for the program that is compiled while the run begins
			t.Fatal(err)
		}
		clear(s.programs)
		s.early = early
		before := steep(t, s)
		o, err := s.run(batch(t, r, 2), 2, 1e-3, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !finite(float64(o.loss)) || finite(float64(o.gradNorm)) {
			t.Fatalf("the step reports %+v, want a finite loss and an infinite norm", o)
		}
		after := download(t, s)
		for i, w := range s.spec.Weights {
			moved := string(before.parameters[i]) != string(after.parameters[i])
			if want := early && w.Name == "lm_head.weight"; moved != want {
				t.Errorf("early %v: %s moved: %v, want %v", early, w.Name, moved, want)
			}
		}
		if !early && !reflect.DeepEqual(before, after) {
			t.Error("the step changed the state")
		}
	}
}
