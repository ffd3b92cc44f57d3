package decoding

import (
	"encoding/json"
	"math"
	"testing"
)

// Numbers that JSON or a program's float32 hasn't got are refused, whichever setting has them; others are taken.
func TestCheckNumbers(t *testing.T) {
	for flag, set := range map[string]func(o *Options, x float64){
		"temperature":        func(o *Options, x float64) { o.Sampling.Temperature = x },
		"top-p":              func(o *Options, x float64) { o.Sampling.TopP = x },
		"min-p":              func(o *Options, x float64) { o.Sampling.MinP = x },
		"typical-p":          func(o *Options, x float64) { o.Sampling.TypicalP = x },
		"repetition-penalty": func(o *Options, x float64) { o.Penalties.Repetition = x },
		"presence-penalty":   func(o *Options, x float64) { o.Penalties.Presence = x },
		"frequency-penalty":  func(o *Options, x float64) { o.Penalties.Frequency = x },
		"length-penalty":     func(o *Options, x float64) { o.Beams.LengthPenalty = x },
	} {
		for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e39, -1e39, 0, 0.5, 1} {
			o := Options{MaxNewTokens: 1}
			set(&o, x)
			_, unwritten := json.Marshal(x)
			taken := unwritten == nil && !math.IsInf(float64(float32(x)), 0)
			if err := o.Check(); (err == nil) != taken {
				t.Errorf("--%s %v: error %v", flag, x, err)
			}
		}
	}
}
