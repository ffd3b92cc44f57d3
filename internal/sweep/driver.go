package sweep

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/sweep/journal"
)

const (
	look      = 500 * time.Millisecond // between two looks at the journal
	firstWait = 250 * time.Millisecond // before a worker that ended is started again; doubles
	longest   = 15 * time.Second       // that it grows to
	settled   = 10 * time.Second       // a worker that lived so long starts the waits anew
	hopeless  = 5                      // workers that failed at once, one after the other
)

// A Viewer is shown the trials whenever they may have changed, and how the workers are
// doing where there is something to say.
type Viewer interface {
	Update(s *Study, trials []journal.Trial, workers string)
}

// A Crew is a sweep's workers, as its driver sees them.
type Crew interface {
	// begin is called first, by the one driver of the sweep.
	begin(s *Study) error
	// tend counts the workers, those included that are yet to start, and has those started
	// that are missing to the number wanted. An error is that it is no use to go on.
	tend(ctx context.Context, trials []journal.Trial, want int) (alive int, err error)
	// stop has the workers save and end.
	stop() error
	// leave is called when the driver is told to stop, and says whether the workers go on
	// without it.
	leave() bool
	// state says how the workers are doing where that isn't to be seen from the trials.
	state() string
	// end is called last.
	end()
}

// Drive has a crew run the sweep until all trials are finished or too many have failed.
// When ctx is done, trials under way are saved and left for the next driver, or the crew
// goes on with them. One driver at a time has the directory.
func (s *Study) Drive(ctx context.Context, crew Crew, view Viewer) error {
	unlock, err := checkpoint.Lock(string(s.Dir))
	if err != nil {
		return err
	}
	defer unlock()
	if err := crew.begin(s); err != nil {
		return err
	}
	defer crew.end()
	var best *int
	tick := time.NewTicker(look)
	defer tick.Stop()
	for draining := false; ; {
		trials, err := s.journal.Trials()
		if err != nil {
			return err
		}
		view.Update(s, trials, crew.state())
		if t, found := s.Best(trials); found && (best == nil || *best != t.Number) {
			best = &t.Number
			if err := s.WriteBest(trials); err != nil {
				return err
			}
		}
		if ctx.Err() != nil && crew.leave() {
			return nil
		}
		over := failed(trials) >= s.Config.MaxFailures || ctx.Err() != nil
		if over && !draining {
			draining = true
			if err := crew.stop(); err != nil {
				return err
			}
		}
		left := s.Trials - len(trials) // to start or to go on with
		for _, t := range trials {
			if t.State == journal.Running {
				left++
			}
		}
		want := min(left, s.Config.Parallel)
		if over {
			want = 0
		}
		alive, err := crew.tend(ctx, trials, want)
		if err != nil && (ctx.Err() == nil || !crew.leave()) {
			return err
		}
		if alive == 0 && want <= 0 {
			return s.verdict(trials)
		}
		select {
		case <-ctx.Done():
			time.Sleep(look / 10) // it stays done
		case <-tick.C:
		}
	}
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
