package metrics

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestSameSignificance compares with scipy's interval and exact test, and with
// sacrebleu's test of whole corpora. All but the exact test draw at random, so both
// sides differ by what so many draws leave open.
func TestSameSignificance(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	a, b := make([]float64, 80), make([]float64, 80)
	for i := range a {
		a[i] = random.ExpFloat64()
		b[i] = a[i] + 0.4*random.NormFloat64() - 0.12
	}
	all := pairs(t, 160)
	one := func(all []textPair) (some [][2]string) {
		for _, p := range all {
			some = append(some, [2]string{p.candidate, p.references[0]})
		}
		return some
	}
	// The second system's texts are other edits of the first one's, where there are any.
	first, second := one(all), one(all)
	for i, p := range all {
		if last := len(p.references) - 1; last > 0 {
			second[i][0] = p.references[last]
		}
	}
	var want struct{ Low, High, Exact, BLEU, CHRF float64 }
	run(t, "intervals.py", map[string]any{"a": a, "b": b, "pairs_a": first, "pairs_b": second}, &want)
	near := func(what string, got, want, tolerance float64) {
		t.Logf("%s %.4f, theirs %.4f", what, got, want)
		if !(math.Abs(got-want) <= tolerance) {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	low, high := Bootstrap(len(a), 0.95, 20000, 1, mean(a))
	sum, squares := 0.0, 0.0
	for _, v := range a {
		sum += v
		squares += v * v
	}
	deviation := squares - sum*sum/float64(len(a))
	deviation = math.Sqrt(deviation) / float64(len(a)) // of the mean
	near("the lower bound", low, want.Low, 0.08*deviation)
	near("the upper bound", high, want.High, 0.08*deviation)
	near("p of 12 pairs", Compare(a[:12], b[:12], 20000, 1).P, want.Exact, 0.015)

	bleu := make([][2]BLEUStats, len(first))
	chrf := make([][2]CHRFStats, len(first))
	for i := range first {
		bleu[i] = [2]BLEUStats{BLEU(first[i][0], first[i][1]), BLEU(second[i][0], second[i][1])}
		chrf[i] = [2]CHRFStats{CHRF(first[i][0], first[i][1]), CHRF(second[i][0], second[i][1])}
	}
	near("p of BLEU", Randomize(len(first), 2000, 1, func(swapped []bool) float64 {
		var sum [2]BLEUStats
		for i, stats := range bleu {
			j := 0
			if swapped[i] {
				j = 1
			}
			sum[0].Add(stats[j])
			sum[1].Add(stats[1-j])
		}
		return sum[0].Corpus() - sum[1].Corpus()
	}), want.BLEU, 0.05)
	near("p of chrF", Randomize(len(first), 2000, 1, func(swapped []bool) float64 {
		var sum [2]CHRFStats
		for i, stats := range chrf {
			j := 0
			if swapped[i] {
				j = 1
			}
			sum[0].Add(stats[j])
			sum[1].Add(stats[1-j])
		}
		return sum[0].Score() - sum[1].Score()
	}), want.CHRF, 0.05)
}

func TestCompare(t *testing.T) {
	a := []float64{1, 2, 3, 4, 5, 6, 7, 8}
	b := []float64{0, 1, 2, 3, 5, 5, 6, 9}
	c := Compare(a, b, 1000, 7)
	if c.Wins != 6 || c.Ties != 1 || c.Losses != 1 || c.Difference != 0.625 {
		t.Errorf("%+v", c)
	}
	if c != Compare(a, b, 1000, 7) {
		t.Error("the same seed gives another result")
	}
	if p := Compare(a, a, 1000, 7).P; p != 1 {
		t.Errorf("p of equal systems is %v, want 1", p)
	}
	for i := range b {
		b[i] = a[i] - 1
	}
	// Only all or none swapped make so large a difference: 2 of 256 cases.
	if p := Compare(a, b, 20000, 7).P; math.Abs(p-2.0/256) > 0.004 {
		t.Errorf("p of a constant difference over 8 texts is %v, want about %v", p, 2.0/256)
	}
}

// mean is that of the values that were drawn.
func mean(values []float64) func(drawn []int) float64 {
	return func(drawn []int) float64 {
		sum := 0.0
		for _, i := range drawn {
			sum += values[i]
		}
		return sum / float64(len(drawn))
	}
}

// TestBootstrapCovers draws samples of a known mean: nineteen of twenty intervals
// hold it, or a few less, since the bootstrap's are a little narrow for small samples.
func TestBootstrapCovers(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 9))
	covered := 0
	const samples = 400
	for seed := range uint64(samples) {
		values := make([]float64, 40)
		for i := range values {
			values[i] = random.NormFloat64()
		}
		low, high := Bootstrap(len(values), 0.95, 500, seed, mean(values))
		if low <= 0 && 0 <= high {
			covered++
		}
		if l, h := Bootstrap(len(values), 0.95, 500, seed, mean(values)); l != low || h != high {
			t.Fatalf("the same seed gives [%v, %v] and [%v, %v]", low, high, l, h)
		}
	}
	if part := float64(covered) / samples; part < 0.90 || part > 0.98 {
		t.Errorf("%.3f of the 95%% intervals hold the mean", part)
	}
	if low, high := Bootstrap(0, 0.95, 10, 1, mean(nil)); !math.IsNaN(low) || !math.IsNaN(high) {
		t.Errorf("the interval of nothing is [%v, %v]", low, high)
	}
	if low, high := Bootstrap(1, 0.95, 10, 1, mean([]float64{3})); low != 3 || high != 3 {
		t.Errorf("the interval of one value is [%v, %v]", low, high)
	}
}
