package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
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
its own. FILE says what to vary; its keys can be overridden as key=value.

Ctrl-C saves the trials under way; "train sweep resume" goes on from there, as it does after a crash.`,
		Example: `  train sweep -c configs/sweeps/demo.yaml
  train sweep -c configs/sweeps/demo.yaml trials=20 parallel=2 dir=runs/sweep`,
		RunE: func(_ *cobra.Command, overrides []string) error {
			config, err := loadSweep(file, overrides)
			if err != nil {
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
	c.AddCommand(sweepPlanCommand(), sweepResumeCommand(), sweepStatusCommand(), sweepReportCommand(), sweepWorkerCommand())
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
		Long: `Go on with a sweep that was stopped or killed: trials under way resume from their last checkpoints. trials, parallel and
max_failures can be changed on the way.`,
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
	program, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process, and with it all others, at once
	if s.Config.Launch.On != "local" {
		say("launch.on is %s: start %d workers there, each with: train sweep worker %s", s.Config.Launch.On, s.Config.Parallel, dir)
	}
	view := sweep.NewTable(os.Stderr, term.IsTerminal(int(os.Stderr.Fd())))
	if err := s.Drive(ctx, []string{program, "sweep", "worker", dir}, view); err != nil {
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
		say("stopped; go on with: train sweep resume %s", dir)
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
		for _, line := range s.Rows(trials) {
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

// sweepWorkerCommand is what the driver starts, on this machine or on others.
func sweepWorkerCommand() *cobra.Command {
	return ofSweep(&cobra.Command{
		Use:     "worker DIR",
		Short:   "Run trials of a sweep until none is left to start",
		Example: `  train sweep worker runs/demo-sweep`,
		Hidden:  true,
	}, func(_ *cobra.Command, s *sweep.Study) error {
		program, err := os.Executable()
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop)
		return s.Work(ctx, []string{program})
	})
}
