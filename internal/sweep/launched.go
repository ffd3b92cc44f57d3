package sweep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/sweep/journal"
)

const (
	linger     = 10 * time.Second // for workers to end by themselves when nothing is left to start
	outage     = 5 * time.Minute  // that a launcher may not answer
	firstRetry = time.Second      // before workers that ended early are replaced; doubles
	lastRetry  = 5 * time.Minute  // that it grows to
	calm       = 10 * time.Minute // after which it starts anew
	fruitless  = 3                // submissions in a row during which no trial came any farther
)

// launched are workers that a launcher runs, arrays of them.
type launched struct {
	launchers Launchers
	job       launch.Job // of one worker

	study    *Study
	sets     []*set
	statuses map[int]launch.Status // by number of a set; missing: not asked yet
	asked    time.Time             // when the launchers were
	silent   time.Time             // since when they don't answer; zero: they do
	answered bool                  // ever
	trouble  string                // why workers ended early, the last time

	idle      time.Time // since when no workers are wanted
	cancelled bool      // by somebody else

	submitted time.Time // the last time
	retry     time.Duration
	progress  int // when workers were submitted the last time
	fruitless int
}

// Launched has workers run as arrays of the job, which runs one, to be told its set by
// "--set N". They outlive the driver: the next one finds them.
func Launched(launchers Launchers, job launch.Job) Crew {
	return &launched{launchers: launchers, job: job, statuses: map[int]launch.Status{}, retry: firstRetry, progress: -1}
}

func (l *launched) begin(s *Study) (err error) {
	l.study = s
	if l.sets, err = s.Dir.readRoster(); err != nil {
		return err
	}
	cancelled := exists(s.Dir.cancelled())
	for _, set := range l.sets {
		set.Stopping = set.Stopping || cancelled
		// The driver died while it submitted them. Should they exist, they dismiss themselves.
		set.Ended = set.Ended || set.ID == ""
	}
	if err := s.Dir.writeRoster(l.sets); err != nil {
		return err
	}
	if cancelled {
		err = os.Remove(s.Dir.cancelled())
	}
	return err
}

func (l *launched) tend(ctx context.Context, trials []journal.Trial, want int) (alive int, err error) {
	if time.Since(l.asked) >= l.interval(want) {
		if err := l.ask(ctx); err != nil {
			return 0, err
		}
	}
	alive = l.alive()
	if want <= 0 {
		if l.idle.IsZero() {
			l.idle = time.Now()
		}
		if alive > 0 && time.Since(l.idle) > linger {
			return 0, l.stop() // those that wait for their turn would find nothing to do
		}
		return alive, nil
	}
	l.idle = time.Time{}
	if l.cancelled || exists(l.study.Dir.cancelled()) {
		if alive > 0 {
			return alive, nil // they save
		}
		return 0, fmt.Errorf("the workers were cancelled; go on with: train sweep resume %s", l.study.Dir)
	}
	if alive >= want || time.Since(l.submitted) < l.retry || !l.silent.IsZero() {
		return alive, nil
	}
	return want, l.submit(ctx, trials, want-alive)
}

// interval is how often launchers are asked: of workers that were submitted just now, or
// are to end, more often than of those that have been there for long.
func (l *launched) interval(want int) time.Duration {
	stopping := slices.ContainsFunc(l.sets, func(set *set) bool { return set.Stopping && !set.Ended })
	if want <= 0 || stopping {
		return time.Second
	}
	return min(max(time.Since(l.submitted)/10, time.Second), 15*time.Second)
}

// alive counts the workers that run or will.
func (l *launched) alive() int {
	n := 0
	for _, set := range l.sets {
		if set.Ended {
			continue
		}
		if c := l.statuses[set.Number].Copies; c != (launch.Copies{}) {
			n += c.Going + c.Cancelled // who cancels one doesn't want another in its place
			continue
		}
		n += set.Workers
	}
	return n
}

