package rundir

import (
	"encoding/json"
	"math"
)

// Step is what is logged of a training step. All but Seconds, TokensPerSecond
// and PeakMemory follow from the configuration and the data: a resumed run
// logs the very same digits.
type Step struct {
	Step     int     // steps done, this one included: the first is 1
	Epoch    float64 // passes over the training set so far
	Loss     float32 // mean over the step's targets, in nats; may be NaN or infinite
	GradNorm float32 // global norm before clipping; may be NaN or infinite
	LR       float64 // learning rate that the step used
	Tokens   int64   // input tokens since the run began, without padding
	Targets  int64   // tokens with a loss since the run began

	// Seconds is wall-clock time to the end of the step, from the end of the step before it, or from its own start where
	// the device waited: for an evaluation, a checkpoint, or the next batch.
	Seconds         float64
	TokensPerSecond float64 // input tokens over wall-clock time

	PeakMemory int64 // bytes of a GPU's memory in use at most so far in this process; 0 if that isn't known
}

// Eval is what is logged of an evaluation on the validation set. Log it before
// the checkpoint of the same step, so that resuming from there keeps it.
type Eval struct {
	Step    int     // training steps done before it
	Loss    float64 // mean over the targets of the whole set, in nats; may be NaN or infinite
	Targets int64   // tokens with a loss in the set

	Seconds float64 // wall-clock time of the evaluation
}

// stepJSON and evalJSON are the objects in the log. JSON has no NaN: a loss or
// a norm that isn't finite is null there, and nonfinite says why. It is NaN
// when read back. Finite ones have the fewest digits that give the same bits.
type stepJSON struct {
	Step            int      `json:"step"`
	Epoch           float64  `json:"epoch"`
	Loss            *float32 `json:"loss"`
	GradNorm        *float32 `json:"grad_norm"`
	NonFinite       bool     `json:"nonfinite,omitempty"`
	LR              float64  `json:"lr"`
	Tokens          int64    `json:"tokens"`
	Targets         int64    `json:"targets"`
	Seconds         float64  `json:"seconds"`
	TokensPerSecond float64  `json:"tokens_per_second"`
	PeakMemory      int64    `json:"peak_memory,omitempty"`
}

type evalJSON struct {
	Step      int      `json:"step"`
	Loss      *float64 `json:"eval_loss"`
	NonFinite bool     `json:"nonfinite,omitempty"`
	Targets   int64    `json:"eval_targets"`
	Seconds   float64  `json:"eval_seconds"`
}

// MarshalJSON writes the object of a training step.
func (s Step) MarshalJSON() ([]byte, error) {
	j := stepJSON{
		Step: s.Step, Epoch: s.Epoch, Loss: finite(s.Loss), GradNorm: finite(s.GradNorm), LR: s.LR,
		Tokens: s.Tokens, Targets: s.Targets, Seconds: s.Seconds, TokensPerSecond: s.TokensPerSecond, PeakMemory: s.PeakMemory,
	}
	j.NonFinite = j.Loss == nil || j.GradNorm == nil
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Step) UnmarshalJSON(text []byte) error {
	var j stepJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*s = Step{
		Step: j.Step, Epoch: j.Epoch, Loss: orNaN(j.Loss), GradNorm: orNaN(j.GradNorm), LR: j.LR,
		Tokens: j.Tokens, Targets: j.Targets, Seconds: j.Seconds, TokensPerSecond: j.TokensPerSecond, PeakMemory: j.PeakMemory,
	}
	return nil
}

// MarshalJSON writes the object of an evaluation.
func (e Eval) MarshalJSON() ([]byte, error) {
	j := evalJSON{Step: e.Step, Loss: finite(e.Loss), Targets: e.Targets, Seconds: e.Seconds}
	j.NonFinite = j.Loss == nil
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (e *Eval) UnmarshalJSON(text []byte) error {
	var j evalJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*e = Eval{Step: j.Step, Loss: orNaN(j.Loss), Targets: j.Targets, Seconds: j.Seconds}
	return nil
}

func finite[F float32 | float64](x F) *F {
	if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
		return nil
	}
	return &x
}

func orNaN[F float32 | float64](x *F) F {
	if x == nil {
		return F(math.NaN())
	}
	return *x
}
