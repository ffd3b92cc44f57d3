package training

import (
	"math"

	"github.com/longform-go/longform/configs"
)

// learningRate is the rate of a step, counted from 1, of a run of total steps. At step s it equals transformers'
// schedule of the same name evaluated at s, so that the first step already moves and the last has the final rate.
func learningRate(peak float64, s configs.Schedule, step, total int) float64 {
	warmup := s.WarmupSteps
	if step < warmup {
		return peak * float64(step) / float64(warmup)
	}
	done := float64(step-warmup) / float64(max(total-warmup, 1))
	switch s.Kind {
	case "linear":
		return peak * (s.FinalRatio + (1-s.FinalRatio)*max(1-done, 0))
	case "cosine":
		return peak * (s.FinalRatio + (1-s.FinalRatio)*0.5*(1+math.Cos(math.Pi*min(done, 1))))
	case "inverse_sqrt":
		return peak * max(s.FinalRatio, math.Sqrt(float64(max(warmup, 1))/float64(step)))
	}
	return peak // constant
}
