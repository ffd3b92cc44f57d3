package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/training"
)

func planCommand() *cobra.Command {
	var file, target string
	var asJSON bool
	var mfu float64
	c := &cobra.Command{
		Use:   "plan -c FILE [key=value ...]",
		Short: "Compile a run's step and say what the run will need",
		Long: `Compile a run's step for its longest batch and say what the run will need: parameters, device memory, whether attention
is fused, operations and bytes a step, host memory, disk for checkpoints. It reads neither weights nor data, and refuses
what can't fit with the settings that would.

--target plans for a GPU that isn't here: ` + strings.Join(device.Targets(), ", ") + `, or a file that train doctor --describe wrote where the
GPU is. It takes what make setup-target fetches.`,
		Example: `  train plan -c configs/demo.yaml
  train plan -c configs/longform-llama-7b.yaml --target h100
  train plan -c configs/longform-opt-6.7b.yaml --target a100 run.micro_batch_size=1 --json`,
		RunE: func(cmd *cobra.Command, overrides []string) error {
			if mfu <= 0 || mfu > 1 {
				return fmt.Errorf("--mfu is %v, want more than 0 and at most 1", mfu)
			}
			config, err := loadConfig(file, overrides)
			if err != nil {
				return err
			}
			d, err := openPlanned(config, target)
			if err != nil {
				return err
			}
			defer d.Close()
			plan, err := training.NewPlan(config, d)
			if err != nil {
				return err
			}
			if err := printPlan(cmd.OutOrStdout(), plan, mfu, asJSON); err != nil {
				return err
			}
			err = plan.Check(d, config.Run.Dir)
			if plan.Known && !plan.Fits {
				settings, fitting, e := training.Fitting(config, d)
				if e != nil {
					return e
				}
				err = fmt.Errorf("the run needs %s of device memory and programs may use %s; %s", rundir.Bytes(plan.PeakBytes), rundir.Bytes(plan.LimitBytes), training.Advice(settings, fitting))
			}
			return err
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file, or the name of a built-in recipe")
	c.Flags().StringVar(&target, "target", "", "plan for this GPU, which needs not be here")
	c.Flags().Float64Var(&mfu, "mfu", 0.5, "model FLOPs utilization at which to expect tokens a second")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

func openPlanned(c configs.Config, target string) (*device.Device, error) {
	if target != "" {
		return device.OpenTarget(target)
	}
	return device.Open(c.Device.Backend, device.WithoutTF32)
}

func printPlan(out io.Writer, p training.Plan, mfu float64, asJSON bool) error {
	if asJSON {
		expected := 0.0
		if p.PeakFLOPS > 0 {
			expected = p.TokensPerSecond(mfu)
		}
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			training.Plan
			MFU             float64 `json:"mfu"`
			TokensPerSecond float64 `json:"tokens_per_second"` // at that MFU; 0 where the GPU isn't known
		}{p, mfu, expected})
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-16s%s\n", name, fmt.Sprintf(format, args...))
	}
	row("parameters", "%s, %s of them trained", rundir.Commas(p.Parameters), rundir.Commas(p.Trained))
	row("tokens a step", "at most %s", rundir.Commas(p.TokensPerStep))
	row("device", "%s", p.Device)
	if p.Known {
		row("device memory", "%s of %s: %s of arguments and %s of temporaries", rundir.Bytes(p.PeakBytes), rundir.Bytes(p.LimitBytes), rundir.Bytes(p.ArgumentBytes), rundir.Bytes(p.TemporaryBytes))
		row("in place", "%s of %s of parameters and optimizer state (%.2f%%), %d copies", rundir.Bytes(min(p.AliasBytes, p.StateBytes)), rundir.Bytes(p.StateBytes),
			100*float64(min(p.AliasBytes, p.StateBytes))/float64(p.StateBytes), p.Copies)
		row("a step", "%.3g TFLOP of the model, %.3g with what is recomputed, %s read and written", p.ModelFLOPs/1e12, p.ProgramFLOPs/1e12, rundir.Bytes(int64(p.TrafficBytes)))
	} else {
		row("device memory", "at least %s of parameters and optimizer state; the Go backend doesn't plan the rest", rundir.Bytes(p.StateBytes))
	}
	switch {
	case p.FusedAttention && len(p.Unfused) == 0:
		row("attention", "fused")
	case len(p.Unfused) > 0:
		row("attention", "not fused%s: %s", map[bool]string{true: " everywhere"}[p.FusedAttention], strings.Join(p.Unfused, "; "))
	}
	if p.PeakFLOPS > 0 {
		row("speed", "%s tokens a second at %.0f%% MFU; the hardware's limit is %.3f s a step", rundir.Commas(int64(p.TokensPerSecond(mfu))), 100*mfu, p.LeastSeconds())
	}
	row("host memory", "%s to read weights and hold a checkpoint", rundir.Bytes(p.HostBytes))
	row("disk", "%s a checkpoint, %s for all that are kept", rundir.Bytes(p.CheckpointBytes), rundir.Bytes(p.DiskBytes))
	return nil
}
