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
	"github.com/longform-go/longform/internal/sweep"
)

func sweepCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "sweep -c FILE [key=value ...]",
		Short: "Search for the settings with which a run ends best",
		Long: `Search for the settings with which a run ends best: many trials of one recipe, each an ordinary run in a directory of
its own. FILE says what to vary; its keys can be overridden as key=value. Nothing starts if some trials need more memory
than this machine has.

Ctrl-C saves the trials under way; "train sweep resume" goes on from there, as it does after a crash.

With launch.on other than local, as many workers as parallel says are submitted as one array, with what the section launch
asks for, each for one trial after the other. They go on when this command ends, by Ctrl-C or otherwise: "train sweep
resume" finds them again, and "train sweep cancel" has them save and end. A worker that has to give way saves and is
started again; those that end early are replaced as long as this command or "resume" looks on. Where they run, the working
directory, dir and this program have to be under the same paths as here.`,
		Example: `  train sweep -c configs/sweeps/demo.yaml
  train sweep -c configs/sweeps/demo.yaml trials=20 parallel=2 dir=runs/sweep
  train sweep -c sweep.yaml parallel=8 launch.on=slurm launch.gpus=1 launch.time=4h launch.partition=gpu`,
		RunE: func(_ *cobra.Command, overrides []string) error {
			config, err := loadSweep(file, overrides)
			if err != nil {
				return err
			}
			if err := checkFits(file, overrides); err != nil {
				return err
			}
			dir, err := sweep.Create(config)
			if err != nil {
				return err
			}
			return drive(string(dir), nil)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "the sweep's file")
	c.AddCommand(sweepPlanCommand(), sweepResumeCommand(), sweepStatusCommand(), sweepCancelCommand(), sweepReportCommand(), sweepCheckCommand(), sweepWorkerCommand())
	return c
}

func loadSweep(file string, overrides []string) (configs.Sweep, error) {
	if file == "" {
		return configs.Sweep{}, errors.New("no sweep given; give its file with -c FILE, for example -c configs/sweeps/demo.yaml")
	}
	return configs.LoadSweep(file, overrides)
}

func sweepResumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume DIR [key=value ...]",
		Short: "Go on with a sweep",
		Long: `Go on with a sweep that was stopped or killed: trials under way resume from their last checkpoints, and workers that a
launcher has started are found again. trials, parallel, max_failures and launch can be changed on the way.`,
		Example: `  train sweep resume runs/demo-sweep
  train sweep resume runs/demo-sweep trials=40`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no sweep given; give its directory, for example: train sweep resume runs/demo-sweep")
			}
			return drive(args[0], args[1:])
		},
	}
}

// drive runs the sweep in a directory until it is done or told to stop.
func drive(dir string, overrides []string) error {
	s, err := sweep.Open(dir, overrides)
	if err != nil {
		return err
	}
	defer s.Close()
	workers, err := crew(s)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process, and with it its workers, at once
	view := sweep.NewTable(os.Stderr, term.IsTerminal(int(os.Stderr.Fd())))
	if err := s.Drive(ctx, workers, view); err != nil {
		return err
	}
	trials, err := s.Journal()
	if err != nil {
		return err
	}
	if !view.Terminal() {
		fmt.Fprint(os.Stderr, s.Summary(trials))
	}
	if err := s.WriteReport(trials); err != nil {
		return err
	}
	if ctx.Err() != nil {
		if s.Config.Launch.On == "local" {
			say("stopped; go on with: train sweep resume %s", dir)
			return nil
		}
		say("the workers go on without this process; look on again with: train sweep resume %s", dir)
		say("have them save and end with: train sweep cancel %s", dir)
		return nil
	}
	say("report  %s", s.Dir.Report())
	err = s.WriteBest(trials)
	if errors.Is(err, sweep.ErrNone) {
		return nil
	}
	if err == nil {
		say("best    %s, ready for: train run -c %[1]s", s.Dir.Best())
	}
	return err
}

