package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/internal/decoding"
)

// benchFlags are what is measured.
type benchFlags struct {
	modelFlags
	random, asJSON           bool
	batches                  []int
	prompt, written, repeats int
	prompts                  string // a file
	noLookup                 bool
}

const noLookupUsage = "compute each token in a step of its own; otherwise, of a text that is written alone with its likeliest tokens, some are guessed by what was there before, and checked together"

// timing is what --json prints for a batch. Seconds and rates are of each repeat.
type timing struct {
	Batch             int       `json:"batch"`
	PromptTokens      int       `json:"prompt_tokens"`
	NewTokens         int       `json:"new_tokens"`
	CompileSeconds    float64   `json:"compile_seconds"` // how much longer the first time took
	FirstTokenSeconds []float64 `json:"first_token_seconds"`
	TokensPerSecond   []float64 `json:"tokens_per_second"`
	TokenIDs          []int32   `json:"token_ids"` // of the first text
}

func benchCommand() *cobra.Command {
	var flags benchFlags
	c := &cobra.Command{
		Use:   "bench --model DIR",
		Short: "Measure how fast a model writes",
		Long: `Measure how fast a model writes, without loading and compiling: the time to the first token, and from there the tokens a second
of all rows together. A batch is written to compile, and then each --repeats times, greedily, every text to its full length.

Prompts are numbers, the same in every program that is compared (bench/generate.py): token j of prompt i of a vocabulary of V is
V/4 + (7919 i + 31 j) mod V/2. What follows them repeats itself more than a text does, which a single row is written faster for:
see --no-lookup. Those of --prompts are all written, as many at once as --batch says. With --random, the model's weights are drawn
and only its config.json is read.`,
		Example: `  infer bench --model runs/demo --batch 1,8 --prompt-tokens 32 --new-tokens 128`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			m, err := flags.open()
			if err != nil {
				return err
			}
			defer m.close()
			return flags.measure(m, cmd.OutOrStdout())
		},
	}
	flags.add(c)
	f := c.Flags()
	f.BoolVar(&flags.random, "random", false, "draw the weights, for which DIR need hold only a config.json")
	f.IntSliceVar(&flags.batches, "batch", []int{1, 8, 64}, "rows written at once")
	f.IntVar(&flags.prompt, "prompt-tokens", 128, "tokens of each prompt")
	f.IntVar(&flags.written, "new-tokens", 128, "tokens of each text")
	f.StringVar(&flags.prompts, "prompts", "", "JSON file of prompts instead: a list of lists of token ids")
	f.BoolVar(&flags.noLookup, "no-lookup", false, noLookupUsage)
	f.IntVar(&flags.repeats, "repeats", 3, "how often each batch is measured")
	f.BoolVar(&flags.asJSON, "json", false, "print one JSON object a line")
	return c
}

func (f *benchFlags) check() error {
	if _, err := f.dtype(); err != nil {
		return err
	}
	switch {
	case f.prompt < 1:
		return fmt.Errorf("--prompt-tokens is %d; it must be at least 1", f.prompt)
	case f.repeats < 1:
		return fmt.Errorf("--repeats is %d; it must be at least 1", f.repeats)
	case f.written < 2:
		return fmt.Errorf("--new-tokens is %d; it must be at least 2, the first and what follows it", f.written)
	case len(f.batches) == 0:
		return errors.New("--batch is empty; give the rows to write at once, such as 1,8")
	}
	for _, rows := range f.batches {
		if rows < 1 {
			return fmt.Errorf("--batch has %d; it must be at least 1", rows)
		}
	}
	return nil
}

// open loads the weights; a tokenizer isn't needed.
func (f *benchFlags) open() (*model, error) {
	source, err := findModel(f.path)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	if longest := source.Config.MaxLength(); longest > 0 && !source.Config.EncoderDecoder() && f.prompt+f.written > longest {
		return nil, fmt.Errorf("--prompt-tokens and --new-tokens are %d together; %s has positions for %d", f.prompt+f.written, f.path, longest)
	}
	return f.place(source, f.random)
}

