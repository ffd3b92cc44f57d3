package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/textstream"
	"github.com/longform-go/longform/internal/training"
)

// generated is what --json prints for a text.
type generated struct {
	Prompt       string  `json:"prompt"`
	Sample       *int    `json:"sample,omitempty"` // which of the prompt's texts, from 0, if it gets several
	Text         string  `json:"text"`
	TokenIDs     []int32 `json:"token_ids"` // new tokens only; those of a stop string, too
	FinishReason string  `json:"finish_reason"`
}

// wanted says which texts a prompt gets, besides what decoding knows.
type wanted struct {
	samples int      // of each prompt
	stop    []string // strings that end a text, and are no part of it
}

func (w wanted) check(o decoding.Options) error {
	switch {
	case w.samples < 1:
		return fmt.Errorf("--num-return-sequences is %d; it must be at least 1", w.samples)
	case w.samples > 1 && o.Beams.Number > 1:
		return errors.New("--num-return-sequences must be 1 with --num-beams; a search returns its best text")
	case w.samples > 1 && o.Sampling.Temperature == 0:
		return errors.New("--num-return-sequences must be 1 with --greedy, since all texts would be the same")
	case len(w.stop) > 0 && o.Beams.Number > 1:
		return errors.New("--stop can't be used with --num-beams")
	case slices.Contains(w.stop, ""):
		return errors.New("--stop is empty; give the text that ends what is written")
	}
	return nil
}

