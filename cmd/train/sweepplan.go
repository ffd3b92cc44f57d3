package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/sweep"
	"github.com/longform-go/longform/internal/sweep/search"
	"github.com/longform-go/longform/internal/training"
)

func sweepPlanCommand() *cobra.Command {
	var file, target string
	var mfu float64
	c := &cobra.Command{
		Use:   "plan -c FILE [key=value ...]",
		Short: "Say what a sweep will try, and what that will take",
		Long: `Say what a sweep will try and what that will take: the space, the number of trials, and the programs they need, each
compiled for its longest batch. Only what changes a program's memory is varied for that, and of a range both ends. Programs
that don't fit the device's memory are named, and make the command fail.`,
		Example: `  train sweep plan -c configs/sweeps/demo.yaml
  train sweep plan -c my-sweep.yaml --target h100`,
		RunE: func(cmd *cobra.Command, overrides []string) error {
			if mfu <= 0 || mfu > 1 {
				return fmt.Errorf("--mfu is %v, want more than 0 and at most 1", mfu)
			}
			s, err := loadSweep(file, overrides)
			if err != nil {
				return err
			}
			return planSweep(cmd.OutOrStdout(), s, target, mfu)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "the sweep's file")
	c.Flags().StringVar(&target, "target", "", "plan for this GPU, which needs not be here")
	c.Flags().Float64Var(&mfu, "mfu", 0.5, "model FLOPs utilization at which to expect the time")
	return c
}

func planSweep(out io.Writer, s configs.Sweep, target string, mfu float64) error {
	space, err := sweep.Space(s)
	if err != nil {
		return err
	}
	impossible, err := sweep.Check(s, space)
	if err != nil {
		return err
	}
	base, err := configs.Load(s.Base, nil)
	if err != nil {
		return err
	}
	d, err := openPlanned(base, target)
	if err != nil {
		return err
	}
	defer d.Close()
	row := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	trials := sweep.Count(s, space)
	row("sweep", "%s: %s %s by %s, %d trials, %d at a time", s.Name, s.Metric.Goal, s.Metric.Name, s.Method, trials, s.Parallel)
	for i, p := range s.Parameters {
		name := map[bool]string{true: "space"}[i == 0]
		if !slices.ContainsFunc(space, func(q search.Parameter) bool { return q.Name == p.Name }) {
			row(name, "%s  never takes part: the base doesn't have %s", p.Name, p.When)
			continue
		}
		row(name, "%v", p)
	}
	for _, combination := range impossible {
		row("", "fails at once  %s", combination)
	}
	row("device", "%s", d.Description())

	var broken, large []string
	var most, flops, seconds float64
	var disk int64
	programs := sweep.Programs(space)
	for _, settings := range programs.Points {
		label := strings.Join(settings, " ")
		if label == "" {
			label = "as in the base"
		}
		config, err := configs.Load(s.Base, settings)
		if err != nil {
			broken = append(broken, label)
			row("program", "%s: %s", label, oneLine(err))
			continue
		}
		p, err := training.NewPlan(config, d)
		if err != nil {
			broken = append(broken, label)
			row("program", "%s: %v", label, err)
			continue
		}
		text := fmt.Sprintf("%s: %s trained parameters, at least %s of device memory", label, rundir.Commas(p.Trained), rundir.Bytes(p.PeakBytes))
		if p.Known {
			text = fmt.Sprintf("%s: %s trained parameters, %s of device memory", label, rundir.Commas(p.Trained), rundir.Bytes(p.PeakBytes))
		}
		if !fits(p, d, config) {
			text += fmt.Sprintf(", which doesn't fit in %s", rundir.Bytes(p.LimitBytes))
			large = append(large, label)
		}
		row("program", "%s", text)
		steps := float64(config.Run.Steps)
		most = max(most, steps)
		flops = max(flops, steps*p.ModelFLOPs)
		if p.PeakFLOPS > 0 {
			seconds = max(seconds, steps*p.ModelFLOPs/(mfu*p.PeakFLOPS))
		}
		disk = max(disk, p.DiskBytes)
	}
	if programs.Left > 0 {
		row("", "and %d more programs, which aren't looked at", programs.Left)
	}
	cost(row, base, trials, s.Parallel, most, flops, seconds, disk)
	if len(large) > 0 {
		return fmt.Errorf("%d of %d programs don't fit in memory: %s; take those values out, or lower run.micro_batch_size in the base", len(large), len(programs.Points), strings.Join(large, "; "))
	}
	if len(broken) > 0 {
		return fmt.Errorf("%d of %d programs can't run: %s; take those values out, or add a when", len(broken), len(programs.Points), strings.Join(broken, "; "))
	}
	return nil
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// fits looks at memory alone: plan.Check also looks at the disk.
func fits(p training.Plan, d *device.Device, c configs.Config) bool {
	if d.Kind() == device.CUDA {
		return p.Fits
	}
	return p.LimitBytes == 0 || p.PeakBytes+p.HostBytes <= p.LimitBytes
}

// cost tells the most that all trials can take: those that stop early take less.
func cost(row func(string, string, ...any), base configs.Config, trials, parallel int, steps, flops, seconds float64, disk int64) {
	n := float64(trials)
	switch {
	case steps == 0:
		row("cost", "at most %d trials of %d epochs; how many steps that is, the data tell", trials, base.Run.Epochs)
	case seconds > 0:
		row("cost", "at most %s steps, %.3g PFLOP: %.2f GPU-hours, %.2f hours at %d trials at a time", rundir.Commas(int64(n*steps)), n*flops/1e15, n*seconds/3600, n*seconds/3600/float64(min(parallel, trials)), parallel)
	default:
		row("cost", "at most %s steps, %.3g TFLOP; how fast this device is, isn't known", rundir.Commas(int64(n*steps)), n*flops/1e12)
	}
	row("disk", "at most %s: %s a trial", rundir.Bytes(int64(n)*disk), rundir.Bytes(disk))
}
