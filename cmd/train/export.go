package main

import (
	"github.com/spf13/cobra"

	"github.com/longform-go/longform/internal/pretrained"
)

func exportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export MODEL DIR",
		Short: "Write a run's model as one Hugging Face directory, adapters merged",
		Long: `Write a model as one directory that from_pretrained opens. MODEL is a run's directory, one of its checkpoints, or a
PEFT adapter; adapters are merged into the weights of their base model. DIR must not exist.`,
		Example: `  train export runs/demo demo-model`,
		Args:    takes(2, "a model and a directory"),
		RunE: func(_ *cobra.Command, args []string) error {
			source, err := pretrained.Find(args[0])
			if err != nil {
				return err
			}
			defer source.Close()
			if err := source.Export(args[1]); err != nil {
				return err
			}
			say("wrote %s", args[1])
			return nil
		},
	}
}
