package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/internal/gguf"
	"github.com/longform-go/longform/internal/modelcard"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/models"
)

// exportFlags say what is written and as what.
type exportFlags struct {
	gguf, plus, minus string
	scores            []string
}

func exportCommand() *cobra.Command {
	var flags exportFlags
	c := &cobra.Command{
		Use:   "export MODEL DIR",
		Short: "Write a run's model as one Hugging Face directory, adapters merged",
		Long: `Write a model as one directory that from_pretrained opens. MODEL is a run's directory, one of its checkpoints, a PEFT
adapter or a GGUF file; adapters are merged into the weights of their base model. DIR must not exist. Its README.md is a model
card for the hub: data, recipe, metrics and use, as far as the run's directory tells them. With --scores OUT/scores.json, once for
each test set, it has what infer evaluate measured of MODEL's texts, too.

With --gguf, a LLaMA is written as one file for llama.cpp instead, DIR being the file's name and the flag its format: f32, f16,
bf16, q8_0 or q4_0.

With --add-diff BASE, MODEL is a weight difference and what is written the sum of both, in float32. With --subtract BASE, the
difference of MODEL to BASE is written. BASE may have a smaller vocabulary: rows of the embedding that it hasn't got count as
zero. A difference without a tokenizer gets BASE's, with the token [EOI] where it has one row more, as LongForm-LLaMA-7B-diff
has.`,
		Example: `  train export runs/demo demo-model
  train export runs/demo demo-model --scores runs/demo-scores/scores.json
  train export --gguf q8_0 runs/demo demo.gguf
  train export --add-diff llama-7b LongForm-LLaMA-7B-diff longform-llama-7b
  train export --subtract llama-7b runs/longform-llama-7b longform-llama-7b-diff`,
		Args: takes(2, "a model and a directory"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := flags.export(args[0], args[1]); err != nil {
				return err
			}
			say("wrote %s", args[1])
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&flags.gguf, "gguf", "", "write a GGUF file in this format")
	f.StringVar(&flags.plus, "add-diff", "", "the base that MODEL is a weight difference to")
	f.StringVar(&flags.minus, "subtract", "", "write the weight difference of MODEL to this base")
	f.StringArrayVar(&flags.scores, "scores", nil, "scores.json of an infer evaluate of MODEL, for the model card; may be given several times")
	c.MarkFlagsMutuallyExclusive("add-diff", "subtract")
	return c
}

func (f exportFlags) export(model, to string) (err error) {
	var format gguf.Type
	if f.gguf != "" {
		if format, err = gguf.ParseType(f.gguf); err != nil {
			return fmt.Errorf("--gguf: %w", err)
		}
		if f.minus != "" {
			return errors.New("--gguf is for models, not for weight differences; leave one of --gguf and --subtract out")
		}
	}
	if len(f.scores) > 0 && (f.gguf != "" || f.plus != "" || f.minus != "") {
		return errors.New("--scores is for the card of the model that was measured; leave out --scores, or --gguf, --add-diff and --subtract")
	}
	source, err := pretrained.Find(model)
	if err != nil {
		return err
	}
	defer source.Close()
	var extra pretrained.Extra
	for name, base := range map[string]**pretrained.Source{f.plus: &extra.Plus, f.minus: &extra.Minus} {
		if name == "" {
			continue
		}
		if *base, err = pretrained.Find(name); err != nil {
			return err
		}
		defer (*base).Close()
	}
	if f.gguf != "" {
		return source.ExportGGUF(to, format, extra)
	}
	if extra.Files, err = f.card(source, to); err != nil {
		return err
	}
	return source.Export(to, extra)
}

// card is the README.md of the exported directory. A directory's own goes with it, but not into sums and differences.
func (f exportFlags) card(source *pretrained.Source, to string) (map[string][]byte, error) {
	c := modelcard.Card{
		Name: filepath.Base(filepath.Clean(to)), Family: source.Config.Family(), EncoderDecoder: source.Config.EncoderDecoder(),
		Model: source.Name, Version: version,
	}
	for _, w := range models.Weights(source.Config.New()) {
		c.Parameters += int64(w.Size())
	}
	var err error
	if c.Run, err = modelcard.ReadRun(source.Name); err != nil {
		say("%s says nothing of the run: %v", modelcard.File, err)
	}
	for _, path := range f.scores {
		r, err := modelcard.ReadScores(path, source.Name)
		if err != nil {
			return nil, fmt.Errorf("--scores %w", err)
		}
		c.Scores = append(c.Scores, r)
	}
	switch {
	case f.plus != "":
		c.Made, c.Base, c.Run = modelcard.Added, f.plus, nil
	case f.minus != "":
		c.Made, c.Base = modelcard.Subtracted, f.minus
	case c.Run != nil:
		c.Made = modelcard.Trained
		if c.Run.Config.Model.Init == "pretrained" {
			c.Base = c.Run.Config.Model.Path
		}
	case source.Adapter != "":
		c.Made = modelcard.Merged
		if c.Base, err = source.Base(); err != nil {
			return nil, err
		}
	default:
		c.Made = modelcard.Copied
		if own, err := os.ReadFile(filepath.Join(source.Name, modelcard.File)); err == nil {
			if len(f.scores) > 0 {
				return nil, fmt.Errorf("--scores: %s has a %s of its own, which goes with it as it is; measure and export the run that it came from, or move the file away", source.Name, modelcard.File)
			}
			return map[string][]byte{modelcard.File: own}, nil
		}
	}
	text, err := c.Markdown()
	return map[string][]byte{modelcard.File: text}, err
}
