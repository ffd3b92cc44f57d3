package sweep

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/longform-go/longform/internal/sweep/journal"
	"github.com/longform-go/longform/internal/sweep/search"
)

const (
	// lease is how long a worker on another machine may be silent until it is taken
	// for dead. Of one on this machine that is known at once.
	lease = 30 * time.Second
	// attempts is how often a trial whose run fails is tried.
	attempts = 2
)

// What the journal keeps of a trial beside what Optuna knows.
const (
	failuresAttr = "longform:failures" // runs of it that failed
	stoppedAttr  = "longform:stopped"  // the step at which it was decided to stop it early
	errorAttr    = "error"             // why it failed
	settingsAttr = "run"               // its run directory
)

// Work runs trials, one at a time, until there is none left to start. train is the
// program that runs one: it is called with "run -c FILE" and "resume DIR". When ctx
// is done the run is told to save and stop, and the trial is left for others. set is
// the number of the worker's set where it was submitted, 0 otherwise.
func (s *Study) Work(ctx context.Context, train []string, set int) error {
	// The system ends a run when the thread that started it ends, so that a run
	// never outlives its worker.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		if set > 0 {
			if dismissed, err := s.Dir.dismissed(set); err != nil || dismissed {
				return err
			}
		}
		t, found, err := s.next()
		if err == nil && !found {
			found, err = s.doubt(ctx)
			if err == nil && found {
				continue
			}
		}
		if err != nil || !found {
			return err
		}
		if err := s.try(ctx, train, t); err != nil && !errors.Is(err, journal.ErrLost) {
			return fmt.Errorf("trial %d: %w", t.Number, err)
		}
	}
	return nil
}

// doubt waits until all who work on other machines have said that they live, and says
// whether there may be a trial to go on with: one didn't, or left it.
func (s *Study) doubt(ctx context.Context) (found bool, err error) {
	first := map[int]journal.Lease{}
	for looks := 0; ctx.Err() == nil; looks++ {
		trials, err := s.journal.Trials()
		if err != nil || failed(trials) >= s.Config.MaxFailures {
			return false, err
		}
		waiting := false
		for _, t := range trials {
			if t.State != journal.Running || here(t.Lease.Worker) {
				continue
			}
			if t.Abandoned(time.Now()) {
				return true, nil
			}
			if looks == 0 {
				first[t.Number] = t.Lease
			}
			waiting = waiting || t.Lease == first[t.Number]
		}
		if !waiting {
			return false, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(lease / 30):
		}
	}
	return false, nil
}

// next claims a trial that was left, or draws one.
func (s *Study) next() (t journal.Trial, found bool, err error) {
	if err := s.expire(); err != nil {
		return t, false, err
	}
	err = s.journal.Locked(func(tx *journal.Tx) error {
		trials := tx.Trials()
		if failed(trials) >= s.Config.MaxFailures {
			return nil
		}
		number := -1
		for _, old := range trials {
			if old.Abandoned(time.Now()) {
				number = old.Number
				if err := tx.Claim(number, lease); err != nil {
					return err
				}
				break
			}
		}
		if number < 0 {
			if len(trials) >= s.Trials {
				return nil
			}
			point, err := s.sampler.Sample(len(trials), s.history(trials))
			if errors.Is(err, search.ErrExhausted) {
				return nil
			} else if err != nil {
				return err
			}
			if number, err = tx.Create(params(s.Space, point), nil, lease); err != nil {
				return err
			}
			if err := tx.SetUser(number, settingsAttr, s.Dir.Run(number)); err != nil {
				return err
			}
		}
		t, found = tx.Trials()[number], true
		return nil
	})
	return t, found, err
}

// expire ends the leases of processes of this machine that have ended.
func (s *Study) expire() error {
	trials, err := s.journal.Trials()
	if err != nil {
		return err
	}
	for _, t := range trials {
		if t.State != journal.Running || t.Abandoned(time.Now()) || !gone(t.Lease.Worker) {
			continue
		}
		// Only a lease's own worker can give it back, so this speaks for the dead.
		dead, err := journal.Open(s.Dir.journal(), s.Config.Name, s.sign > 0, t.Lease.Worker)
		if err != nil {
			return err
		}
		err = dead.Locked(func(tx *journal.Tx) error { return tx.Renew(t.Number, 0) })
		if e := dead.Close(); err == nil {
			err = e
		}
		if err != nil && !errors.Is(err, journal.ErrLost) {
			return err
		}
	}
	return nil
}

func failed(trials []journal.Trial) int {
	n := 0
	for _, t := range trials {
		if t.State == journal.Fail {
			n++
		}
	}
	return n
}

// renew keeps the trial, adds what was read of its metric, and says whether to stop it
// early. That decision is kept, should this worker die before the run has stopped.
func (s *Study) renew(number int, readings []reading) (stop bool, err error) {
	err = s.journal.Locked(func(tx *journal.Tx) error {
		if err := tx.Renew(number, lease); err != nil {
			return err
		}
		before := tx.Trials()[number].Intermediate // once: it copies all trials
		for _, r := range readings {
			if _, known := before[r.step]; known {
				continue // of a run that was resumed
			}
			if err := tx.Report(number, r.step, r.value); err != nil {
				return err
			}
			if s.pruner == nil || stop {
				continue
			}
			trials := tx.Trials()
			if stop = s.pruner.Prune(r.step, s.known(trials[number]), s.history(trials)); stop {
				if err := tx.SetSystem(number, stoppedAttr, r.step); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return stop, err
}

// release leaves the trial to whoever comes next.
func (s *Study) release(number int) error {
	return s.journal.Locked(func(tx *journal.Tx) error { return tx.Renew(number, 0) })
}

func (s *Study) finish(number int, state journal.State, value *float64, problem string) error {
	return s.journal.Locked(func(tx *journal.Tx) error {
		if problem != "" {
			if err := tx.SetUser(number, errorAttr, problem); err != nil {
				return err
			}
		}
		return tx.Finish(number, state, value)
	})
}

// fail counts a run that failed. The trial is tried again until it has failed as
// often as it may.
func (s *Study) fail(number int, problem string) error {
	return s.journal.Locked(func(tx *journal.Tx) error {
		t := tx.Trials()[number]
		n := attribute[int](t.System, failuresAttr) + 1
		if err := tx.SetSystem(number, failuresAttr, n); err != nil {
			return err
		}
		if n < attempts {
			return tx.Renew(number, 0)
		}
		if err := tx.SetUser(number, errorAttr, problem); err != nil {
			return err
		}
		return tx.Finish(number, journal.Fail, nil)
	})
}