func (f *benchFlags) measure(m *model, out io.Writer) error {
	g := decoding.New(m.device, m.parameters)
	g.NoLookup = f.noLookup
	defer g.Close()
	given, err := f.given(m.source.Config.Vocabulary())
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	if !f.asJSON {
		fmt.Fprintln(w, "batch\tfirst token\ttokens/s\tcompiling\t")
	}
	for _, rows := range f.batches {
		prompts := given
		if f.prompts == "" {
			prompts = f.numbers(rows, m.source.Config.Vocabulary())
		}
		t, err := f.time(g, slices.Collect(slices.Chunk(prompts, rows)))
		if err != nil {
			return err
		}
		if f.asJSON {
			err = printer(out).Encode(t)
		} else {
			_, err = fmt.Fprintf(w, "%d\t%.3f s\t%.1f\t%.1f s\t\n", rows, median(t.FirstTokenSeconds), median(t.TokensPerSecond), t.CompileSeconds)
		}
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// given are the prompts of --prompts, which fill batches of every size; none without it.
func (f *benchFlags) given(vocabulary int) ([][]int32, error) {
	if f.prompts == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(f.prompts)
	if err != nil {
		return nil, err
	}
	var all [][]int32
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("%s: %w; it must be a list of lists of token ids", f.prompts, err)
	}
	for _, rows := range f.batches {
		if len(all) == 0 || len(all)%rows > 0 {
			return nil, fmt.Errorf("%s has %d prompts, which aren't batches of %d", f.prompts, len(all), rows)
		}
	}
	for i, ids := range all {
		if len(ids) != f.prompt {
			return nil, fmt.Errorf("%s: prompt %d has %d tokens, not %d; say how many all have with --prompt-tokens", f.prompts, i, len(ids), f.prompt)
		}
		for _, id := range ids {
			if id < 0 || int(id) >= vocabulary {
				return nil, fmt.Errorf("%s: prompt %d has token %d; the model's are 0 to %d", f.prompts, i, id, vocabulary-1)
			}
		}
	}
	return all, nil
}

func (f *benchFlags) numbers(rows, vocabulary int) [][]int32 {
	all := make([][]int32, rows)
	for i := range all {
		for j := range f.prompt {
			all[i] = append(all[i], int32(vocabulary/4+(7919*i+31*j)%(vocabulary/2)))
		}
	}
	return all
}

// time writes the first of batches once to compile, and then all to be measured.
func (f *benchFlags) time(g *decoding.Generator, batches [][][]int32) (timing, error) {
	t := timing{Batch: len(batches[0]), PromptTokens: f.prompt, NewTokens: f.written}
	compiled, err := f.write(g, batches[0])
	if err != nil {
		return t, err
	}
	t.TokenIDs = compiled.ids
	var whole []float64
	for senseless := 0; len(whole) < f.repeats; {
		var all run
		for _, prompts := range batches {
			one, err := f.write(g, prompts)
			if err != nil {
				return t, err
			}
			all.first, all.both = all.first+one.first, all.both+one.both
		}
		rest := all.both - 2*all.first // from the first token on
		if rest <= 0 {                 // something else held up the first token for longer than all others take
			if senseless++; senseless > 10*f.repeats {
				return t, errors.New("the machine is too busy to measure so short a text; give a larger --new-tokens")
			}
			continue
		}
		n := float64(len(batches))
		whole = append(whole, all.both.Seconds()/n)
		t.FirstTokenSeconds = append(t.FirstTokenSeconds, all.first.Seconds()/n)
		t.TokensPerSecond = append(t.TokensPerSecond, n*float64(t.Batch*(f.written-1))/rest.Seconds())
	}
	t.CompileSeconds = max(0, compiled.both.Seconds()-median(whole))
	return t, nil
}

// run is how long the first tokens of a batch take, and both these and, anew, the whole texts.
type run struct {
	first, both time.Duration
	ids         []int32 // of the first text
}

func (f *benchFlags) write(g *decoding.Generator, prompts [][]int32) (run, error) {
	begun := time.Now()
	// Nobody watches the whole text: that would be in shorter calls.
	o := decoding.Options{MaxNewTokens: f.written, Watch: func(int, []int32) (stop bool) { return true }}
	if _, err := g.Generate(prompts, o); err != nil {
		return run{}, err
	}
	first := time.Since(begun)
	o.Watch = nil
	texts, err := g.Generate(prompts, o)
	if err != nil {
		return run{}, err
	}
	return run{first, time.Since(begun), texts[0].IDs}, nil
}

func median(of []float64) float64 {
	of = slices.Sorted(slices.Values(of))
	return (of[(len(of)-1)/2] + of[len(of)/2]) / 2
}
