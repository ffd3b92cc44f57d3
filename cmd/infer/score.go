package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/evaluation"
)

// score is what --json prints for a record.
type score struct {
	Input   string  `json:"input"`
	Tokens  int     `json:"tokens"`   // targets counted
	MeanNLL float64 `json:"mean_nll"` // nats a target
}

func scoreCommand() *cobra.Command {
	var (
		flags  modelFlags
		file   string
		loss   string
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "score --model DIR --data FILE",
		Short: "Measure the likelihood of records",
		Long: `Measure the likelihood of records: for each the mean negative log-likelihood of its targets in LongForm's format for the
model's family. FILE is JSON, JSONL or Parquet.`,
		Example: "  infer score --model runs/demo --data data/demo/validation.jsonl --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if loss != data.LossAll && loss != data.LossOutput {
				return fmt.Errorf("--loss is %q; it is %s or %s", loss, data.LossAll, data.LossOutput)
			}
			if file == "" {
				return errors.New("no records given; give them with --data FILE")
			}
			records, err := data.ReadRecords(file, "train")
			if err != nil {
				return err
			}
			m, err := flags.open()
			if err != nil {
				return err
			}
			defer m.close()
			scores, err := m.score(records, loss)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				for _, s := range scores {
					if err := printer(out).Encode(s); err != nil {
						return err
					}
				}
				return nil
			}
			return printScores(out, scores)
		},
	}
	flags.add(c)
	c.Flags().StringVar(&file, "data", "", "records to score")
	c.Flags().StringVar(&loss, "loss", data.LossAll, "all tokens, or those of the output alone: all or output")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return c
}

// scoreRows is how many records are scored at once.
const scoreRows = 8

func (m *model) score(records []data.Record, loss string) ([]score, error) {
	format, err := m.source.Format()
	if err != nil {
		return nil, err
	}
	format.LossOn = loss
	format.MaxLength = m.source.Config.MaxLength()
	examples, report, err := data.Encode(m.tokenizer, format, records)
	if err != nil {
		return nil, err
	}
	if report.Truncated > 0 {
		fmt.Fprintf(os.Stderr, "%d of %d records cut to the %d tokens that the model reads, %d tokens lost\n", report.Truncated, report.Records, format.MaxLength, report.CutTokens)
	}
	scorer := evaluation.NewScorer(m.device, m.parameters.Spec)
	defer scorer.Close()
	likelihoods, err := scorer.Likelihoods(m.parameters.Values, examples, format, scoreRows)
	if err != nil {
		return nil, err
	}
	scores := make([]score, len(records))
	for i, l := range likelihoods {
		scores[i] = score{records[i].Input, l.Targets, l.NLL / float64(max(l.Targets, 1))}
	}
	return scores, nil
}

// printScores is the table for people, with the mean over all targets at the end.
func printScores(out io.Writer, scores []score) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "tokens\tmean nll\tperplexity\tinput\t")
	var sum float64
	var tokens int
	for _, s := range scores {
		input := []rune(s.Input)
		if len(input) > 50 {
			input = append(input[:49], '…')
		}
		fmt.Fprintf(w, "%d\t%.4f\t%.2f\t%q\t\n", s.Tokens, s.MeanNLL, math.Exp(s.MeanNLL), string(input))
		sum += s.MeanNLL * float64(s.Tokens)
		tokens += s.Tokens
	}
	mean := sum / float64(max(tokens, 1))
	fmt.Fprintf(w, "%d\t%.4f\t%.2f\tall\t\n", tokens, mean, math.Exp(mean))
	return w.Flush()
}
