package training

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/rundir"
)

// A step that isn't finite stops the run before steps that had been started already, though these would be finite.
func TestStopLeavesLaterStepsUndone(t *testing.T) {
	compileOnce(t)
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		const bad = 1 // the record whose loss isn't finite
		settings := append(short, "run.batch_size=1", "run.micro_batch_size=1")
		begin := func(steps string, more ...string) *Run {
			r := start(t, d, config(t, "llama", append(append(settings, "run.steps="+steps), more...)...))
			poison(t, r, bad)
			return r
		}
		want := begin("1")
		train(t, want)

		r := begin("4")
		_, err := r.Train(context.Background(), rundir.NewDisplay(io.Discard, false, 4))
		if err == nil || !strings.Contains(err.Error(), "step 2:") || !strings.Contains(err.Error(), "records [1]") {
			t.Fatalf("the run ended with %v", err)
		}
		if got := download(t, r.stepper); !reflect.DeepEqual(got, download(t, want.stepper)) {
			t.Error("the state isn't that before the step")
		}
		if logged, _ := losses(t, r); len(logged) != 1 {
			t.Errorf("losses %v are logged, want that of step 1", logged)
		}

		// Going on without it is as if the run had never stopped.
		whole := begin("4", "run.on_nonfinite=skip")
		train(t, whole)
		resumed := resume(t, r, func(c *configs.Config) { c.Run.OnNonfinite = "skip" })
		summary := train(t, resumed)
		if summary.Step != 4 || !finite(float64(summary.LastLoss)) {
			t.Errorf("summary %+v, want step 4 with a loss", summary)
		}
		if !reflect.DeepEqual(download(t, resumed.stepper), download(t, whole.stepper)) {
			t.Error("the run that was stopped and resumed ended elsewhere than one that skipped at once")
		}
	})
}

// compileOnce lets the runs of a test share their programs.
func compileOnce(t *testing.T) { t.Setenv("LONGFORM_CACHE", t.TempDir()) }

// poison makes the embedding of a token NaN that, of the first records, only one has.
func poison(t *testing.T, r *Run, record int) {
	t.Helper()
	var others []int32
	for i, e := range r.setup.Train[:4] {
		if i != record {
			others = append(others, e.Input...)
		}
	}
	input := r.setup.Train[record].Input[:r.setup.Config.Data.MaxLength]
	at := slices.IndexFunc(input[:len(input)-1], func(id int32) bool { return !slices.Contains(others, id) })
	if at < 0 {
		t.Fatalf("record %d has no token of its own", record)
	}
	embedding := slices.Index(names(r), "model.embed_tokens.weight")
	s := download(t, r.stepper)
	columns := r.setup.Spec.Weights[embedding].Shape[1]
	for c := range columns {
		binary.LittleEndian.PutUint32(s.parameters[embedding][4*(int(input[at])*columns+c):], math.Float32bits(float32(math.NaN())))
	}
	r.stepper.restoreTo(t, s)
}

func names(r *Run) []string {
	var names []string
	for _, w := range r.setup.Spec.Weights {
		names = append(names, w.Name)
	}
	return names
}

// A run that is told to stop saves what it has done, which is less than it has prepared, and goes on bit for bit.
func TestStopInTheMiddle(t *testing.T) {
	compileOnce(t)
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		settings := append(short, "data.order=shuffled", "run.batch_size=2", "run.steps=12")
		whole := start(t, d, config(t, "llama", settings...))
		train(t, whole)

		r := start(t, d, config(t, "llama", settings...))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		lines := writer(func(line string) {
			if strings.HasPrefix(line, "step 3/") {
				cancel()
			}
		})
		summary, err := r.Train(ctx, rundir.NewDisplay(lines, false, 12))
		if err != nil {
			t.Fatal(err)
		}
		_, manifest, _, err := checkpoint.Last(string(r.dir))
		if err != nil || manifest.Step != summary.Step || summary.Step < 3 || summary.Step > 3+ahead {
			t.Fatalf("stopped after step %d with the checkpoint of step %d (%v), want a step soon after 3", summary.Step, manifest.Step, err)
		}
		resumed := resume(t, r, func(*configs.Config) {})
		train(t, resumed)
		if !reflect.DeepEqual(download(t, resumed.stepper), download(t, whole.stepper)) {
			t.Error("the resumed run ended elsewhere")
		}
		want, _ := losses(t, whole)
		if got, _ := losses(t, resumed); !slices.Equal(got, want) {
			t.Errorf("losses %v, without the interruption %v", got, want)
		}
	})
}

type writer func(string)

func (w writer) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}

// Evaluations and checkpoints in between change nothing, and neither does an error that ends a run in the middle.
func TestPauses(t *testing.T) {
	compileOnce(t)
	d := devicetest.Open(t, device.CPU)
	settings := append(short, "data.order=shuffled", "run.batch_size=2", "run.steps=6", "run.log_every=4")
	plain := start(t, d, config(t, "llama", settings...))
	train(t, plain)
	for _, async := range []string{"true", "false"} {
		r := start(t, d, config(t, "llama", append(settings, "data.validation="+modelDir("llama")+"/train.jsonl",
			"run.eval_every=2", "checkpoint.every=3", "checkpoint.keep=10", "checkpoint.async="+async)...))
		train(t, r)
		if !reflect.DeepEqual(download(t, r.stepper), download(t, plain.stepper)) {
			t.Errorf("async=%s: another state", async)
		}
		steps, evals, err := rundir.ReadMetrics(r.dir.Metrics())
		if err != nil || len(steps) != 3 || len(evals) != 3 {
			t.Errorf("%d steps and %d evaluations are logged, error %v; want 1, 4, 6 and 2, 4, 6", len(steps), len(evals), err)
		}
		for _, s := range steps {
			if !(s.Seconds > 0) {
				t.Errorf("step %d took %v s", s.Step, s.Seconds)
			}
		}
	}
	r := start(t, d, config(t, "llama", settings...))
	r.stepper.parameters[0].Free()
	if _, err := r.Train(context.Background(), rundir.NewDisplay(io.Discard, false, 6)); err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "step 1: ") {
		t.Errorf("without weights: %v", err)
	}
}
