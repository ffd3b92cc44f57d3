// Package sweep searches for the settings with which a run ends best: it draws
// trials, runs each as an ordinary run, and may be killed anywhere at any time.
//
// All that is known of a sweep is in its directory, and all that changes in its
// journal. Workers are alike, know only the directory, and each runs a trial at a
// time; the driver starts workers and shows what they do. Both are processes.
//
// A worker that has nothing to do locks the journal and takes a trial on: one that
// was left by a worker that is gone, or else a new one, whose values a sampler draws
// from what all trials so far have come to. It holds a lease on it, which it has to
// renew. Then it runs the trial's recipe in a process of its own, copies the metric from
// the run's log into the journal, asks the pruner whether to stop the run early, and
// at last writes down how it ended. Values are drawn by the sweep's seed and the trial's
// number alone, so a draw that was lost is the same when it is repeated.
package sweep

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/sweep/journal"
	"github.com/longform-go/longform/internal/sweep/search"
)

// Dir is the path of a sweep's directory, which holds:
//
//	sweep.yaml     the sweep, resolved
//	base.yaml      the recipe that its trials share, as it was
//	journal.log    the study
//	trials/        0000.yaml, 0000.log and the run directory 0000 for each trial
//	workers.log    what workers complained about
//	best.yaml      the best trial's recipe
//	report.html    and plots/
type Dir string

func (d Dir) join(name ...string) string {
	return filepath.Join(append([]string{string(d)}, name...)...)
}

// Config is the path of the sweep's own file.
func (d Dir) Config() string { return d.join("sweep.yaml") }

// Best is the path of the best trial's recipe.
func (d Dir) Best() string { return d.join("best.yaml") }

// Report is the path of the report.
func (d Dir) Report() string { return d.join("report.html") }

// Run is the path of a trial's run directory.
func (d Dir) Run(number int) string { return d.join("trials", fmt.Sprintf("%04d", number)) }

// Log is the path of what a trial's run printed.
func (d Dir) Log(number int) string { return d.Run(number) + ".log" }

func (d Dir) recipe(number int) string { return d.Run(number) + ".yaml" }
func (d Dir) base() string             { return d.join("base.yaml") }
func (d Dir) journal() string          { return d.join("journal.log") }

// Create makes the directory of a new sweep, with its base and without trials; nothing
// is started. It refuses a directory that holds a sweep, and values with which no trial
// could run.
func Create(s configs.Sweep) (Dir, error) {
	d := Dir(s.Dir)
	if _, err := os.Stat(d.Config()); err == nil {
		return "", fmt.Errorf("%s holds a sweep already; go on with it: train sweep resume %[1]s, or choose another dir", d)
	}
	if _, err := os.Stat(d.journal()); err == nil {
		return "", fmt.Errorf("%s is a journal without its sweep.yaml; move it away, or choose another dir", d.journal())
	}
	space, err := Space(s)
	if err != nil {
		return "", err
	}
	if _, err := Check(s, space); err != nil {
		return "", err
	}
	base, err := s.BaseSource()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(d.join("trials"), 0o755); err != nil {
		return "", fmt.Errorf("sweep directory: %w; choose another dir", err)
	}
	if err := write(d.base(), base); err != nil {
		return "", err
	}
	// It comes last: a directory with it has all the rest.
	return d, write(d.Config(), s.YAML(filepath.Base(d.base())))
}

// A Study is an open sweep.
type Study struct {
	Dir    Dir
	Config configs.Sweep
	Space  search.Space // of the parameters that can take part
	Trials int          // how many there will be: fewer than asked for where a grid has fewer points

	name    string // of this process
	journal *journal.Journal
	sampler search.Sampler
	pruner  search.Pruner // nil where nothing stops early
	sign    float64       // 1 where the metric is minimized, -1 where it is maximized
}

// Open opens the sweep in a directory, which others may have open and work on at the
// same time. Overrides, key=value, are written into its sweep.yaml; an error refuses
// those that would make it another search. The caller closes the study.
func Open(dir string, overrides []string) (*Study, error) {
	d := Dir(dir)
	if _, err := os.Stat(d.Config()); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no sweep in %s: it has no sweep.yaml; give a directory that train sweep has made", dir)
	}
	stored, err := configs.LoadSweep(d.Config(), nil)
	if err != nil {
		return nil, err
	}
	c, err := configs.LoadSweep(d.Config(), overrides)
	if err != nil {
		return nil, err
	}
	if err := sameSearch(stored, c); err != nil {
		return nil, err
	}
	if !slices.Equal(stored.YAML(""), c.YAML("")) {
		if err := write(d.Config(), c.YAML(filepath.Base(d.base()))); err != nil {
			return nil, err
		}
	}
	s := &Study{Dir: d, Config: c, sign: 1, name: self()}
	if c.Metric.Goal == "maximize" {
		s.sign = -1
	}
	if s.Space, err = Space(c); err != nil {
		return nil, err
	}
	s.Trials, s.sampler = sampler(c, s.Space)
	switch c.EarlyStop.Kind {
	case "asha":
		s.pruner = search.NewASHA(c.EarlyStop.MinStep, c.EarlyStop.Factor)
	case "median":
		s.pruner = search.NewMedian(c.EarlyStop.StartupTrials, c.EarlyStop.WarmupSteps)
	}
	s.journal, err = journal.Open(d.journal(), c.Name, s.sign > 0, s.name)
	return s, err
}

// sameSearch refuses to go on with another search than was begun.
func sameSearch(was, is configs.Sweep) error {
	was.Trials, was.Parallel, was.MaxFailures, was.Launch = is.Trials, is.Parallel, is.MaxFailures, is.Launch
	if slices.Equal(was.YAML(""), is.YAML("")) {
		return nil
	}
	return fmt.Errorf("a sweep that has begun can't change but for trials, parallel, max_failures and launch; start another one with train sweep -c")
}

// Close closes the journal.
func (s *Study) Close() error { return s.journal.Close() }

// Journal gives all trials so far, each at the index that is its number, with what others
// have written since the last call.
func (s *Study) Journal() ([]journal.Trial, error) { return s.journal.Trials() }

// Best is the best of the complete trials; those that were stopped early don't count.
func (s *Study) Best(trials []journal.Trial) (best journal.Trial, found bool) {
	for _, t := range trials {
		if t.State == journal.Complete && t.Value != nil && (!found || s.sign**t.Value < s.sign**best.Value) {
			best, found = t, true
		}
	}
	return best, found
}

// write replaces a file: a reader sees the old content or the new.
func write(path string, content []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
