package configs

import (
	"fmt"
	"math"
	"slices"
)

// A problem is one reason why a config can't be run.
type problem struct {
	key  string // of the setting to change
	text string // what is wrong and what to do
}

// Validate says what is wrong with c by itself, one line for each mistake. What
// depends on the model or the data, such as a bucket for T5, is checked where
// those are read.
func (c Config) Validate() error {
	var lines []string
	for _, p := range c.check() {
		lines = append(lines, p.text)
	}
	if len(lines) == 0 {
		return nil
	}
	return oneEach(lines)
}

func (c Config) check() []problem {
	var found []problem
	report := func(key, format string, args ...any) {
		found = append(found, problem{key, fmt.Sprintf(format, args...)})
	}

	required := func(key string, missing bool, example string) {
		if missing {
			report(key, "%s is missing; add %s: %s under %s:, or give %[1]s=%[3]s on the command line", key, last(key), example, parent(key))
		}
	}
	required("model.path", c.Model.Path == "", "DIR_OR_HUB_NAME")
	required("data.train", len(c.Data.Train) == 0, "FILE_OR_HUB_NAME")
	required("run.dir", c.Run.Dir == "", "DIR")

	for _, s := range configKeys.settings {
		v := s.of(c)
		if s.oneOf != nil && !slices.Contains(s.oneOf, v.String()) {
			report(s.key, "%s is %s, want %s", s.key, quote(v.String()), want(s))
		}
		if items, ok := v.Interface().([]string); ok && slices.Contains(items, "") {
			report(s.key, "%s has an empty entry; remove it", s.key)
		}
	}

	within := func(key string, value float64, ok bool, want string) {
		if !ok || math.IsNaN(value) || math.IsInf(value, 0) {
			report(key, "%s is %v, want %s", key, value, want)
		}
	}
	probability := func(key string, p float64) { within(key, p, p >= 0 && p < 1, "at least 0 and less than 1") }
	positive := func(key string, x float64) { within(key, x, x > 0, "more than 0") }
	notNegative := func(key string, x float64) { within(key, x, x >= 0, "at least 0") }
	atLeast := func(least int, key string, n int) {
		if n < least {
			report(key, "%s is %d, want at least %d", key, n, least)
		}
	}

	if c.Model.Dropout != nil {
		probability("model.dropout", *c.Model.Dropout)
	}
	atLeast(1, "model.lora.rank", c.Model.LoRA.Rank)
	positive("model.lora.alpha", c.Model.LoRA.Alpha)
	probability("model.lora.dropout", c.Model.LoRA.Dropout)
	if c.Model.Quantize == "nf4" && !c.Model.LoRA.Enabled {
		report("model.quantize", "model.quantize is nf4, but 4-bit weights can't be trained; set model.lora.enabled: true to train adapters on them, or remove it")
	}

	atLeast(1, "data.max_length", c.Data.MaxLength)
	atLeast(0, "data.max_target_length", c.Data.MaxTargetLength)
	previous, longest := 0, max(c.Data.MaxLength, c.Data.MaxTargetLength)
	for _, b := range c.Data.Buckets {
		if b <= previous || b > longest {
			report("data.buckets", "data.buckets is %v, want lengths that rise from 1 to at most data.max_length, %d", c.Data.Buckets, longest)
			break
		}
		previous = b
	}

	positive("optim.lr", c.Optim.LR)
	probability("optim.beta1", c.Optim.Beta1)
	probability("optim.beta2", c.Optim.Beta2)
	positive("optim.eps", c.Optim.Eps)
	notNegative("optim.weight_decay", c.Optim.WeightDecay)
	notNegative("optim.clip_norm", c.Optim.ClipNorm)
	if c.Optim.RelativeStep && c.Optim.Kind != "adafactor" {
		report("optim.relative_step", "optim.relative_step is adafactor's; set optim.kind: adafactor or remove it")
	}
	if c.Optim.RelativeStep && c.Schedule != (Schedule{Kind: "constant"}) {
		report("optim.relative_step", "optim.relative_step is a schedule of its own; remove it or the keys under schedule:")
	}

	atLeast(0, "schedule.warmup_steps", c.Schedule.WarmupSteps)
	within("schedule.final_ratio", c.Schedule.FinalRatio, c.Schedule.FinalRatio >= 0 && c.Schedule.FinalRatio <= 1, "from 0 to 1")
	if c.Schedule.Kind == "constant" && c.Schedule.FinalRatio != 0 {
		report("schedule.final_ratio", "schedule.final_ratio has no effect on a constant schedule; remove it or choose another schedule.kind")
	}

	atLeast(0, "run.steps", c.Run.Steps)
	atLeast(0, "run.epochs", c.Run.Epochs)
	switch {
	case c.Run.Steps == 0 && c.Run.Epochs == 0:
		report("run.steps", "the run's length is missing; add steps: N or epochs: N under run:, or give run.steps=N on the command line")
	case c.Run.Steps > 0 && c.Run.Epochs > 0:
		report("run.steps", "run.steps is %d and run.epochs is %d; give one of them", c.Run.Steps, c.Run.Epochs)
	case c.Run.Steps > 0 && c.Schedule.WarmupSteps >= c.Run.Steps:
		report("schedule.warmup_steps", "schedule.warmup_steps is %d, want less than run.steps, %d", c.Schedule.WarmupSteps, c.Run.Steps)
	}
	atLeast(1, "run.batch_size", c.Run.BatchSize)
	atLeast(0, "run.micro_batch_size", c.Run.MicroBatchSize)
	if b, m := c.Run.BatchSize, c.Run.MicroBatchSize; b > 0 && m > 0 && b%m != 0 {
		report("run.micro_batch_size", "run.micro_batch_size %d doesn't divide run.batch_size %d; make batch_size a multiple of it", m, b)
	}
	atLeast(1, "run.log_every", c.Run.LogEvery)
	atLeast(0, "run.eval_every", c.Run.EvalEvery)
	if c.Run.EvalEvery > 0 && len(c.Data.Validation) == 0 {
		report("run.eval_every", "run.eval_every is %d but there is nothing to evaluate on; add data.validation or remove it", c.Run.EvalEvery)
	}

	atLeast(0, "checkpoint.every", c.Checkpoint.Every)
	atLeast(1, "checkpoint.keep", c.Checkpoint.Keep)
	if c.Checkpoint.Best && len(c.Data.Validation) == 0 {
		report("checkpoint.best", "checkpoint.best is true but there is nothing to evaluate on; add data.validation or set it to false")
	}

	if c.Tracking.MLflow != "" && !webAddress(c.Tracking.MLflow) {
		report("tracking.mlflow", "tracking.mlflow is %s, want the address of an MLflow server, such as http://localhost:5000", quote(c.Tracking.MLflow))
	}
	if c.Tracking.Experiment == "" {
		report("tracking.experiment", "tracking.experiment is empty, want a name")
	}
	c.Launch.check(report)
	return found
}
