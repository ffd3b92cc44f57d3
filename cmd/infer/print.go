package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

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
