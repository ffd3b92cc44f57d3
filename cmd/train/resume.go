package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/training"
)

func resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume DIR [key=value ...]",
		Short: "Continue a run from its last good checkpoint",
		Long: `Continue a run from its last good checkpoint, bit for bit as if it had never stopped.

Settings that decide what is computed can't be changed on the way; run.steps, checkpoint.every and the like can.`,
		Example: `  train resume runs/demo
  train resume runs/demo run.steps=300`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no run given; give its directory, for example: train resume runs/demo")
			}
			dir, err := rundir.Open(args[0])
			if err != nil {
				return err
			}
			config, err := configs.Load(dir.Config(), args[1:])
			if err != nil {
				return err
			}
			return stoppable(resume(dir, config))
		},
	}
}

func resume(dir rundir.Dir, config configs.Config) error {
	unlock, err := checkpoint.Lock(string(dir))
	if err != nil {
		return err
	}
	defer unlock()
	return inRun(dir, config, func(s *training.Setup, d *device.Device) (*training.Run, error) {
		from, manifest, skipped, err := checkpoint.Last(string(dir))
		for _, s := range skipped {
			say("passed over: %v", s)
		}
		if err != nil {
			return nil, err
		}
		run, err := training.Resume(s, d, dir, from, manifest)
		if err == nil {
			say("resume  %s", from)
		}
		return run, err
	})
}