func generateCommand() *cobra.Command {
	var (
		flags  modelFlags
		prompt string
		file   string
		asJSON bool
		how    decodingFlags
		want   wanted
	)
	c := &cobra.Command{
		Use:   "generate --model DIR (--prompt TEXT | --prompts FILE.jsonl)",
		Short: "Write after prompts",
		Long: `Write after prompts: a text with --prompt, or one JSON object a line with --prompts. {"prompt": TEXT} is used as it
stands; {"input": TEXT} is put into LongForm's format for the model's family.

Tokens are drawn from the nucleus of probability 0.9, as the LongForm paper does, unless other flags say otherwise.`,
		Example: `  infer generate --model runs/demo --prompt "Write a short recipe for tomato soup. [EOI]"
  infer generate --model runs/demo --prompts data/demo/prompts.jsonl --greedy --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := how.options()
			if err != nil {
				return err
			}
			if err := want.check(options); err != nil {
				return err
			}
			prompts, err := readPrompts(prompt, file, cmd.Flags().Changed("prompt"))
			if err != nil {
				return err
			}
			m, err := flags.open()
			if err != nil {
				return err
			}
			defer m.close()
			texts, err := m.generate(prompts, options, want)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			for i, t := range texts {
				if asJSON {
					err = printer(out).Encode(t)
				} else {
					_, err = fmt.Fprintf(out, "%s\n%s\n", t.Prompt, t.Text)
					if i < len(texts)-1 {
						fmt.Fprintln(out)
					}
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	flags.add(c)
	f := c.Flags()
	f.StringVar(&prompt, "prompt", "", "text to continue, as it stands")
	f.StringVar(&file, "prompts", "", "JSONL file of prompts")
	how.add(f)
	f.StringArrayVar(&want.stop, "stop", nil, "end a text before this one; may be given several times")
	f.IntVar(&want.samples, "num-return-sequences", 1, "how many texts a prompt gets, each with its own random numbers")
	f.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return c
}

// readPrompts takes the one prompt of the command line or those of a file.
func readPrompts(prompt, file string, given bool) ([]data.Prompt, error) {
	switch {
	case given && file != "":
		return nil, errors.New("give either --prompt or --prompts, not both")
	case given:
		return []data.Prompt{{Text: prompt}}, nil
	case file == "":
		return nil, errors.New("no prompt given; give --prompt TEXT or --prompts FILE.jsonl")
	}
	return data.ReadPrompts(file)
}

func (m *model) generate(prompts []data.Prompt, o decoding.Options, want wanted) ([]generated, error) {
	format := training.FormatFor(m.source.Config)
	texts := make([]string, len(prompts))
	for i, p := range prompts {
		texts[i] = p.Text
		if p.Instruction {
			texts[i] = format.Prompt(p.Text)
		}
	}
	g := decoding.New(m.device, m.parameters)
	defer g.Close()
	var rows [][]int32
	for i, ids := range m.tokenizer.EncodeAll(texts, true) {
		if err := g.CheckPrompt(fmt.Sprintf("prompt %d", i), ids); err != nil { // by its own number, not its row's
			return nil, err
		}
		rows = append(rows, slices.Repeat([][]int32{ids}, want.samples)...)
	}
	o.EOS = m.source.EOS()
	var streams []*textstream.Stream // of each row; none without stop strings
	shown := make([]strings.Builder, len(rows))
	if len(want.stop) > 0 {
		for range rows {
			streams = append(streams, textstream.New(m.tokenizer, want.stop))
		}
		o.Watch = func(row int, ids []int32) bool {
			text, stopped := streams[row].Add(ids)
			shown[row].WriteString(text)
			return stopped
		}
	}
	written, err := g.Generate(rows, o)
	if err != nil {
		return nil, err
	}
	out := make([]generated, len(written))
	for i, w := range written {
		out[i] = generated{Prompt: texts[i/want.samples], TokenIDs: w.IDs, FinishReason: w.FinishReason}
		if want.samples > 1 {
			out[i].Sample = new(i % want.samples)
		}
		if streams == nil {
			out[i].Text = m.tokenizer.Decode(w.IDs, true)
			continue
		}
		out[i].Text = shown[i].String() + streams[i].Rest()
		out[i].TokenIDs = w.IDs[:streams[i].Tokens()] // others may have come in the same call
	}
	return out, nil
}

// decodingFlags say how to write.
type decodingFlags struct {
	greedy bool
	given  decoding.Options
}

// options checks the flags.
func (d *decodingFlags) options() (decoding.Options, error) {
	o := d.given
	if d.greedy {
		o.Sampling.Temperature = 0
	}
	return o, o.Check()
}

func (d *decodingFlags) add(f *pflag.FlagSet) {
	o := &d.given
	f.BoolVar(&d.greedy, "greedy", false, "always take the most likely token")
	f.IntVar(&o.MaxNewTokens, "max-new-tokens", 256, "most tokens to write")
	f.IntVar(&o.MinNewTokens, "min-new-tokens", 0, "how many tokens to write before the text may end")
	s, p := &o.Sampling, &o.Penalties
	f.Float64Var(&s.Temperature, "temperature", 1, "divides the logits; lower is more predictable")
	f.IntVar(&s.TopK, "top-k", 0, "draw from the k most likely tokens; 0 from all")
	f.Float64Var(&s.TopP, "top-p", 0.9, "draw from the most likely tokens that reach this probability together")
	f.Float64Var(&s.MinP, "min-p", 0, "draw from the tokens with at least this share of the most likely one's probability")
	f.Float64Var(&s.TypicalP, "typical-p", 1, "draw from the tokens of most typical information that reach this probability together")
	f.Uint64Var(&s.Seed, "seed", 0, "seed of the random numbers")
	f.Float64Var(&p.Repetition, "repetition-penalty", 1, "above 1, makes tokens of the prompt and the text less likely")
	f.Float64Var(&p.Presence, "presence-penalty", 0, "subtracted from the logits of tokens that were written")
	f.Float64Var(&p.Frequency, "frequency-penalty", 0, "the same, as often as they were written")
	b := &o.Beams
	f.IntVar(&b.Number, "num-beams", 1, "search for the likeliest text with so many under way; with --greedy")
	f.Float64Var(&b.LengthPenalty, "length-penalty", 1, "of a search: above 0 for longer texts, below 0 for shorter ones")
	f.StringVar((*string)(&b.EarlyStopping), "early-stopping", "false", "of a search: true ends it with as many texts as beams; never, when no better one is possible")
	f.IntVar(&p.NoRepeatNGram, "no-repeat-ngram-size", 0, "never write so many tokens in a row twice; 0 allows it")
}
