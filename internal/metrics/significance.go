package metrics

import (
	"math"
	"math/rand/v2"
	"slices"
)

// An Interval is a mean and between which bounds it lies with some confidence.
type Interval struct{ Mean, Low, High float64 }

// MeanInterval is the percentile bootstrap (Efron and Tibshirani, "An Introduction to
// the Bootstrap", 1993, chapter 13) of the mean of one value a text: the values are
// drawn again with replacement, resamples times, and the bounds are the quantiles of
// those means that leave out (1-confidence)/2 at each end. The same seed gives the
// same bounds. All is NaN without values.
func MeanInterval(values []float64, confidence float64, resamples int, seed uint64) Interval {
	low, high := Bootstrap(len(values), confidence, resamples, seed, func(drawn []int) float64 {
		sum := 0.0
		for _, i := range drawn {
			sum += values[i]
		}
		return sum / float64(len(drawn))
	})
	return Interval{mean(values), low, high}
}

// Bootstrap is what MeanInterval does, for any score of n texts, such as BLEU of the
// whole corpus: score gets the numbers of the texts that were drawn, n of them.
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

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
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
	Difference         float64 // of the means, first minus second
	P                  float64 // how likely chance alone makes it at least as large
}

// Compare compares the scores of two systems, one for each of the same texts in the
// same order, with a two-sided paired test by approximate randomization of the
// difference between their means; see Randomize. It panics if they aren't as many.
func Compare(first, second []float64, trials int, seed uint64) Comparison {
	if len(first) != len(second) {
		panic("metrics: systems compared on different texts")
	}
	var c Comparison
	differences := make([]float64, len(first))
	for i := range first {
		differences[i] = first[i] - second[i]
		switch {
		case differences[i] > 0:
			c.Wins++
		case differences[i] < 0:
			c.Losses++
		default:
			c.Ties++
		}
	}
	if len(first) > 0 {
		c.Difference = mean(differences)
	}
	c.P = Randomize(len(first), trials, seed, func(swapped []bool) float64 {
		sum := 0.0
		for i, d := range differences {
			if swapped[i] {
				d = -d
			}
			sum += d
		}
		return sum
	})
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
