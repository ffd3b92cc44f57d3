package main

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/longform-go/longform/internal/decoding"
)

// decodingFlags say how to write.
type decodingFlags struct {
	greedy bool
	given  decoding.Options
}

// options checks the flags. What is 0 in decoding.Options wasn't asked for; here it was.
func (d *decodingFlags) options() (decoding.Options, error) {
	o := d.given
	switch {
	case o.Sampling.TopP == 0:
		return o, errors.New("--top-p is 0; it must be above 0 and at most 1")
	case o.Sampling.TypicalP == 0:
		return o, errors.New("--typical-p is 0; it must be above 0 and at most 1")
	case o.Penalties.Repetition == 0:
		return o, errors.New("--repetition-penalty is 0; it must be above 0, and 1 changes nothing")
	}
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
