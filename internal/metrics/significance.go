package metrics

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Bootstrap is the percentile bootstrap (Efron and Tibshirani, "An Introduction to the
// Bootstrap", 1993, chapter 13) of any score of n texts, such as BLEU of the whole
// corpus: the texts are drawn again with replacement, resamples times, and the bounds
// are the quantiles of those scores that leave out (1-confidence)/2 at each end. score
// gets the numbers of the texts that were drawn, n of them. The same seed gives the same
// bounds. They are NaN without texts.
func Bootstrap(n int, confidence float64, resamples int, seed uint64, score func(drawn []int) float64) (low, high float64) {
	if n == 0 {
		return math.NaN(), math.NaN()
	}
	random := rand.New(rand.NewPCG(seed, 0))
	scores, drawn := make([]float64, resamples), make([]int, n)
	for i := range scores {
		for j := range drawn {
			drawn[j] = random.IntN(n)
		}
		scores[i] = score(drawn)
	}
	slices.Sort(scores)
	tail := (1 - confidence) / 2
	return quantile(scores, tail), quantile(scores, 1-tail)
}

// quantile interpolates between neighbours of sorted values.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

// A Comparison is of two systems' scores on the same texts.
type Comparison struct {
	Wins, Ties, Losses int     // texts on which the first is better, equal, worse
	Difference         float64 // first minus second
	P                  float64 // how likely chance alone makes it at least as large
}

// Compare compares the scores of two systems, one for each of the same texts in the
// same order, with a test of the difference between their means; see CompareCorpora.
func Compare(first, second []float64, trials int, seed uint64) Comparison {
	return CompareCorpora(first, second, trials, seed, func(swapped []bool) float64 {
		sum := 0.0
		for i := range swapped {
			d := first[i] - second[i]
			if swapped[i] {
				d = -d
			}
			sum += d
		}
		return sum / float64(max(1, len(swapped)))
	})
}

// CompareCorpora is Compare with a test of the difference between another score of both
// systems, such as BLEU of the whole corpus; see Randomize. It panics if there aren't as
// many scores of both.
func CompareCorpora(first, second []float64, trials int, seed uint64, difference func(swapped []bool) float64) Comparison {
	if len(first) != len(second) {
		panic("metrics: systems compared on different texts")
	}
	c := Comparison{Difference: difference(make([]bool, len(first))), P: Randomize(len(first), trials, seed, difference)}
	for i := range first {
		switch {
		case first[i] > second[i]:
			c.Wins++
		case first[i] < second[i]:
			c.Losses++
		default:
			c.Ties++
		}
	}
	return c
}

// Randomize is the two-sided paired test by approximate randomization (Noreen,
// "Computer-Intensive Methods for Testing Hypotheses", 1989; for texts, Riezler and
// Maxwell, 2005) of the difference between any score of two systems over n texts, such
// as BLEU of the whole corpus. The difference is asked for with the two systems'
// outputs for some texts swapped, at first for none and then trials times for each
// text or not with equal chance. The result is the part of all of them, between
// 1/(trials+1) and 1, that are at least as large as the first: a small one says that
// the systems differ.
func Randomize(n, trials int, seed uint64, difference func(swapped []bool) float64) float64 {
	swapped := make([]bool, n)
	observed := math.Abs(difference(swapped))
	observed -= 1e-12 * observed // sums in another order
	random := rand.New(rand.NewPCG(seed, 0))
	as := 1
	for range trials {
		for i := range swapped {
			swapped[i] = random.Uint64()&1 == 1
		}
		if math.Abs(difference(swapped)) >= observed {
			as++
		}
	}
	return float64(as) / float64(trials+1)
}
