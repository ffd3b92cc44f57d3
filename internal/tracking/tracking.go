// Package tracking shows a run in the tools that people watch runs with,
// TensorBoard, MLflow and Weights & Biases, without training knowing of them.
//
// The metrics log stays the truth. A tracker that lacks what the log has, since
// it was down or is new to the run, gets it from there; one that fails is told
// of once and holds nothing up.
package tracking

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/rundir"
)

// Outcome is how training ended.
type Outcome int

// Finished is a run that did its last step, Stopped one that was told to stop
// before and may go on, Failed one that an error ended.
const (
	Finished Outcome = iota
	Stopped
	Failed
)

// Trackers are the trackers of a run; there may be none.
type Trackers []tracker

type tracker interface {
	// log takes a record and returns at once.
	log(point)
	close(Outcome)
}

// Open gives the trackers that c asks for to a run in dir that goes on after
// the given step, 0 for a new one; the metrics log ends there. Nothing is
// written or sent for a new run before its first record. Warn gets a line for a
// person, and may be called at any time until Close returns.
func Open(c configs.Config, dir rundir.Dir, after int, warn func(string)) Trackers {
	var all Trackers
	if c.Tracking.TensorBoard {
		all = append(all, openFiles("TensorBoard", &tensorBoard{config: c, dir: dir, after: after}, after, warn))
	}
	if c.Tracking.WandB {
		all = append(all, openFiles("Weights & Biases", &wandb{config: c, dir: dir, after: after}, after, warn))
	}
	if c.Tracking.MLflow != "" {
		all = append(all, openMLflow(c, dir, after, warn))
	}
	return all
}

// Step implements [rundir.Tracker].
func (all Trackers) Step(s rundir.Step) { all.log(ofStep(s)) }

// Eval implements [rundir.Tracker].
func (all Trackers) Eval(e rundir.Eval) { all.log(ofEval(e)) }

func (all Trackers) log(p point) {
	p.time = time.Now()
	for _, t := range all {
		t.log(p)
	}
}

// Close tells the trackers how training ended. It waits a few seconds at most
// for a server that hasn't got everything.
func (all Trackers) Close(o Outcome) {
	for _, t := range all {
		t.close(o)
	}
}

// A point is a record of the log as trackers have it: scalars of a step.
type point struct {
	step    int
	time    time.Time
	scalars []scalar
}

type scalar struct {
	name  string
	value float64 // may be NaN or infinite
}

// The names are those of Hugging Face's Trainer where it has one.

func ofStep(s rundir.Step) point {
	return point{step: s.Step, scalars: []scalar{
		{"train/loss", float64(s.Loss)},
		{"train/grad_norm", float64(s.GradNorm)},
		{"train/learning_rate", s.LR},
		{"train/epoch", s.Epoch},
		{"train/tokens", float64(s.Tokens)},
		{"train/tokens_per_second", s.TokensPerSecond},
	}}
}

func ofEval(e rundir.Eval) point {
	return point{step: e.Step, scalars: []scalar{{"eval/loss", e.Loss}}}
}

// names are those of all scalars.
func names() []string {
	var all []string
	for _, s := range append(ofStep(rundir.Step{}).scalars, ofEval(rundir.Eval{}).scalars...) {
		all = append(all, s.name)
	}
	return all
}

// numberText writes a number as JSON, and what JSON lacks as JavaScript does.
func numberText(x float64) string {
	switch {
	case math.IsNaN(x):
		return "NaN"
	case math.IsInf(x, 1):
		return "Infinity"
	case math.IsInf(x, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}

// history is what the log at path holds, in the order of steps. Its times
// aren't known: they are now.
func history(path string) ([]point, error) {
	steps, evals, err := rundir.ReadMetrics(path)
	if err != nil {
		return nil, err
	}
	var points []point
	for _, s := range steps {
		points = append(points, ofStep(s))
	}
	for _, e := range evals {
		points = append(points, ofEval(e))
	}
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.step, b.step) })
	now := time.Now()
	for i := range points {
		points[i].time = now
	}
	return points, nil
}
