package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/textstream"
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

Tokens are drawn from the nucleus of probability 0.9, as the LongForm paper does, unless other flags say otherwise. With --greedy
a single text is written faster where it repeats itself or its prompt: what followed before is guessed, and checked at once.`,
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
	format, err := m.source.Format()
	if err != nil {
		return nil, err
	}
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
