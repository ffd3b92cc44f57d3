package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
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
that don't fit the device's memory are named, and make the command fail. How many steps epochs have, the data tell, which
are read and tokenized for that; weights aren't read.`,
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
	var most cost
	programs, longest := sweep.Programs(space), sweep.Longest(space)
	for _, settings := range programs.Points {
		label := label(settings)
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
		if longer, err := configs.Load(s.Base, slices.Concat(settings, longest)); err == nil {
			config = longer
		}
		most.add(p, mfu, config)
	}
	if programs.Left > 0 {
		row("", "and %d more programs, which aren't looked at", programs.Left)
	}
	most.tell(row, trials, s.Parallel)
	if len(large) > 0 {
		return fmt.Errorf("%d of %d programs don't fit in memory: %s; take those values out, or lower run.micro_batch_size in the base", len(large), len(programs.Points), strings.Join(large, "; "))
	}
	if len(broken) > 0 {
		return fmt.Errorf("%d of %d programs can't run: %s; take those values out, or add a when", len(broken), len(programs.Points), strings.Join(broken, "; "))
	}
	return nil
}

func label(settings []string) string {
	return cmp.Or(strings.Join(settings, " "), "the base's own settings")
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// fits looks at memory alone: plan.Check also looks at the disk.
func fits(p training.Plan, d *device.Device, c configs.Config) bool {
	if d.Kind() == device.CUDA {
		return p.Fits
	}
	return p.LimitBytes == 0 || p.PeakBytes+p.HostBytes <= p.LimitBytes
}

// cost is the most that a trial can take: one that stops early takes less.
type cost struct {
	steps, flops, seconds float64
	disk                  int64
	unknown               error // why some trials' steps aren't known
}

// add counts in the trials that run the planned program, of which longest are the settings of the longest.
func (c *cost) add(p training.Plan, mfu float64, longest configs.Config) {
	c.disk = max(c.disk, p.DiskBytes)
	n, err := training.Steps(longest)
	if err != nil {
		c.unknown = err
		return
	}
	steps := float64(n)
	c.steps, c.flops = max(c.steps, steps), max(c.flops, steps*p.ModelFLOPs)
	if p.PeakFLOPS > 0 {
		c.seconds = max(c.seconds, steps*p.ModelFLOPs/(mfu*p.PeakFLOPS))
	}
}

func (c *cost) tell(row func(string, string, ...any), trials, parallel int) {
	n := float64(trials)
	steps := rundir.Commas(int64(n * c.steps))
	switch {
	case c.unknown != nil:
		row("cost", "unknown: trials are given in epochs, and how many steps those have can't be told: %s", oneLine(c.unknown))
	case c.seconds > 0:
		row("cost", "at most %s steps, %.3g PFLOP: %.2f GPU-hours, %.2f hours at %d trials at a time", steps, n*c.flops/1e15, n*c.seconds/3600, n*c.seconds/3600/float64(min(parallel, trials)), parallel)
	default:
		row("cost", "at most %s steps, %.3g TFLOP; how fast this device is, isn't known", steps, n*c.flops/1e12)
	}
	row("disk", "at most %s: %s a trial", rundir.Bytes(int64(n)*c.disk), rundir.Bytes(c.disk))
}

// checkFits has another process refuse a sweep whose programs this machine has no room for: one that had looked at a GPU
// would keep a part of its memory from the trials.
func checkFits(file string, overrides []string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	var said strings.Builder
	c := exec.Command(program, append([]string{"sweep", "check", "-c", file}, overrides...)...)
	c.Stderr = &said
	if err := c.Run(); err != nil {
		text := strings.TrimPrefix(strings.TrimSpace(said.String()), "train: ")
		return errors.New(cmp.Or(text, "look whether the sweep fits this machine: "+err.Error()))
	}
	return nil
}

// sweepCheckCommand is what checkFits executes.
func sweepCheckCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "check -c FILE [key=value ...]",
		Short:   "Refuse a sweep with programs that don't fit this machine",
		Example: `  train sweep check -c configs/sweeps/demo.yaml`,
		Hidden:  true,
		RunE: func(_ *cobra.Command, overrides []string) error {
			s, err := loadSweep(file, overrides)
			if err != nil || s.Launch.On != "local" {
				return err // programs run on other machines
			}
			return refuse(s)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "the sweep's file")
	return c
}

// refuse refuses a sweep with trials that would refuse to start here for what they need. Those that can't run for other
// reasons fail by themselves.
func refuse(s configs.Sweep) error {
	space, err := sweep.Space(s)
	if err != nil {
		return err
	}
	var d *device.Device
	for _, settings := range sweep.Programs(space).Points {
		config, err := configs.Load(s.Base, append(settings, configs.Override("run.dir", s.Dir)))
		if err != nil {
			continue
		}
		if d == nil {
			if d, err = device.Open(config.Device.Backend, device.WithoutTF32); err != nil {
				return err
			}
			defer d.Close()
		}
		if why, err := training.Refusal(config, d); why != nil && err == nil {
			return fmt.Errorf("trials with %s don't fit: %w; train sweep plan tells of all", label(settings), why)
		}
	}
	return nil
}
