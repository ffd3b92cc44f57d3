package sweep

import (
	"errors"
	"io/fs"
	"math"
	"os"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/rundir"
)

// A reading is the metric after a step of training.
type reading struct {
	step  int
	value float64
}

// A follower reads what a run adds to its metrics log.
type follower struct {
	path   string
	metric string
	size   int64
	mod    int64
	seen   int // readings
}

// read gives the readings since the last time. A log that became shorter, as that of
// a resumed run does, is read anew: what was reported of a step is the same again.
func (f *follower) read() ([]reading, error) {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() == f.size && info.ModTime().UnixNano() == f.mod {
		return nil, nil
	}
	steps, evals, err := rundir.ReadMetrics(f.path)
	if err != nil {
		return nil, err
	}
	f.size, f.mod = info.Size(), info.ModTime().UnixNano()
	all := readings(f.metric, steps, evals)
	from := f.seen
	if len(all) < from {
		from = 0
	}
	f.seen = len(all)
	return all[from:], nil
}

func readings(metric string, steps []rundir.Step, evals []rundir.Eval) []reading {
	var all []reading
	if metric == "eval.loss" {
		for _, e := range evals {
			all = append(all, reading{e.Step, e.Loss})
		}
		return all
	}
	for _, s := range steps {
		all = append(all, reading{s.Step, float64(s.Loss)})
	}
	return all
}

// final is the metric of a whole run: the best validation loss (the least; with sign -1
// the largest), or the mean of the last tenth of the training losses, of which a single
// one depends on its batch. It is NaN where there is none.
func final(metric string, sign float64, all []reading) float64 {
	if metric == "eval.loss" {
		best := math.NaN()
		for _, r := range all {
			if !(sign*r.value >= sign*best) && !math.IsNaN(r.value) && !math.IsInf(r.value, 0) {
				best = r.value
			}
		}
		return best
	}
	tail := all[len(all)-(len(all)+9)/10:]
	sum := 0.0
	for _, r := range tail {
		sum += r.value
	}
	return sum / float64(len(tail))
}

// whole says whether a run has come to its last step, which it always logs.
func whole(c configs.Config, steps []rundir.Step) bool {
	if len(steps) == 0 {
		return false
	}
	last := steps[len(steps)-1]
	if c.Run.Steps > 0 {
		return last.Step >= c.Run.Steps
	}
	return last.Epoch > float64(c.Run.Epochs)-1e-9
}
