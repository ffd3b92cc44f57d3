package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/training"
)

func planCommand() *cobra.Command {
	var file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "plan -c FILE [key=value ...]",
		Short: "Compile a run's step and say what the run will need",
		Long: `Compile a run's step for its longest batch and say what the run will need: parameters, device memory, host memory,
disk for checkpoints, tokens a step. It reads neither weights nor data, and refuses what can't fit.`,
		Example: `  train plan -c configs/demo.yaml
  train plan -c configs/longform-opt-125m.yaml run.micro_batch_size=1 --json`,
		RunE: func(cmd *cobra.Command, overrides []string) error {
			config, err := loadConfig(file, overrides)
			if err != nil {
				return err
			}
			d, err := device.Open(config.Device.Backend)
			if err != nil {
				return err
			}
			defer d.Close()
			plan, err := training.NewPlan(config, d)
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				err = encoder.Encode(plan)
			} else {
				printPlan(cmd.OutOrStdout(), plan, d)
			}
			if err != nil {
				return err
			}
			return plan.Check(d, config.Run.Dir)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file, or the name of a built-in recipe")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

func printPlan(out io.Writer, p training.Plan, d *device.Device) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-16s%s\n", name, fmt.Sprintf(format, args...))
	}
	row("parameters", "%s, %s of them trained", rundir.Commas(p.Parameters), rundir.Commas(p.Trained))
	row("tokens a step", "at most %s", rundir.Commas(p.TokensPerStep))
	row("device", "%s", d.Description())
	if p.Known {
		row("device memory", "%s: %s of arguments and %s of temporaries", rundir.Bytes(p.PeakBytes), rundir.Bytes(p.ArgumentBytes), rundir.Bytes(p.TemporaryBytes))
		row("in place", "%s of %s of parameters and optimizer state (%.2f%%), %d copies", rundir.Bytes(min(p.AliasBytes, p.StateBytes)), rundir.Bytes(p.StateBytes),
			100*float64(min(p.AliasBytes, p.StateBytes))/float64(p.StateBytes), p.Copies)
	} else {
		row("device memory", "at least %s of parameters and optimizer state; the Go backend doesn't plan the rest", rundir.Bytes(p.StateBytes))
	}
	row("host memory", "%s to read weights and hold a checkpoint", rundir.Bytes(p.HostBytes))
	row("disk", "%s a checkpoint, %s for all that are kept", rundir.Bytes(p.CheckpointBytes), rundir.Bytes(p.DiskBytes))
}
