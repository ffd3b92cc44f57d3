package sweep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/sweep/journal"
)

const (
	look      = 500 * time.Millisecond // between two looks at the journal
	firstWait = 250 * time.Millisecond // before a worker that ended is started again; doubles
	longest   = 15 * time.Second       // that it grows to
	settled   = 10 * time.Second       // a worker that lived so long starts the waits anew
	hopeless  = 5                      // workers of a slot that failed at once, one after the other
)

// A Viewer is shown the trials whenever they may have changed.
type Viewer interface {
	Update(s *Study, trials []journal.Trial)
}

// slot is where one worker at a time runs.
type slot struct {
	environment []string // what its workers have besides this process's
	worker      *exec.Cmd
	ended       chan error
	begun       time.Time
	wait        time.Duration
	notBefore   time.Time
	failures    int // of workers in a row that said themselves that they failed
}

// Drive runs the sweep with local workers, processes of the program worker, until all
// trials are finished or too many have failed, and starts workers that die again. Where
// they run elsewhere it only shows what they do. When
// ctx is done, trials under way are saved and left for the next driver. One driver at a
// time has the directory.
func (s *Study) Drive(ctx context.Context, worker []string, view Viewer) error {
	runtime.LockOSThread() // as in Work: workers end when this process does
	defer runtime.UnlockOSThread()
	unlock, err := checkpoint.Lock(string(s.Dir))
	if err != nil {
		return err
	}
	defer unlock()
	log, err := os.OpenFile(s.Dir.join("workers.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	slots := make([]*slot, s.Config.Parallel)
	if s.Config.Launch.On != "local" {
		slots = nil // workers are started elsewhere
	}
	for i := range slots {
		slots[i] = &slot{environment: gpu(i), wait: firstWait}
	}
	defer func() {
		for _, at := range slots {
			at.stop()
		}
		for _, at := range slots {
			if at.worker != nil {
				<-at.ended
			}
		}
	}()
	var best *int
	tick := time.NewTicker(look)
	defer tick.Stop()
	for draining := false; ; {
		trials, err := s.journal.Trials()
		if err != nil {
			return err
		}
		view.Update(s, trials)
		if t, found := s.Best(trials); found && (best == nil || *best != t.Number) {
			best = &t.Number
			if err := s.WriteBest(trials); err != nil {
				return err
			}
		}
		alive, err := reap(slots)
		if err != nil {
			return fmt.Errorf("workers fail one after the other (%w); see %s", err, log.Name())
		}
		over := failed(trials) >= s.Config.MaxFailures || ctx.Err() != nil
		if over && !draining {
			draining = true
			for _, at := range slots {
				at.stop()
			}
		}
		left := s.Trials - len(trials) // to start or to go on with
		for _, t := range trials {
			if t.State == journal.Running {
				left++
			}
		}
		if alive == 0 && (over || left <= 0) {
			return s.verdict(trials)
		}
		// Workers of a driver that was killed may still be saving.
		busy := alive + others(trials, slots)
		for _, at := range slots {
			if over || busy >= min(left, s.Config.Parallel) || at.worker != nil || time.Now().Before(at.notBefore) {
				continue
			}
			if err := at.start(worker, log); err != nil {
				return fmt.Errorf("start a worker: %w", err)
			}
			busy++
		}
		select {
		case <-ctx.Done():
			time.Sleep(look / 10) // it stays done
		case <-tick.C:
		}
	}
}

// others counts the living workers with a trial that aren't in a slot.
func others(trials []journal.Trial, slots []*slot) int {
	n := 0
	for _, t := range trials {
		own := slices.ContainsFunc(slots, func(at *slot) bool {
			return at.worker != nil && here(t.Lease.Worker) && number(t.Lease.Worker) == at.worker.Process.Pid
		})
		if t.State == journal.Running && !own && !t.Abandoned(time.Now()) && !gone(t.Lease.Worker) {
			n++
		}
	}
	return n
}

// verdict is an error where the sweep ended before its end.
func (s *Study) verdict(trials []journal.Trial) error {
	n := failed(trials)
	if n < s.Config.MaxFailures {
		return nil
	}
	first := trials[slices.IndexFunc(trials, func(t journal.Trial) bool { return t.State == journal.Fail })]
	see := ""
	if log := s.Dir.Log(first.Number); exists(log) {
		see = "see " + log + ", and "
	}
	return fmt.Errorf("%d trials failed, the first of them trial %d: %s; %sgo on with: train sweep resume %s max_failures=N",
		n, first.Number, attribute[string](first.User, errorAttr), see, s.Dir)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (a *slot) start(program []string, log *os.File) error {
	c := exec.Command(program[0], program[1:]...)
	c.Env = append(os.Environ(), a.environment...)
	c.Stdout, c.Stderr = log, log
	// Ctrl-C is the driver's to deal with: it reaches processes of its own group alone.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := c.Start(); err != nil {
		return err
	}
	a.worker, a.begun, a.ended = c, time.Now(), make(chan error, 1)
	go func(ended chan<- error) { ended <- c.Wait() }(a.ended)
	return nil
}

func (a *slot) stop() {
	if a.worker != nil {
		_ = a.worker.Process.Signal(syscall.SIGTERM)
	}
}

// reap counts living workers, and sets the time at which those that ended may be
// started again. It fails where that has no prospect.
func reap(slots []*slot) (alive int, err error) {
	for _, at := range slots {
		if at.worker == nil {
			continue
		}
		select {
		case end := <-at.ended:
			if time.Since(at.begun) >= settled {
				at.wait, at.failures = firstWait, 0
			}
			var exit *exec.ExitError
			if errors.As(end, &exit) && exit.Exited() { // and wasn't killed
				if at.failures++; at.failures >= hopeless {
					err = end
				}
			}
			at.worker, at.notBefore = nil, time.Now().Add(at.wait)
			at.wait = min(2*at.wait, longest)
		default:
			alive++
		}
	}
	return alive, err
}
