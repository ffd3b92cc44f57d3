package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/training"
)

func runCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "run -c FILE [key=value ...]",
		Short: "Train from a configuration file",
		Long: `Train from a configuration file. Settings can be overridden as key=value with dotted keys.

Ctrl-C or SIGTERM finishes the step, saves a checkpoint and exits; "train resume" goes on from there. SIGUSR2, a
scheduler's notice, does the same with exit status 75, which asks to be started again.`,
		Example: `  train run -c configs/demo.yaml
  train run -c configs/longform-opt-125m.yaml optim.lr=3e-5 run.dir=runs/opt`,
		RunE: func(_ *cobra.Command, overrides []string) error {
			config, err := loadConfig(file, overrides)
			if err != nil {
				return err
			}
			return stoppable(train(config))
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file, or the name of a built-in recipe")
	return c
}

func loadConfig(file string, overrides []string) (configs.Config, error) {
	if file == "" {
		return configs.Config{}, errors.New("no configuration given; give one with -c FILE, for example -c configs/demo.yaml")
	}
	return configs.Load(file, overrides)
}

// train begins a new run. It returns errRequeue or errStopped if that was told to stop.
func train(config configs.Config) error {
	dir, release, err := claim(config.Run.Dir)
	if err != nil {
		return err
	}
	var run *training.Run
	defer func() { release(run != nil && run.Step() > 0) }()
	return inRun(dir, config, func(s *training.Setup, d *device.Device) (*training.Run, error) {
		run, err = training.Start(s, d, dir)
		return run, err
	})
}

// claim makes the directory of a new run and takes it for this process. Release gives it back; without a step done, it
// leaves nothing behind that wasn't there before.
func claim(path string) (dir rundir.Dir, release func(begun bool), err error) {
	info, err := os.Stat(path)
	there := err == nil && info.IsDir()
	if !there {
		if _, err := rundir.Create(path); err != nil {
			return "", nil, err
		}
	}
	unlock, err := checkpoint.Lock(path)
	if err != nil {
		return "", nil, err
	}
	release = func(begun bool) {
		defer unlock()
		if begun {
			return
		}
		for _, name := range []string{dir.Metrics(), dir.Config(), filepath.Join(path, checkpoint.LockFile)} {
			os.Remove(name)
		}
		if !there {
			os.Remove(path) // fails if something is in it
		}
	}
	// Only now does it say whether a run is there: before, that may be one in progress.
	if dir, err = rundir.Create(path); err != nil {
		unlock()
		return "", nil, err
	}
	return dir, release, nil
}

// errRequeue says that a run has stopped at SIGUSR2 and wants to be resumed.
var errRequeue = fmt.Errorf("stopped at SIGUSR2, to be resumed; exit status %d", launch.Requeue)

// errStopped says that a run has stopped at Ctrl-C or SIGTERM, before it was done.
var errStopped = errors.New("stopped by a signal before the run was done")

// stoppable takes a run that was told to stop, and did, for a success.
func stoppable(err error) error {
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// inRun prepares config, begins or continues the run in dir, which is locked, with begin, and trains. It returns errRequeue or
// errStopped if that was told to stop.
func inRun(dir rundir.Dir, config configs.Config, begin func(*training.Setup, *device.Device) (*training.Run, error)) error {
	// From the start: Go passes over a signal that nobody has asked for, and this one comes only once.
	noticed, forget := signal.NotifyContext(context.Background(), syscall.SIGUSR2)
	defer forget()
	setup, err := training.Prepare(config)
	if err != nil {
		return err
	}
	defer setup.Close()
	d, err := device.Open(config.Device.Backend, device.WithoutTF32) // float32 means float32, as torch's default does
	if err != nil {
		return err
	}
	defer d.Close()
	if err := training.Check(setup.Spec, config, d, string(dir)); err != nil {
		return err
	}
	run, err := begin(setup, d)
	if err != nil {
		return err
	}
	defer run.Close()
	say("model   %s, %s", config.Model.Path, parameters(setup))
	say("data    %s", reported(setup.Report))
	if len(setup.Validation) > 0 {
		say("        validation: %s", reported(setup.ValidationReport))
	}
	say("device  %s", d.Description())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(noticed, cancel)
	display := rundir.NewDisplay(os.Stderr, term.IsTerminal(int(os.Stderr.Fd())), run.Total())
	defer display.Close()
	summary, err := run.Train(ctx, display)
	if err != nil {
		return err
	}
	stopped := errStopped
	if noticed.Err() != nil {
		stopped = errRequeue
	}
	if summary.Step == 0 {
		display.Close()
		say("stopped before the first step; nothing is kept")
		return stopped
	}
	if summary.Steps == 0 && summary.Step >= run.Total() {
		display.Close()
		say("the run has done its %d steps already; go on with: train resume %s run.steps=N", summary.Step, dir)
		return nil
	}
	if summary.Step < run.Total() {
		summary.Resume = fmt.Sprintf("train resume %s", dir)
	}
	summary.Generate = fmt.Sprintf("infer generate --model %s --prompts FILE.jsonl", dir)
	display.Done(summary)
	if summary.Step < run.Total() {
		return stopped
	}
	return nil
}

// say prints a line for the person who watches.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func parameters(s *training.Setup) string {
	all, trained := training.Count(s.Spec)
	if all == trained {
		return fmt.Sprintf("%s parameters, %s", rundir.Commas(all), s.Config.Model.Precision)
	}
	return fmt.Sprintf("%s parameters, %s of them trained, %s", rundir.Commas(all), rundir.Commas(trained), s.Config.Model.Precision)
}

func reported(r data.Report) string {
	text := fmt.Sprintf("%s records, %s tokens, %s targets", rundir.Commas(int64(r.Records)), rundir.Commas(int64(r.Tokens)), rundir.Commas(int64(r.Targets)))
	if r.Truncated > 0 {
		text += fmt.Sprintf("; %s inputs cut, %s tokens lost", rundir.Commas(int64(r.Truncated)), rundir.Commas(int64(r.CutTokens)))
	}
	if r.TruncatedTargets > 0 {
		text += fmt.Sprintf("; %s targets cut", rundir.Commas(int64(r.TruncatedTargets)))
	}
	if r.WithoutTargets > 0 {
		text += fmt.Sprintf("; %s records without a target left", rundir.Commas(int64(r.WithoutTargets)))
	}
	return text
}
