package search

import (
	"math"
	"testing"
)

func reports(values ...float64) map[int]float64 {
	m := map[int]float64{}
	for i, v := range values {
		if v != 0 {
			m[i+1] = v
		}
	}
	return m
}

func TestASHA(t *testing.T) {
	pruner := NewASHA(2, 2) // rungs 2, 4, 8, ...
	history := []Trial{
		{Number: 0, Intermediate: reports(9, 5, 4, 3)}, // 5 at rung 2, 3 at rung 4
		{Number: 1, Intermediate: reports(9, 6), Pruned: true},
		{Number: 2, Intermediate: reports(9, 7, 0, 1), Failed: true},
		{Number: 3, Intermediate: reports(1)}, // before the first rung
	}
	nan := math.NaN()
	tests := []struct {
		name   string
		step   int
		values map[int]float64
		want   bool
	}{
		{"before the first rung", 1, reports(99), false},
		{"second of four", 2, reports(9, 5.5), false},
		{"third of four", 2, reports(9, 6.5), true},
		{"as good as the last to stay", 2, reports(9, 6), false},
		{"between rungs", 3, reports(9, 9, 99), false},
		{"first report after a rung", 3, reports(9, 0, 99), true},
		{"two rungs at once, good for the first only", 4, reports(9, 0, 0, 4), true},
		{"two rungs at once, good for both", 4, reports(9, 0, 0, 1), false},
		{"no number", 2, reports(9, nan), true},
		{"no number before", 3, reports(9, nan, 5.5), false},
		{"not reported", 2, reports(9), false},
	}
	for _, test := range tests {
		of := Trial{Number: 4, Intermediate: test.values}
		for _, history := range [][]Trial{history, append(history, of)} {
			if got := pruner.Prune(test.step, of, history); got != test.want {
				t.Errorf("%s: %v, want %v", test.name, got, test.want)
			}
		}
	}
	first := Trial{Number: 4, Intermediate: reports(9, 99)}
	if pruner.Prune(2, first, nil) {
		t.Error("the first at a rung was stopped")
	}
}

func TestMedian(t *testing.T) {
	nan := math.NaN()
	history := []Trial{
		{Number: 0, Done: true, Intermediate: reports(9, 2)},
		{Number: 1, Done: true, Intermediate: reports(9, 4)},
		{Number: 2, Done: true, Intermediate: reports(9, nan)},
		{Number: 3, Pruned: true, Intermediate: reports(9, 1)},
		{Number: 4, Intermediate: reports(9, 1)},
	}
	tests := []struct {
		name            string
		startup, warmup int
		step            int
		values          map[int]float64
		want            bool
	}{
		{"worse than the median", 3, 0, 2, reports(8, 3.5), true},
		{"as good as the median", 3, 0, 2, reports(8, 3), false},
		{"it was better once", 3, 0, 2, reports(2.5, 99), false},
		{"too few are done", 4, 0, 2, reports(8, 3.5), false},
		{"warming up", 3, 3, 2, reports(8, 3.5), false},
		{"warm", 3, 2, 2, reports(8, 3.5), true},
		{"nothing to compare with", 3, 0, 3, reports(8, 8, 8), false},
		{"never a number", 3, 0, 3, reports(nan, nan, nan), true},
		{"not reported", 3, 0, 2, reports(8), false},
	}
	for _, test := range tests {
		of := Trial{Number: 5, Intermediate: test.values}
		if got := NewMedian(test.startup, test.warmup).Prune(test.step, of, history); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if NewMedian(0, 0).Prune(1, Trial{Intermediate: reports(nan)}, nil) {
		t.Error("stopped with nothing done")
	}
}