// ask asks how the workers are doing. Answers may fail to come for a while.
func (l *launched) ask(ctx context.Context) error {
	var problem error
	for _, set := range l.sets {
		if set.Ended {
			continue
		}
		one, cancel := context.WithTimeout(ctx, answer)
		status, err := l.launchers(set.Launch).Status(one, set.ID)
		cancel()
		if err != nil && !set.Stopping && !errors.Is(err, launch.ErrUnknown) {
			problem = errors.Join(problem, err)
			continue
		}
		l.answered = true
		l.statuses[set.Number] = status
		if err == nil && !status.State.Ended() {
			continue
		}
		set.Ended = true
		if err := l.study.Dir.writeRoster(l.sets); err != nil {
			return err
		}
		switch {
		case set.Stopping:
		case err != nil:
			l.trouble = err.Error()
		case status.State == launch.Cancelled || status.Copies.Cancelled > 0:
			l.cancelled = true
		case status.State == launch.Failed:
			l.trouble = describe(status) + l.said(ctx, set)
		}
	}
	l.asked = time.Now()
	if problem == nil {
		l.silent = time.Time{}
		return nil
	}
	if l.silent.IsZero() {
		l.silent = time.Now()
	}
	if !l.answered || time.Since(l.silent) > outage {
		return fmt.Errorf("%s; the workers may go on without a driver, until: train sweep cancel %s", oneLine(problem.Error()), l.study.Dir)
	}
	l.trouble = oneLine(problem.Error())
	return nil
}

// said is the last line that the workers of a set printed.
func (l *launched) said(ctx context.Context, set *set) string {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	var out bytes.Buffer
	if err := l.launchers(set.Launch).Logs(ctx, set.ID, &out, false); err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return ": " + last
	}
	return ""
}

// submit has n more workers started. It isn't interrupted by the end of ctx: whether
// there are workers would be in doubt.
func (l *launched) submit(ctx context.Context, trials []journal.Trial, n int) error {
	first := l.submitted.IsZero()
	if progress := progress(trials); progress > l.progress {
		l.progress, l.fruitless = progress, 0
	} else if l.fruitless++; l.fruitless >= fruitless {
		return fmt.Errorf("workers fail one after the other (%s); see %s", l.trouble, l.study.Dir.join("launch"))
	}
	if time.Since(l.submitted) > calm {
		l.retry = firstRetry
	} else {
		l.retry = min(2*l.retry, lastRetry)
	}
	set := &set{Number: len(l.sets) + 1, Workers: n, Launch: l.study.Config.Launch}
	l.sets = append(l.sets, set)
	if err := l.study.Dir.writeRoster(l.sets); err != nil { // they may start before there is an id
		return err
	}
	job := l.job
	job.Array = n
	job.Command = append(job.Command[:len(job.Command):len(job.Command)], "--set", strconv.Itoa(set.Number))
	launcher := l.launchers(set.Launch)
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*answer)
	defer cancel()
	id, err := launcher.Submit(whole, job)
	l.submitted, l.asked = time.Now(), time.Now()
	set.ID, set.Ended = id, err != nil
	if e := l.study.Dir.writeRoster(l.sets); e != nil {
		return errors.Join(err, e)
	}
	if err != nil {
		if l.trouble = oneLine(err.Error()); first {
			return errors.New(l.trouble)
		}
		return nil // it is tried again
	}
	if exists(l.study.Dir.cancelled()) { // by one who didn't see the new id
		return launcher.Cancel(whole, id)
	}
	return nil
}

// progress is a number that rises as trials come farther.
func progress(trials []journal.Trial) int {
	n := 0
	for _, t := range trials {
		if n += len(t.Intermediate); t.State.Finished() {
			n++
		}
	}
	return n
}

func (l *launched) stop() error {
	var problem error
	for _, set := range l.sets {
		if set.Ended {
			continue
		}
		set.Stopping = true
		ctx, cancel := context.WithTimeout(context.Background(), answer)
		if err := l.launchers(set.Launch).Cancel(ctx, set.ID); err != nil && !errors.Is(err, launch.ErrUnknown) {
			problem = errors.Join(problem, err)
		}
		cancel()
	}
	return errors.Join(problem, l.study.Dir.writeRoster(l.sets))
}

func (l *launched) leave() bool { return true }

func (l *launched) state() string {
	var texts []string
	for _, set := range l.sets {
		if set.Ended {
			continue
		}
		text := fmt.Sprintf("%d submitted", set.Workers)
		if status, known := l.statuses[set.Number]; known {
			text = describe(status)
		}
		if set.Stopping {
			text = "ending"
		}
		texts = append(texts, set.Launch.On+": "+text)
	}
	if !l.silent.IsZero() {
		texts = append(texts, l.trouble)
	}
	return strings.Join(texts, "; ")
}

func (l *launched) end() {}
