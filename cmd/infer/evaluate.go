package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/testset"
	"github.com/longform-go/longform/internal/testset/tasks"
)

func evaluateCommand() *cobra.Command {
	var (
		models    []string
		shared    modelFlags // without a path
		file, out string
		taskName  string
		sample    int
		how       decodingFlags
	)
	c := &cobra.Command{
		Use:   "evaluate --model DIR [--model DIR ...] --data FILE --out DIR",
		Short: "Write the texts of a test set and score them",
		Long: `Write the texts of a test set and score them beside its references: METEOR, ROUGE, BLEU and chrF of the texts, the
perplexity of the references, and lengths, with bootstrap intervals; by source, where records name several; of several
models who wins, and how likely chance alone would make the difference. FILE is JSON, JSONL or Parquet with input and output,
or with --task a set of the LongForm paper as it is published; the figures published for it are printed beside this run's.
Of a directory or a dataset of the hub the test split is read, unless another is named, as in DIR:validation.

` + taskHelp() + `
OUT/MODEL/generations.jsonl gets each text as soon as it is written. After an interruption the same command goes on where
it stopped, to the same texts; once all are there, it only scores them. OUT/scores.json has all figures, and OUT/report.html
plots and examples besides; METEOR and ROUGE are in percent.

Inputs are put into LongForm's format for the model's family, and tokens are drawn from the nucleus of probability 0.9, as
the LongForm paper does, unless other flags say otherwise. An input that leaves too little of what the model reads for
--max-new-tokens loses its end, and is counted. METEOR needs what "make setup-metrics" fetches; without it, its label says
what is missing.`,
		Example: `  infer evaluate --model runs/demo --data data/demo/validation.jsonl --out runs/demo-scores
  infer evaluate --model runs/a --model runs/b --data akoksal/LongForm --task longform --out runs/a-and-b
  infer evaluate --model runs/a --data full_dataset.csv --task recipenlg --sample 1000 --out runs/recipes`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := how.options()
			if err != nil {
				return err
			}
			if _, err := shared.dtype(); err != nil {
				return err
			}
			names, err := directories(models)
			if err != nil {
				return err
			}
			switch {
			case file == "":
				return errors.New("no records given; give them with --data FILE")
			case sample < 0:
				return fmt.Errorf("--sample is %d; it must not be negative", sample)
			case out == "":
				return errors.New("no directory given for texts and scores; give one with --out DIR")
			}
			task, err := tasks.Find(taskName)
			if err != nil {
				return err
			}
			set, err := task.Read(file, sample)
			if err != nil {
				return err
			}
			note := func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }
			var missing []string // told with the scores, which come with the label of what there is
			scorer, err := testset.NewScorer(func(line string) { missing = append(missing, line) })
			if err != nil {
				return err
			}
			found := make([]testset.Model, len(models))
			for i, path := range models {
				source, err := findModel(path)
				if err != nil {
					return err
				}
				defer source.Close()
				found[i] = shared.measured(names[i], source)
			}
			written, err := testset.Write(out, found, set.Records, options, note)
			if err != nil {
				return err
			}
			for _, line := range missing {
				note(line)
			}
			report := scorer.Report(file, task, set, written)
			if err := report.Save(out); err != nil {
				return err
			}
			return report.Print(cmd.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringArrayVar(&models, "model", nil, modelHelp+"; several are compared")
	shared.addDevice(f)
	f.StringVar(&file, "data", "", "records of the test set")
	f.StringVar(&out, "out", "", "directory for texts and scores")
	f.StringVar(&taskName, "task", "", "which set of the LongForm paper FILE is")
	f.IntVar(&sample, "sample", 0, "as many of the records, drawn at random, the same ones every time; 0 takes all")
	how.add(f)
	return c
}

// directories are the last elements of the models' paths, by which their texts are told apart.
func directories(models []string) ([]string, error) {
	if len(models) == 0 {
		return nil, errors.New("no model given; give one with --model DIR")
	}
	names := make([]string, len(models))
	by := map[string]string{}
	for i, path := range models {
		names[i] = filepath.Base(path)
		if absolute, err := filepath.Abs(path); err == nil {
			names[i] = filepath.Base(absolute) // of "." and ".."
		}
		if other, ok := by[names[i]]; ok {
			return nil, fmt.Errorf("--model %s and --model %s would both be %s; give one by a link of another name", other, path, names[i])
		}
		by[names[i]] = path
	}
	return names, nil
}

// measured is a model as a test set has it write.
func (f *modelFlags) measured(name string, source *pretrained.Source) testset.Model {
	return testset.Model{
		Name: name, Source: source, Device: f.device, Precision: f.precision,
		Open: func() (*testset.Opened, error) {
			m, err := f.load(source)
			if err != nil {
				return nil, err
			}
			format, err := source.Format()
			if err != nil {
				m.close()
				return nil, err
			}
			return &testset.Opened{Tokenizer: m.tokenizer, Format: format, Device: m.device, Parameters: m.parameters, Close: m.close}, nil
		},
	}
}

// taskHelp has a line or two for each task.
func taskHelp() string {
	var b strings.Builder
	for _, t := range tasks.Named {
		fmt.Fprintf(&b, "  %-14s  %s\n%18s%s\n", t.Name, t.Files, "", t.Instructions)
	}
	return b.String()
}
