package training

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/evaluation"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/tracking"
)

// Run is a run on a device: its state, where it stands, and where it is kept.
type Run struct {
	setup    *Setup
	dir      rundir.Dir
	stepper  *stepper
	loader   *data.Loader
	valid    []data.Batch
	scorer   *evaluation.Scorer
	metrics  *rundir.Metrics
	display  *rundir.Display
	progress progress
	total    int           // steps
	lastEnd  time.Time     // of a step
	ended    chan struct{} // closed when the end of the step that was started last is known; nil before the first

	saving    chan error // the checkpoint being written; nil when there is none
	saved     string     // directory of the last committed one
	savedStep int        // its step
}

// Start begins a new run: weights as the configuration says, at step 0.
func Start(s *Setup, d *device.Device, dir rundir.Dir) (*Run, error) {
	r, err := newRun(s, d, dir)
	if err != nil {
		return nil, err
	}
	r.compileFirst()
	var p *pretrained.Parameters
	if s.Config.Model.Init == "random" {
		p, err = pretrained.Random(d, s.Spec, s.Config.Run.Seed)
	} else {
		p, err = s.Source.Load(d, s.Spec, s.Config.Run.Seed)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	r.stepper.parameters = p.Values
	if r.stepper.state, err = zeros(d, r.stepper.stateInputs()); err != nil {
		r.Close()
		return nil, err
	}
	return r, r.open()
}

// Resume continues the run kept in dir after the checkpoint.
func Resume(s *Setup, d *device.Device, dir rundir.Dir, from string, m checkpoint.Manifest) (*Run, error) {
	r, err := newRun(s, d, dir)
	if err != nil {
		return nil, err
	}
	if err := r.load(d, from, m); err != nil {
		r.Close()
		return nil, fmt.Errorf("resume from %s: %w", from, err)
	}
	return r, r.open()
}

func newRun(s *Setup, d *device.Device, dir rundir.Dir) (*Run, error) {
	r := &Run{setup: s, dir: dir, stepper: newStepper(d, s.Spec, s.Config), scorer: evaluation.NewScorer(d, s.Spec)}
	var err error
	if r.loader, err = s.loader(s.Train, s.Config.Run.BatchSize, s.Config.Data); err != nil {
		return nil, fmt.Errorf("data.train: %w", err)
	}
	if r.valid, err = s.validationBatches(); err != nil {
		return nil, err
	}
	r.total, err = s.steps(r.loader)
	return r, err
}

// steps is the length of the run. Epochs may differ in length, when whole examples are packed in an order that changes.
func (s *Setup) steps(l *data.Loader) (int, error) {
	total := s.Config.Run.Steps
	for epoch := range s.Config.Run.Epochs {
		if err := l.Seek(data.Position{Epoch: epoch}); err != nil {
			return 0, err
		}
		total += l.BatchesPerEpoch()
	}
	return total, l.Seek(data.Position{})
}

func (r *Run) load(d *device.Device, from string, m checkpoint.Manifest) error {
	if err := json.Unmarshal(m.Progress, &r.progress); err != nil {
		return fmt.Errorf("its manifest has no training progress: %w", err)
	}
	if err := sameCourse(r.progress.Config, r.setup.Config); err != nil {
		return err
	}
	if err := r.loader.Seek(r.progress.Position); err != nil {
		return err
	}
	r.compileFirst()
	source, err := pretrained.Find(from)
	if err != nil {
		return err
	}
	defer source.Close()
	p, err := source.Load(d, r.setup.Spec, r.setup.Config.Run.Seed)
	if err != nil {
		return err
	}
	r.stepper.parameters = p.Values
	if r.stepper.state, err = restore(d, from, r.stepper.stateInputs()); err != nil {
		return err
	}
	r.saved, r.savedStep = from, m.Step
	return nil
}

// compileFirst begins to compile the program of the next step, while weights are read.
func (r *Run) compileFirst() {
	if r.progress.Step >= r.total {
		return
	}
	at := r.loader.Position()
	shape := feed.ShapeOf(r.loader.Next()).Cut(r.setup.Config.Run.MicroBatchSize)
	_ = r.loader.Seek(at) // where it was
	r.stepper.compileEarly(shape)
}

// open keeps the configuration and goes on with the metrics log. Nothing is written to the run before.
func (r *Run) open() error {
	config, err := r.setup.Config.YAML()
	if err == nil {
		r.progress.Config = string(config)
		err = r.dir.WriteConfig(config)
	}
	if err == nil {
		r.metrics, err = rundir.OpenMetrics(r.dir.Metrics(), r.progress.Step)
	}
	if err != nil {
		r.Close()
	}
	return err
}

// Close frees the device memory.
func (r *Run) Close() {
	r.stepper.close()
	r.scorer.Close()
	if r.metrics != nil {
		r.metrics.Close()
	}
}

// Total is the number of steps of the whole run, Step how many are done.
func (r *Run) Total() int { return r.total }

// Step is how many steps are done.
func (r *Run) Step() int { return r.progress.Step }

// Train goes on to the last step. When ctx is cancelled it finishes the steps under way, saves and returns as well: the summary's
// Step is then less than Total. An error leaves the last checkpoint in place.
func (r *Run) Train(ctx context.Context, display *rundir.Display) (rundir.Summary, error) {
	r.display = display
	started := time.Now()
	first, tokens := r.progress.Step, r.progress.Tokens
	trackers := tracking.Open(r.setup.Config, r.dir, first, display.Note)
	r.metrics.Track(trackers)
	err := r.train(ctx)
	if waited := r.wait(); err == nil {
		err = waited
	} else if waited != nil {
		err = fmt.Errorf("%w; and %w", err, waited)
	}
	switch {
	case err != nil:
		trackers.Close(tracking.Failed)
		return rundir.Summary{}, err
	case r.progress.Step < r.total:
		trackers.Close(tracking.Stopped)
	default:
		trackers.Close(tracking.Finished)
	}
	peak, known := r.stepper.device.PeakMemory()
	if !known {
		peak = total(r.stepper.memory())
	}
	return rundir.Summary{
		Step: r.progress.Step, Time: time.Since(started), Steps: r.progress.Step - first, Tokens: r.progress.Tokens - tokens,
		FirstLoss: orNaN(r.progress.FirstLoss), LastLoss: orNaN(r.progress.LastLoss), Best: r.progress.Best,
		PeakMemory: peak, Checkpoint: r.saved, Plots: r.dir.Plots(),
	}, nil
}

func (r *Run) train(ctx context.Context) error {
	if err := r.steps(ctx); err != nil {
		return err
	}
	if err := r.saveLast(); err != nil {
		return err
	}
	if err := r.metrics.Sync(); err != nil {
		return err
	}
	return r.dir.Plot()
}

// stopBefore saves the state before the step that went wrong, which changed nothing, and says how to go on.
func (r *Run) stopBefore(problem string) error {
	if err := r.saveLast(); err != nil {
		return fmt.Errorf("%s; and %w", problem, err)
	}
	if r.progress.Step == 0 {
		return fmt.Errorf("%s; look at these records, lower optim.lr, or set run.on_nonfinite=skip", problem)
	}
	return fmt.Errorf("%s; the state before it is saved: look at these records, or go on without them with: train resume %s run.on_nonfinite=skip", problem, r.dir)
}

// stopAfter says how to go on when the step that went wrong has changed part of the state, so that it can't be saved.
func (r *Run) stopAfter(problem string) error {
	if err := r.wait(); err != nil {
		return fmt.Errorf("%s; and %w", problem, err)
	}
	if r.saved == "" {
		return fmt.Errorf("%s, and there is no checkpoint before it; look at these records, lower optim.lr, set optim.clip_norm, or set checkpoint.every", problem)
	}
	return fmt.Errorf("%s; the last checkpoint is that of step %d: look at these records, or go on from there and skip them with: train resume %s run.on_nonfinite=skip", problem, r.savedStep, r.dir)
}

func (r *Run) evaluatesAfter(step int) bool {
	every := r.setup.Config.Run.EvalEvery
	return len(r.valid) > 0 && (every > 0 && step%every == 0 || step == r.total)
}

func (r *Run) savesAfter(step int) bool {
	every := r.setup.Config.Checkpoint.Every
	return every > 0 && step%every == 0
}

// afterStep evaluates and saves when it is time to.
func (r *Run) afterStep() error {
	step := r.progress.Step
	best := false
	if r.evaluatesAfter(step) {
		var err error
		if best, err = r.evaluate(); err != nil {
			return err
		}
	}
	keepBest := best && r.setup.Config.Checkpoint.Best
	if keepBest || r.savesAfter(step) {
		if err := r.save(); err != nil {
			return err
		}
	}
	if keepBest {
		if err := r.wait(); err != nil {
			return err
		}
		return checkpoint.Mark(string(r.dir), "best", r.saved)
	}
	return nil
}

// evaluate measures the validation loss and says whether it is the best so far.
func (r *Run) evaluate() (bool, error) {
	begun := time.Now()
	loss, targets, err := r.scorer.MeanLoss(r.stepper.parameters, r.valid)
	if err != nil {
		return false, fmt.Errorf("evaluation after step %d: %w", r.progress.Step, err)
	}
	e := rundir.Eval{Step: r.progress.Step, Loss: loss, Targets: targets, Seconds: time.Since(begun).Seconds()}
	r.display.Eval(e)
	if err := r.metrics.Eval(e); err != nil {
		return false, err
	}
	best := finite(loss) && (r.progress.Best == nil || loss < r.progress.Best.Loss)
	if best {
		r.progress.Best = &e
	}
	return best, nil
}

// save commits a checkpoint, in the background when the configuration says so. One is written at a time.
func (r *Run) save() error {
	if err := r.wait(); err != nil {
		return err
	}
	if err := r.metrics.Sync(); err != nil {
		return err
	}
	snapshot, err := r.setup.snapshot(r.stepper, r.progress)
	if err != nil {
		return err
	}
	if r.setup.Config.Checkpoint.Async {
		if snapshot, err = held(snapshot); err != nil {
			return err
		}
	}
	r.saving = make(chan error, 1)
	write := func() {
		dir, err := checkpoint.Save(string(r.dir), snapshot)
		if err == nil {
			r.saved, r.savedStep = dir, snapshot.Step
			err = checkpoint.Retain(string(r.dir), r.setup.Config.Checkpoint.Keep)
		}
		r.saving <- err
	}
	if r.setup.Config.Checkpoint.Async {
		go write()
		return nil
	}
	write()
	return r.wait()
}

// wait returns when no checkpoint is being written.
func (r *Run) wait() error {
	if r.saving == nil {
		return nil
	}
	err := <-r.saving
	r.saving = nil
	return err
}

// saveLast saves the state unless a checkpoint holds it already.
func (r *Run) saveLast() error {
	if err := r.wait(); err != nil {
		return err
	}
	if r.progress.Step == r.savedStep {
		return nil
	}
	if err := r.save(); err != nil {
		return err
	}
	return r.wait()
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

func orNaN(x *float32) float32 {
	if x == nil {
		return float32(math.NaN())
	}
	return *x
}
