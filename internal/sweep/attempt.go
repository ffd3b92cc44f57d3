package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/sweep/journal"
)

const (
	poll  = 200 * time.Millisecond // between two looks at a run's metrics
	letGo = 10 * time.Minute       // for the run of a dead worker to save and let go of its directory
)

// try runs or goes on with a trial that this process has claimed, to its end or as far
// as it comes. An error is about the sweep, not about the trial.
func (s *Study) try(ctx context.Context, train []string, t journal.Trial) error {
	if _, stopped := t.System[stoppedAttr]; stopped {
		return s.finish(t.Number, journal.Pruned, last(t), "")
	}
	config, err := s.recipe(t)
	if err != nil {
		return s.finish(t.Number, journal.Fail, nil, oneLine(err.Error()))
	}
	text, err := config.YAML()
	if err != nil {
		return err
	}
	if err := write(s.Dir.recipe(t.Number), text); err != nil {
		return err
	}
	arguments, err := s.start(ctx, t.Number)
	if err != nil || arguments == nil {
		return errors.Join(err, s.release(t.Number))
	}
	log, err := os.OpenFile(s.Dir.Log(t.Number), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return errors.Join(err, s.release(t.Number))
	}
	defer log.Close()
	run := exec.Command(train[0], append(train[1:], arguments...)...)
	run.Stdout, run.Stderr = log, log
	run.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := run.Start(); err != nil {
		return errors.Join(err, s.release(t.Number))
	}
	stopped, exit, err := s.follow(ctx, t.Number, run)
	if err != nil {
		return err
	}
	return s.conclude(ctx, t.Number, config, stopped, exit)
}

// start waits until nobody uses the trial's run directory, such as the run of a worker
// that was killed, which saves; then it says how to begin or to go on. It is nil when
// ctx is done before.
func (s *Study) start(ctx context.Context, number int) (arguments []string, err error) {
	dir := s.Dir.Run(number)
	for began, looks := time.Now(), 1; ; looks++ {
		unlock, err := checkpoint.Lock(dir)
		if err == nil {
			defer unlock()
			break
		}
		if time.Since(began) > letGo {
			return nil, err
		}
		if looks%20 == 0 {
			if _, err := s.renew(number, nil); err != nil {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(poll):
		}
	}
	if _, _, _, err := checkpoint.Last(dir); err == nil {
		return []string{"resume", dir}, nil
	}
	// A run without a checkpoint begins anew.
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("what is left of trial %d: %w", number, err)
	}
	return []string{"run", "-c", s.Dir.recipe(number)}, nil
}

// follow reports the run's metric until it ends, and how it ended. stopped says that it
// was told to end early for its metric. An err is about the sweep; then the run is ended.
func (s *Study) follow(ctx context.Context, number int, run *exec.Cmd) (stopped bool, exit, err error) {
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	metrics := follower{path: rundir.Dir(s.Dir.Run(number)).Metrics(), metric: s.Config.Metric.Name}
	renewed := time.Now()
	// A scheduler may send SIGTERM to all processes of a job, and a second one would end the
	// run before it has saved. SIGUSR2 it heeds however often it comes.
	tell := sync.OnceFunc(func() { _ = run.Process.Signal(syscall.SIGUSR2) }) // it may have ended by itself
	look := func() error {
		readings, err := metrics.read()
		if err != nil || len(readings) == 0 && time.Since(renewed) < lease/3 {
			return err
		}
		renewed = time.Now()
		stop, err := s.renew(number, readings)
		stopped = stopped || stop
		if stop {
			tell()
		}
		return err
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	done := ctx.Done()
	for {
		select {
		case exit := <-ended:
			return stopped, exit, look()
		case <-done:
			done = nil
			tell()
		case <-tick.C:
			if err := look(); err != nil {
				_ = run.Process.Kill()
				return stopped, <-ended, err
			}
		}
	}
}

// conclude writes down what became of the run.
func (s *Study) conclude(ctx context.Context, number int, config configs.Config, stopped bool, exit error) error {
	if stopped {
		trials, err := s.journal.Trials()
		if err != nil {
			return err
		}
		return s.finish(number, journal.Pruned, last(trials[number]), "")
	}
	if exit != nil {
		if ctx.Err() != nil || interrupted(exit) {
			return s.release(number)
		}
		return s.fail(number, s.reason(number, exit))
	}
	steps, evals, err := rundir.ReadMetrics(rundir.Dir(s.Dir.Run(number)).Metrics())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !whole(config, steps) {
		return s.release(number) // it was told to stop
	}
	value := final(s.Config.Metric.Name, s.sign, readings(s.Config.Metric.Name, steps, evals))
	if math.IsNaN(value) {
		return s.finish(number, journal.Fail, nil, fmt.Sprintf("its %s isn't a number", s.Config.Metric.Name))
	}
	return s.finish(number, journal.Complete, &value, "")
}

// interrupted says that a run was told to stop: it has saved, or couldn't listen yet.
func interrupted(exit error) bool {
	var e *exec.ExitError
	if !errors.As(exit, &e) {
		return false
	}
	status, ok := e.Sys().(syscall.WaitStatus)
	signals := []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2}
	return e.ExitCode() == launch.Requeue || ok && status.Signaled() && slices.Contains(signals, status.Signal())
}

// reason is what a failed run said last, in one line.
func (s *Study) reason(number int, exit error) string {
	text, _ := os.ReadFile(s.Dir.Log(number))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if said, ok := strings.CutPrefix(lines[len(lines)-1], "train: "); ok {
		return said
	}
	return "its run ended with " + exit.Error()
}

func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }

// last is the last report of a trial.
func last(t journal.Trial) *float64 {
	step := math.MinInt
	for at := range t.Intermediate {
		step = max(step, at)
	}
	if value, ok := t.Intermediate[step]; ok && !math.IsNaN(value) {
		return &value
	}
	return nil
}

// attribute reads an attribute of a trial; a missing one is zero.
func attribute[T any](attributes map[string]json.RawMessage, name string) T {
	var value T
	_ = json.Unmarshal(attributes[name], &value)
	return value
}
