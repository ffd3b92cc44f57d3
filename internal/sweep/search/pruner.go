package search

import (
	"math"
	"slices"
)

// A Pruner stops trials that won't be among the best.
type Pruner interface {
	// Prune says whether a trial stops after its report at step. It is to be asked once
	// for each report, in their order, with Intermediate holding the report. The history
	// may hold the trial itself.
	Prune(step int, of Trial, history []Trial) bool
}

type asha struct{ minStep, factor int }

// NewASHA stops by asynchronous successive halving (Li et al., "A System for Massively
// Parallel Hyperparameter Tuning", 2020) as Optuna's SuccessiveHalvingPruner does: at
// its first report from step minStep*factor^k on, for k = 0, 1, ..., a trial goes on if
// it is in the best 1/factor of those that have come so far. minStep is at least 1,
// factor at least 2.
//
// Where one report passes several of these steps, Optuna leaves a trial that it stopped
// at the first of them out of the later ones; here it counts in all.
func NewASHA(minStep, factor int) Pruner { return asha{minStep, factor} }

func (a asha) Prune(step int, of Trial, history []Trial) bool {
	value, ok := of.Intermediate[step]
	if !ok {
		return false
	}
	for rung := a.minStep; rung <= step; rung *= a.factor {
		first, reached := of.first(rung)
		if reached && first < step {
			continue // it has been decided
		}
		if math.IsNaN(value) {
			return true
		}
		competing := []float64{value}
		for _, t := range history {
			if at, reached := t.first(rung); reached && t.Number != of.Number {
				competing = append(competing, t.Intermediate[at])
			}
		}
		slices.Sort(competing)
		if value > competing[max(len(competing)/a.factor, 1)-1] {
			return true
		}
		if rung > math.MaxInt/a.factor {
			break
		}
	}
	return false
}

// first is the step of the first report from rung on that is a number.
func (t Trial) first(rung int) (step int, reached bool) {
	step = math.MaxInt
	for s, value := range t.Intermediate {
		if s >= rung && s <= step && !math.IsNaN(value) {
			step, reached = s, true
		}
	}
	return step, reached
}

type median struct{ startup, warmup int }

// NewMedian stops a trial whose best report so far is worse than the median of what the
// trials that are done reported at the same step, or whose reports are all NaN, as
// Optuna's MedianPruner does: not before startup trials are done, nor before step warmup.
func NewMedian(startup, warmup int) Pruner { return median{startup, warmup} }

func (m median) Prune(step int, of Trial, history []Trial) bool {
	if _, ok := of.Intermediate[step]; !ok || step < m.warmup {
		return false
	}
	var reports []float64
	done := 0
	for _, t := range history {
		if !t.Done || t.Pruned || t.Failed {
			continue
		}
		done++
		if value, ok := t.Intermediate[step]; ok && !math.IsNaN(value) {
			reports = append(reports, value)
		}
	}
	if done == 0 || done < m.startup {
		return false
	}
	best := math.NaN()
	for s, value := range of.Intermediate {
		if s <= step && !(best <= value) && !math.IsNaN(value) {
			best = value
		}
	}
	if n := len(reports); n > 0 && !math.IsNaN(best) {
		slices.Sort(reports)
		return best > (reports[(n-1)/2]+reports[n/2])/2
	}
	return math.IsNaN(best)
}
