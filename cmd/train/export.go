package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/internal/gguf"
	"github.com/longform-go/longform/internal/pretrained"
)

func exportCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "export MODEL DIR",
		Short: "Write a run's model as one Hugging Face directory, adapters merged",
		Long: `Write a model as one directory that from_pretrained opens. MODEL is a run's directory, one of its checkpoints, or a
PEFT adapter; adapters are merged into the weights of their base model. DIR must not exist.

With --gguf, a LLaMA is written as one file for llama.cpp instead, DIR being the file's name and the flag its format: f32, f16,
bf16, q8_0 or q4_0.`,
		Example: `  train export runs/demo demo-model
  train export --gguf q8_0 runs/demo demo.gguf`,
		Args: takes(2, "a model and a directory"),
		RunE: func(_ *cobra.Command, args []string) error {
			source, err := pretrained.Find(args[0])
			if err != nil {
				return err
			}
			defer source.Close()
			if format == "" {
				err = source.Export(args[1])
			} else if t, e := gguf.ParseType(format); e != nil {
				err = fmt.Errorf("--gguf: %w", e)
			} else {
				err = source.ExportGGUF(args[1], t)
			}
			if err != nil {
				return err
			}
			say("wrote %s", args[1])
			return nil
		},
	}
	c.Flags().StringVar(&format, "gguf", "", "write a GGUF file in this format")
	return c
}
