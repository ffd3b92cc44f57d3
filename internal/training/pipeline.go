package training

import (
	"context"
	"fmt"
	"time"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/rundir"
)

// ahead is how many steps are started and not known to be done at most: one that the device computes, and one that it goes
// on with at once. Meanwhile the batch after them is made and uploaded.
const ahead = 2

// prepared is a step that can start: its batch is on the device.
type prepared struct {
	step  int
	rate  float64
	batch data.Batch // what messages need of it
	epoch float64    // passes over the training set after it
	after data.Position

	shape feed.Shape
	in    []*device.Buffer // as stepper.upload makes them
	err   error
}

// prepare makes the batches of the steps to come, one in advance, until ctx is cancelled. The loader is its alone until the
// channel is closed.
func (r *Run) prepare(ctx context.Context) <-chan prepared {
	c := r.setup.Config
	steps := make(chan prepared)
	first := r.progress.Step + 1
	go func() {
		defer close(steps)
		for step := first; step <= r.total; step++ {
			at := r.loader.Position()
			perEpoch := r.loader.BatchesPerEpoch()
			p := prepared{step: step, rate: learningRate(c.Optim, c.Schedule, step, r.total), batch: r.loader.Next(), after: r.loader.Position()}
			p.epoch = float64(at.Epoch) + float64(at.Batch+1)/float64(perEpoch)
			p.shape = feed.ShapeOf(p.batch).Cut(c.Run.MicroBatchSize)
			p.in, p.err = r.stepper.upload(p.batch, p.shape, p.rate, step, c.Run.Seed)
			select {
			case steps <- p:
			case <-ctx.Done():
				feed.Free(p.in)
				return
			}
		}
	}()
	return steps
}

// started is a step that the device computes, or will when it is done with those before.
type started struct {
	prepared
	begun time.Time
	done  chan finished // gets one
}

type finished struct {
	outcome
	end time.Time
	err error
}

// begin starts a step.
func (r *Run) begin(p prepared) (started, error) {
	s := started{prepared: p, begun: time.Now(), done: make(chan finished, 1)}
	err := p.err
	var metrics *device.Buffer
	if err == nil {
		metrics, err = r.stepper.start(p.shape, p.in, r.setup.Config.Run.OnNonfinite == "skip")
	}
	if err != nil {
		return s, fmt.Errorf("step %d: %w", p.step, err)
	}
	if note := r.stepper.note(); note != "" {
		r.display.Note(note)
	}
	before, ended := r.ended, make(chan struct{})
	r.ended = ended
	go func() {
		o, err := fetch(metrics)
		if before != nil {
			<-before // else the end of a short step may be taken before that of the one before
		}
		end := time.Now()
		close(ended)
		s.done <- finished{o, end, err}
	}()
	return s, nil
}

// finish waits for a step and logs it.
func (r *Run) finish(s started) error {
	f := <-s.done
	if f.err != nil {
		return fmt.Errorf("step %d: %w", s.step, f.err)
	}
	c := r.setup.Config
	if finite(float64(f.loss)) && finite(float64(f.gradNorm)) {
		if r.progress.FirstLoss == nil {
			r.progress.FirstLoss = &f.loss
		}
		r.progress.LastLoss = &f.loss
	} else {
		problem := fmt.Sprintf("step %d: loss %v, gradient norm %v on %s of data.train", s.step, f.loss, f.gradNorm, batchName(s.batch))
		if c.Run.OnNonfinite != "skip" {
			if r.stepper.early && finite(float64(f.loss)) {
				return r.stopAfter(problem)
			}
			return r.stopBefore(problem)
		}
		r.display.Note(problem + "; skipped")
	}
	r.progress.Step = s.step
	r.progress.Position = s.after
	r.progress.Tokens += int64(s.batch.Tokens)
	r.progress.Targets += int64(f.targets)
	begun := s.begun
	if r.lastEnd.After(begun) {
		begun = r.lastEnd
	}
	r.lastEnd = f.end
	seconds := f.end.Sub(begun).Seconds()
	record := rundir.Step{
		Step: s.step, Epoch: s.epoch, Loss: f.loss, GradNorm: f.gradNorm,
		LR: s.rate, Tokens: r.progress.Tokens, Targets: r.progress.Targets,
		Seconds: seconds, TokensPerSecond: float64(s.batch.Tokens) / seconds,
	}
	if s.step%c.Run.LogEvery == 0 || s.step == r.total || s.step == 1 {
		record.PeakMemory, _ = r.stepper.device.PeakMemory()
		r.display.Step(record)
		return r.metrics.Step(record)
	}
	r.display.Advance(record)
	return nil
}

// steps takes the steps to the last one, unless ctx is cancelled before. While the device computes one, the host prepares
// the next; only an evaluation and a checkpoint wait until nothing is on its way.
func (r *Run) steps(ctx context.Context) (err error) {
	preparing, cancel := context.WithCancel(ctx)
	next := r.prepare(preparing)
	var underWay []started
	defer func() {
		cancel()
		for p := range next {
			feed.Free(p.in)
		}
		for _, s := range underWay { // after an error
			<-s.done
		}
	}()
	finishOldest := func() error {
		s := underWay[0]
		underWay = underWay[1:]
		return r.finish(s)
	}
	for step := r.progress.Step + 1; step <= r.total && ctx.Err() == nil; step++ {
		p, ok := <-next
		if !ok {
			break // cancelled
		}
		s, err := r.begin(p)
		if err != nil {
			return err
		}
		underWay = append(underWay, s)
		pause := r.evaluatesAfter(step) || r.savesAfter(step)
		for len(underWay) >= ahead || pause && len(underWay) > 0 {
			if err := finishOldest(); err != nil {
				return err
			}
		}
		if pause {
			if err := r.afterStep(); err != nil {
				return err
			}
		}
	}
	for len(underWay) > 0 {
		if err := finishOldest(); err != nil {
			return err
		}
	}
	return nil
}
