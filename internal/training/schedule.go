package training

import (
	"math"

	"github.com/longform-go/longform/configs"
)

const (
	relativeStepMax    = 1e-2  // largest relative step of Adafactor
	inverseSqrtHorizon = 10000 // steps after which a schedule without warm-up has fallen to the root of a half
)

// learningRate is the rate of a step, counted from 1, of a run of total steps. At step s it equals transformers'
// schedule of the same name evaluated at s, so that the first step already moves and the last has the final rate.
// Adafactor's relative step takes the schedule's place; the optimizer scales it by the size of each weight.
func learningRate(o configs.Optim, s configs.Schedule, step, total int) float64 {
	if o.RelativeStep {
		return min(relativeStepMax, 1/math.Sqrt(float64(step)))
	}
	warmup := s.WarmupSteps
	if step < warmup {
		return o.LR * float64(step) / float64(warmup)
	}
	left := 1.0 // of what falls from the peak to the final rate
	done := min(float64(step-warmup)/float64(max(total-warmup, 1)), 1)
	switch s.Kind {
	case "linear":
		left = 1 - done
	case "cosine":
		left = 0.5 * (1 + math.Cos(math.Pi*done))
	case "inverse_sqrt":
		horizon := warmup
		if warmup == 0 {
			horizon = inverseSqrtHorizon
		}
		return o.LR * max(s.FinalRatio, math.Sqrt(float64(horizon)/float64(step-warmup+horizon)))
	}
	return o.LR * (s.FinalRatio + (1-s.FinalRatio)*left)
}
