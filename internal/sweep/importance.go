package sweep

import (
	"cmp"
	"math"
	"slices"

	"github.com/longform-go/longform/internal/sweep/journal"
	"github.com/longform-go/longform/internal/sweep/search"
)

// Importance is how much of the order of trials a parameter explains by itself, from 0
// to 1.
type Importance struct {
	Name  string
	Share float64
	Known bool // there are enough trials to tell
}

// importances are, the largest first, correlation ratios corrected for chance (epsilon squared; Kelley, "An
// unbiased correlation ratio measure", 1935) of the ranks that trials have by their
// value, grouped by the parameter: a choice by its values, a number by its quarters.
// Trials in which it takes no part aren't counted.
func (s *Study) importances(trials []journal.Trial) []Importance {
	var all []Importance
	for _, p := range s.Space {
		var values, metric []float64
		for _, t := range trials {
			param, active := t.Params[p.Name]
			if !active || t.Value == nil || math.IsInf(*t.Value, 0) || t.State != journal.Complete && t.State != journal.Pruned {
				continue
			}
			values, metric = append(values, coordinate(p, param.Value)), append(metric, *t.Value)
		}
		groups := values
		if p.Kind != "choice" {
			groups = quarters(values)
		}
		share, known := epsilonSquared(groups, metric)
		all = append(all, Importance{p.Name, share, known})
	}
	slices.SortStableFunc(all, func(a, b Importance) int { return cmp.Compare(b.Share, a.Share) })
	return all
}

// coordinate is a parameter's value as a number: a choice is its index.
func coordinate(p search.Parameter, value any) float64 {
	if p.Kind == "choice" {
		return float64(slices.Index(p.Values, value))
	}
	switch v := value.(type) {
	case int64:
		return float64(v)
	case float64:
		return v
	}
	return math.NaN()
}

// quarters gives each value the number of its quarter, by ranks.
func quarters(values []float64) []float64 {
	groups := make([]float64, len(values))
	for i, r := range ranks(values) {
		groups[i] = math.Min(3, math.Floor(4*(r-0.5)/float64(len(values))))
	}
	return groups
}

// ranks count from 1; equal values share the mean of theirs.
func ranks(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(values[a], values[b]) })
	ranks := make([]float64, len(values))
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && values[order[to]] == values[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			ranks[i] = float64(from+to+1) / 2
		}
		from = to
	}
	return ranks
}

// epsilonSquared is 1 - (n-1)/(n-k) · (sum of squares of ranks within the k groups) / (sum
// of squares of all n), at least 0.
func epsilonSquared(groups, values []float64) (share float64, known bool) {
	n := float64(len(values))
	mean := (n + 1) / 2
	sums, counts := map[float64]float64{}, map[float64]float64{}
	all, between := 0.0, 0.0
	for i, r := range ranks(values) {
		sums[groups[i]] += r
		counts[groups[i]]++
		all += (r - mean) * (r - mean)
	}
	k := float64(len(sums))
	if n < 5 || k < 2 || n <= k || all == 0 {
		return 0, false
	}
	for g, sum := range sums {
		d := sum/counts[g] - mean
		between += counts[g] * d * d
	}
	return max(0, 1-(n-1)/(n-k)*(all-between)/all), true
}
