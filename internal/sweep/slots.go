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

	"github.com/longform-go/longform/internal/sweep/journal"
)

// children are workers that are the driver's own processes.
type children struct {
	program     []string
	environment []string
	slots       []*slot
	log         *os.File
}

// Children has workers run on this machine, as processes of the program, which end when
// the driver does. environment is what they have besides this process's.
func Children(program, environment []string) Crew {
	return &children{program: program, environment: environment}
}

// slot is where one worker at a time runs.
type slot struct {
	environment []string
	worker      *exec.Cmd
	ended       chan error
	begun       time.Time
	wait        time.Duration
	notBefore   time.Time
	failures    int // of workers in a row that said themselves that they failed
}

func (c *children) begin(s *Study) (err error) {
	if c.log, err = os.OpenFile(s.Dir.join("workers.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
		return err
	}
	runtime.LockOSThread() // as in Work: workers end when this process does
	for i := range s.Config.Parallel {
		c.slots = append(c.slots, &slot{environment: append(gpu(i), c.environment...), wait: firstWait})
	}
	return nil
}

func (c *children) tend(_ context.Context, trials []journal.Trial, want int) (alive int, err error) {
	if alive, err = c.reap(); err != nil {
		return alive, fmt.Errorf("workers fail one after the other (%w); see %s", err, c.log.Name())
	}
	// Workers of a driver that was killed may still be saving.
	others := c.others(trials)
	for _, at := range c.slots {
		if alive+others >= want || at.worker != nil || time.Now().Before(at.notBefore) {
			continue
		}
		if err := at.start(c.program, c.log); err != nil {
			return alive, fmt.Errorf("start a worker: %w", err)
		}
		alive++
	}
	return alive, nil
}

// others counts the living workers with a trial that aren't in a slot.
func (c *children) others(trials []journal.Trial) int {
	n := 0
	for _, t := range trials {
		if t.State != journal.Running || t.Abandoned(time.Now()) || gone(t.Lease.Worker) {
			continue
		}
		own := slices.ContainsFunc(c.slots, func(at *slot) bool {
			return at.worker != nil && here(t.Lease.Worker) && number(t.Lease.Worker) == at.worker.Process.Pid
		})
		if !own {
			n++
		}
	}
	return n
}

func (c *children) stop() error {
	for _, at := range c.slots {
		if at.worker != nil {
			_ = at.worker.Process.Signal(syscall.SIGTERM)
		}
	}
	return nil
}

func (c *children) leave() bool   { return false }
func (c *children) state() string { return "" }

func (c *children) end() {
	_ = c.stop()
	for _, at := range c.slots {
		if at.worker != nil {
			<-at.ended
		}
	}
	c.log.Close()
	runtime.UnlockOSThread()
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

// reap counts living workers, and sets the time at which those that ended may be
// started again. It fails where that has no prospect.
func (c *children) reap() (alive int, err error) {
	for _, at := range c.slots {
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
