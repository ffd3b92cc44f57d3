package training

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/rundir"
)

// Ten steps of AdamW follow torch's trajectory from the same weights.
func TestReferenceTrajectory(t *testing.T) {
	d := devicetest.Open(t, device.CPU)
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			var expected struct {
				AdamW struct {
					Losses []float64
					Norms  []float64 `json:"grad_norms"`
				}
			}
			readJSON(t, filepath.Join(modelDir(family), "expected.json"), &expected)
			r := start(t, d, config(t, family, "data.buckets=192"))
			train(t, r)
			got, norms := losses(t, r)
			t.Logf("worst difference: loss %.1e, gradient norm %.1e", worst(expected.AdamW.Losses, got), worst(expected.AdamW.Norms, norms))
			if worst(expected.AdamW.Losses, got) > 1e-4 {
				t.Errorf("losses %v, torch %v", got, expected.AdamW.Losses)
			}
			if worst(expected.AdamW.Norms, norms) > 1e-3 {
				t.Errorf("gradient norms %v, torch %v", norms, expected.AdamW.Norms)
			}
			checkInPlace(t, r.stepper)
		})
	}
}

// resume continues the run of r from its last checkpoint, with other settings.
func resume(t *testing.T, r *Run, change func(*configs.Config)) *Run {
	t.Helper()
	from, manifest, _, err := checkpoint.Last(string(r.dir))
	if err != nil {
		t.Fatal(err)
	}
	c := r.setup.Config
	change(&c)
	setup, err := Prepare(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(setup.Close)
	resumed, err := Resume(setup, r.stepper.device, r.dir, from, manifest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(resumed.Close)
	return resumed
}

// A run in two parts ends with the bits and the figures of one that wasn't interrupted.
func TestResume(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	for _, kind := range []string{"model.precision=float32", "model.precision=bf16", "optim.kind=adamw8bit"} {
		t.Run(kind, func(t *testing.T) { testResume(t, d, kind) })
	}
}

func testResume(t *testing.T, d *device.Device, kind string) {
	settings := append(short, kind, "data.order=shuffled", "run.batch_size=4", "run.micro_batch_size=2", "model.dropout=0.1", "data.eoi=token",
		"data.validation="+filepath.Join(modelDir("llama"), "train.jsonl"), "run.eval_every=2", "run.steps=5")
	whole := start(t, d, config(t, "llama", settings...))
	want := train(t, whole)

	first := start(t, d, config(t, "llama", append(settings, "run.steps=3")...))
	train(t, first)
	second := resume(t, first, func(c *configs.Config) { c.Run.Steps = 5 })
	got := train(t, second)
	if !reflect.DeepEqual(download(t, whole.stepper), download(t, second.stepper)) {
		t.Error("the weights or the optimizer's state differ")
	}
	wantLosses, wantNorms := losses(t, whole)
	gotLosses, gotNorms := losses(t, second)
	if !slices.Equal(gotLosses, wantLosses) || !slices.Equal(gotNorms, wantNorms) {
		t.Errorf("losses %v and norms %v, without the interruption %v and %v", gotLosses, gotNorms, wantLosses, wantNorms)
	}
	if got.FirstLoss != want.FirstLoss || got.LastLoss != want.LastLoss || got.Best.Loss != want.Best.Loss || got.Best.Step != want.Best.Step {
		t.Errorf("summary %+v (best %+v), without the interruption %+v (best %+v)", got, got.Best, want, want.Best)
	}
	if got.Steps != 2 || got.Step != 5 {
		t.Errorf("summary %+v, want 2 steps to step 5", got)
	}

	// With nothing left to do the figures of the run are still known, and nothing is saved anew.
	again := train(t, resume(t, second, func(*configs.Config) {}))
	if again.Steps != 0 || again.FirstLoss != want.FirstLoss || again.LastLoss != want.LastLoss || again.Best == nil || again.Checkpoint != got.Checkpoint {
		t.Errorf("summary of a finished run %+v, want the figures of %+v", again, got)
	}
}

// A resumed run goes on as configured, or not at all.
func TestResumeRefusesAnotherCourse(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	c := config(t, "llama", "run.steps=1", "run.batch_size=1", "data.max_length=8")
	r := start(t, d, c)
	train(t, r)
	from, manifest, _, err := checkpoint.Last(string(r.dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		key    string
		change func(*configs.Config)
		may    bool
	}{
		{"optim.lr", func(c *configs.Config) { c.Optim.LR *= 2 }, false},
		{"run.seed", func(c *configs.Config) { c.Run.Seed++ }, false},
		{"run.batch_size", func(c *configs.Config) { c.Run.BatchSize = 2 }, false},
		{"data.max_length", func(c *configs.Config) { c.Data.MaxLength = 12 }, false},
		{"schedule.kind", func(c *configs.Config) { c.Schedule.Kind = "linear" }, false},
		{"model.precision", func(c *configs.Config) { c.Model.Precision = "mixed" }, false},
		{"run.steps", func(c *configs.Config) { c.Run.Steps = 2 }, true},
		{"checkpoint.every", func(c *configs.Config) { c.Checkpoint.Every = 1 }, true},
	} {
		changed := c
		test.change(&changed)
		setup, err := Prepare(changed)
		if err != nil {
			t.Fatal(err)
		}
		resumed, err := Resume(setup, d, r.dir, from, manifest)
		if err == nil {
			resumed.Close()
		}
		if test.may && err != nil || !test.may && (err == nil || !strings.Contains(err.Error(), test.key+" was changed")) {
			t.Errorf("%s changed: %v", test.key, err)
		}
		setup.Close()
	}
}

// A loss that isn't finite stops the run, with its records named and the state before it saved; told to, the run skips it.
func TestNonfiniteLoss(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	r := start(t, d, config(t, "llama", append(short, "optim.lr=1e30", "run.steps=3")...)) // the first step throws the weights away
	_, err := r.Train(context.Background(), rundir.NewDisplay(io.Discard, false, 3))
	if err == nil {
		t.Fatal("the run went on")
	}
	for _, part := range []string{"step 2:", "records [2 3] of data.train", "train resume " + string(r.dir) + " run.on_nonfinite=skip"} {
		if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: want one line with %q", err, part)
		}
	}
	stopped := download(t, r.stepper)

	var notes strings.Builder
	second := resume(t, r, func(c *configs.Config) { c.Run.OnNonfinite = "skip" })
	if !reflect.DeepEqual(download(t, second.stepper), stopped) {
		t.Error("the checkpoint isn't the state before the step")
	}
	summary, err := second.Train(context.Background(), rundir.NewDisplay(&notes, false, 3))
	if err != nil {
		t.Fatal(err)
	}
	if summary.Step != 3 || summary.FirstLoss != summary.LastLoss || !finite(float64(summary.LastLoss)) {
		t.Errorf("summary %+v, want step 3 and the loss of the only step that counted", summary)
	}
	if strings.Count(notes.String(), "; skipped\n") != 2 {
		t.Errorf("the display says %q, want two skipped steps", notes.String())
	}
	if !reflect.DeepEqual(download(t, second.stepper), stopped) {
		t.Error("skipped steps changed the state")
	}
}

// Where the step has changed part of the state already, it isn't saved, and the last checkpoint is named.
func TestNonfiniteGradientAfterEarlyUpdates(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	fresh := start(t, d, config(t, "llama", append(short, "optim.clip_norm=0", "run.steps=1")...))
	fails := func(r *Run, want string) {
		t.Helper()
		r.stepper.early = true
		steep(t, r.stepper)
		_, err := r.Train(context.Background(), rundir.NewDisplay(io.Discard, false, 3))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	train(t, fresh)
	fails(resume(t, fresh, func(c *configs.Config) { c.Run.Steps = 3 }), "the last checkpoint is that of step 1: look at these records, or go on from there and skip them with: train resume "+string(fresh.dir))
	if _, m, _, err := checkpoint.Last(string(fresh.dir)); err != nil || m.Step != 1 {
		t.Errorf("the last checkpoint is that of step %d, %v", m.Step, err)
	}
	fails(start(t, d, config(t, "llama", append(short, "optim.clip_norm=0", "run.steps=1")...)), "no checkpoint before it")
}

// A run that can't learn anything from the start is told so too, and its checkpoints are valid.
func TestNonfiniteFromTheStart(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	for _, action := range []string{"stop", "skip"} {
		r := start(t, d, config(t, "llama", "run.steps=2", "run.batch_size=1", "data.max_length=8", "run.on_nonfinite="+action))
		bad := download(t, r.stepper)
		for i := range len(bad.parameters[0]) / 4 {
			binary.LittleEndian.PutUint32(bad.parameters[0][4*i:], math.Float32bits(float32(math.NaN())))
		}
		r.stepper.restoreTo(t, bad)
		summary, err := r.Train(context.Background(), rundir.NewDisplay(io.Discard, false, 2))
		if action == "stop" {
			if err == nil || !strings.Contains(err.Error(), "step 1:") || !strings.Contains(err.Error(), "records [0]") || strings.Contains(err.Error(), "resume") {
				t.Errorf("stop: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if summary.Step != 2 || finite(float64(summary.FirstLoss)) || finite(float64(summary.LastLoss)) {
			t.Errorf("skip: summary %+v, want two steps without a loss", summary)
		}
		if _, err := checkpoint.Verify(summary.Checkpoint); err != nil {
			t.Error(err)
		}
	}
}

// Texts packed into blocks are learnt.
func TestBlocksTrain(t *testing.T) {
	d := devicetest.Open(t, device.CPU)
	r := start(t, d, config(t, "opt", "data.packing=blocks", "data.max_length=64", "run.batch_size=4", "run.epochs=4", "run.steps=0", "optim.lr=3e-3"))
	summary := train(t, r)
	perEpoch := r.loader.BatchesPerEpoch()
	if summary.Step != 4*perEpoch || !(summary.LastLoss < 0.9*summary.FirstLoss) {
		t.Errorf("summary %+v, want %d steps and a loss that falls", summary, 4*perEpoch)
	}
}

// Adding [EOI] as a token gives the embedding one row, the mean of the others, and the checkpoint knows it.
func TestAddedToken(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	r := start(t, d, config(t, "llama", "data.eoi=token", "run.steps=1", "run.batch_size=1", "data.max_length=32"))
	rows := r.setup.Source.Config.Vocabulary()
	if got := r.setup.Model.Vocabulary(); got != rows+1 {
		t.Fatalf("the vocabulary has %d rows, want %d", got, rows+1)
	}
	for i, w := range r.setup.Spec.Weights {
		if w.Name != "model.embed_tokens.weight" && w.Name != "lm_head.weight" {
			continue
		}
		values, err := r.stepper.parameters[i].Float32s()
		if err != nil {
			t.Fatal(err)
		}
		columns := w.Shape[1]
		for c := range columns {
			sum := 0.0
			for row := range rows {
				sum += float64(values[row*columns+c])
			}
			if got := float64(values[rows*columns+c]); math.Abs(got-sum/float64(rows)) > 1e-6 {
				t.Fatalf("%s: the new row has %v in column %d, the mean is %v", w.Name, got, c, sum/float64(rows))
			}
		}
	}
	id, ok := r.setup.Tokenizer.ID("[EOI]")
	if !ok || int(id) != rows || !slices.ContainsFunc(r.setup.Train, func(e data.Example) bool { return slices.Contains(e.Input, id) }) {
		t.Errorf("[EOI] has id %d (%v), which no example holds", id, ok)
	}
	train(t, r)
	resume(t, r, func(*configs.Config) {}) // the checkpoint's shapes fit
}

// Runs that differ in numbers only have one program.
func TestNumbersShareAProgram(t *testing.T) {
	compileOnce(t)
	d := devicetest.Open(t, device.CPU)
	for i, test := range []struct {
		numbers string
		cached  bool
	}{
		{"optim.lr=1e-3", false},
		{"optim.lr=3e-3 optim.weight_decay=0.3 optim.beta1=0.8 optim.beta2=0.95 optim.eps=1e-6 optim.clip_norm=0.5 schedule.kind=cosine run.seed=9", true},
		{"optim.weight_decay=0 run.steps=2", true},
		{"optim.clip_norm=0", false}, // another arithmetic, as documented
	} {
		r := start(t, d, config(t, "llama", append(append(short, "run.steps=1"), strings.Fields(test.numbers)...)...))
		train(t, r)
		for shape, p := range r.stepper.programs {
			if p.Cached() != test.cached {
				t.Errorf("run %d with %s: the program for %v was there before: %v, want %v", i, test.numbers, shape, p.Cached(), test.cached)
			}
		}
	}
}