// crew is who runs the sweep's trials.
func crew(s *sweep.Study) (sweep.Crew, error) {
	dir, l := string(s.Dir), s.Config.Launch
	if l.On == "local" {
		program, err := os.Executable()
		return sweep.Children([]string{program, "sweep", "worker", dir}, l.Env), err
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	from, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	job, err := jobIn(path, l, "sweep", "worker", dir, "--in", from)
	return sweep.Launched(launcherFor, job), err
}

// ofSweep is a command about the sweep of a directory.
func ofSweep(c *cobra.Command, do func(cmd *cobra.Command, s *sweep.Study) error) *cobra.Command {
	c.Args = takes(1, "a sweep's directory")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := sweep.Open(args[0], nil)
		if err != nil {
			return err
		}
		defer s.Close()
		return do(cmd, s)
	}
	return c
}

func sweepStatusCommand() *cobra.Command {
	return ofSweep(&cobra.Command{
		Use:     "status DIR",
		Short:   "Show the trials of a sweep",
		Example: `  train sweep status runs/demo-sweep`,
	}, func(cmd *cobra.Command, s *sweep.Study) error {
		trials, err := s.Journal()
		if err != nil {
			return err
		}
		fmt.Fprint(cmd.OutOrStdout(), s.Summary(trials))
		workers, err := s.Workers(cmd.Context(), launcherFor)
		if err != nil {
			return err
		}
		for _, line := range append(workers, s.Rows(trials)...) {
			fmt.Fprintln(cmd.OutOrStdout(), line)
		}
		return nil
	})
}

func sweepReportCommand() *cobra.Command {
	return ofSweep(&cobra.Command{
		Use:   "report DIR",
		Short: "Write a sweep's report: HTML, plots and the best trial's recipe",
		Long: `Write what is known of a sweep, under way or done: report.html, one file that needs nothing else; the same plots as PNG;
and best.yaml, the best trial's recipe.`,
		Example: `  train sweep report runs/demo-sweep`,
	}, func(_ *cobra.Command, s *sweep.Study) error {
		trials, err := s.Journal()
		if err != nil {
			return err
		}
		if err := s.WriteReport(trials); err != nil {
			return err
		}
		if err := s.WriteBest(trials); err != nil && !errors.Is(err, sweep.ErrNone) {
			return err
		}
		say("wrote %s", s.Dir.Report())
		return nil
	})
}

func sweepCancelCommand() *cobra.Command {
	return ofSweep(&cobra.Command{
		Use:   "cancel DIR",
		Short: "End a sweep's workers elsewhere; they save first",
		Long: `End the workers that a launcher has started for a sweep, also those that wait for their turn. The trials under way are
saved, and "train sweep resume" goes on with them.`,
		Example: `  train sweep cancel runs/demo-sweep`,
	}, func(cmd *cobra.Command, s *sweep.Study) error {
		return s.CancelWorkers(cmd.Context(), launcherFor)
	})
}

// sweepWorkerCommand is what the driver starts, on this machine or on others.
func sweepWorkerCommand() *cobra.Command {
	var in string
	var set int
	c := &cobra.Command{
		Use:     "worker DIR",
		Short:   "Run trials of a sweep until none is left to start",
		Example: `  train sweep worker runs/demo-sweep`,
		Hidden:  true,
		Args:    takes(1, "a sweep's directory"),
		RunE: func(_ *cobra.Command, args []string) error {
			if in != "" {
				if err := os.Chdir(in); err != nil {
					return fmt.Errorf("the directory that the sweep was started from: %w", err)
				}
			}
			return sweepWork(args[0], set)
		},
	}
	c.Flags().StringVar(&in, "in", "", "the directory where relative paths start")
	c.Flags().IntVar(&set, "set", 0, "the number under which the driver has submitted this worker")
	return c
}

// sweepWork runs trials of the sweep in a directory until none is left to start, or it is told to stop.
func sweepWork(dir string, set int) error {
	// As in a run: SIGUSR2 asks to be started again, whatever other signals come with it.
	noticed, forget := signal.NotifyContext(context.Background(), syscall.SIGUSR2)
	defer forget()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(noticed, cancel)
	s, err := sweep.Open(dir, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := s.Work(ctx, []string{program}, set); err != nil {
		return err
	}
	if noticed.Err() != nil {
		return errRequeue
	}
	return nil
}
