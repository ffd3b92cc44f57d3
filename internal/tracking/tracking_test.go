package tracking

import (
	"encoding/json"
	"math"
	"os/exec"
	"testing"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/testneeds"
)

// ask runs a script and decodes the JSON that it prints.
func ask(t *testing.T, answer any, python, script string, args ...string) {
	t.Helper()
	out := testneeds.Output(t, exec.Command(python, append([]string{"-c", script}, args...)...))
	if err := json.Unmarshal(out, answer); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
}

// a run as training has it: a log, and trackers that hear of it.
type run struct {
	t        *testing.T
	metrics  *rundir.Metrics
	trackers Trackers
	warnings chan string
}

func config(dir rundir.Dir, t configs.Tracking) configs.Config {
	c := configs.Default()
	c.Model.Path, c.Data.Train, c.Run.Dir, c.Run.Steps = "m", []string{"a.jsonl", "b.jsonl"}, string(dir), 100
	c.Run.MicroBatchSize, c.Data.MaxTargetLength, c.Tracking = c.Run.BatchSize, c.Data.MaxLength, t
	return c
}

func start(t *testing.T, c configs.Config, after int) *run {
	t.Helper()
	dir := rundir.Dir(c.Run.Dir)
	m, err := rundir.OpenMetrics(dir.Metrics(), after)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{t: t, metrics: m, warnings: make(chan string, 100)}
	r.trackers = Open(c, dir, after, func(text string) { r.warnings <- text })
	m.Track(r.trackers)
	return r
}

// loss and evalLoss are what is logged of a step.
func loss(step int) float32 {
	if step == 3 {
		return float32(math.NaN())
	}
	return 8 / float32(step)
}

func evalLoss(step int) float64 { return 10 / float64(step) }

// steps logs the steps from first to last, with an evaluation every fourth.
func (r *run) steps(first, last int) {
	r.t.Helper()
	for i := first; i <= last; i++ {
		s := rundir.Step{Step: i, Epoch: float64(i) / 7, Loss: loss(i), GradNorm: 1, LR: 1e-3 / float64(i), Tokens: int64(100 * i), TokensPerSecond: 1000}
		if err := r.metrics.Step(s); err != nil {
			r.t.Fatal(err)
		}
		if i%4 == 0 {
			if err := r.metrics.Eval(rundir.Eval{Step: i, Loss: evalLoss(i)}); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func (r *run) end(o Outcome) {
	r.trackers.Close(o)
	r.metrics.Close()
}

func (r *run) quiet() {
	r.t.Helper()
	for len(r.warnings) > 0 {
		r.t.Errorf("warned: %s", <-r.warnings)
	}
}
