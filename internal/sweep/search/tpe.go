package search

import (
	"cmp"
	"math"
	"slices"
)

// What Optuna 5 has for one objective.
const (
	startupTrials = 10 // finished trials before the estimators are used
	candidates    = 24
	maxGood       = 25
	evenWeights   = 25 // latest trials that weigh the same
)

type tpe struct {
	space  Space
	groups [][]Parameter
	random Sampler
	seed   uint64
}

// NewTPE samples a valid space with a tree-structured Parzen estimator (Bergstra et al.,
// "Algorithms for Hyper-Parameter Optimization", 2011; Watanabe, "Tree-Structured Parzen
// Estimator: Understanding Its Algorithm Components", 2023), set up as Optuna 5 does by
// default: the first ten trials are random; then the best tenth of the trials and the
// others are a density each, and of 24 points drawn from the first density the one with
// the highest ratio of both is taken. Kernels span the parameters that always take part; a
// conditional one, which fewer trials have, is sampled by itself. A pruned trial is worse
// than any that is done and better the later its last report; running trials count among
// the others, which keeps parallel workers apart; failed ones aren't counted.
func NewTPE(space Space, seed uint64) Sampler {
	return tpe{space, space.groups(), NewRandom(space, seed), seed}
}

func (t tpe) Sample(number int, history []Trial) (Point, error) {
	good, others, finished := split(number, history)
	if finished < startupTrials {
		return t.random.Sample(number, history)
	}
	rng := source(t.seed, number)
	point := Point{}
	for _, group := range t.groups {
		if !group[0].active(point) {
			continue
		}
		l, g := newParzen(group, good), newParzen(group, others)
		var best []float64
		highest := math.Inf(-1)
		for range candidates {
			x := l.draw(rng)
			if ratio := l.logDensity(x) - g.logDensity(x); ratio > highest || best == nil {
				best, highest = x, ratio
			}
		}
		for i, p := range group {
			point[p.Name] = p.value(best[i])
		}
	}
	return point, nil
}

// split returns the best trials and the others, each in the order of their numbers, and
// how many are finished, not counting failed ones.
func split(number int, history []Trial) (good, others []Trial, finished int) {
	var running []Trial
	for _, t := range history {
		switch {
		case t.Number == number || t.Failed:
		case t.Done || t.Pruned:
			others = append(others, t)
		default:
			running = append(running, t)
		}
	}
	slices.SortFunc(others, func(a, b Trial) int {
		ra, rb := a.rank(), b.rank()
		return cmp.Or(cmp.Compare(ra.class, rb.class), cmp.Compare(ra.step, rb.step),
			cmp.Compare(ra.value, rb.value), cmp.Compare(a.Number, b.Number))
	})
	finished = len(others)
	n := min((finished+9)/10, maxGood)
	good, others = others[:n:n], append(others[n:], running...)
	byNumber := func(a, b Trial) int { return cmp.Compare(a.Number, b.Number) }
	slices.SortFunc(good, byNumber)
	slices.SortFunc(others, byNumber)
	return good, others, finished
}

type rank struct {
	class int // done, pruned after a report, pruned before
	step  int // negative: the later, the better
	value float64
}

func (t Trial) rank() rank {
	if !t.Pruned {
		return rank{value: orWorst(t.Value)}
	}
	if len(t.Intermediate) == 0 {
		return rank{class: 2}
	}
	last := math.MinInt
	for step := range t.Intermediate {
		last = max(last, step)
	}
	return rank{class: 1, step: -last, value: orWorst(t.Intermediate[last])}
}

func orWorst(value float64) float64 {
	if math.IsNaN(value) {
		return math.Inf(1)
	}
	return value
}
