package decoding

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Options say how to write.
type Options struct {
	// MaxNewTokens is the most tokens of a text, MinNewTokens how many it has before an end token may come.
	MaxNewTokens, MinNewTokens int
	EOS                        []int // ids that end a text
	Sampling                   Sampling
	Penalties                  Penalties
	Beams                      Beams
	LogProbs                   bool // to tell of each token, and of those that could have been, how likely it was
	// PromptLogProbs tells the same of the tokens of a prompt, all of which is read for that. It is for texts on a Board.
	PromptLogProbs bool
	// First is the number of the first prompt where the prompts are a part of more: each gets the text that it would get among
	// all of them.
	First int
	// Keep keeps what was read and written for the next prompt, which may begin with it. It is for one prompt at a time. What was
	// read in other pieces may be rounded otherwise.
	Keep bool
	// Watch, if set, gets the tokens of a text as they are written, some at a time, and says whether the text ends there.
	Watch func(prompt int, ids []int32) (stop bool)
}

// Sampling says how the next token is chosen, with the meaning that transformers gives to these settings. The zero value
// takes the most likely one.
type Sampling struct {
	// Temperature divides the logits; 0 means greedy.
	Temperature float64
	// TopK keeps the k most likely tokens (Fan et al., 2018); 0 keeps all.
	TopK int
	// TopP keeps the most likely tokens that together reach this probability (nucleus sampling; Holtzman et al., 2020);
	// 0 and 1 keep all.
	TopP float64
	// MinP keeps the tokens with at least this share of the most likely one's probability (Nguyen et al., 2024).
	MinP float64
	// TypicalP keeps the tokens whose information is nearest to the expected one, until they reach this probability
	// together (Meister et al., 2023); 0 and 1 keep all.
	TypicalP float64
	Seed     uint64
}

// Penalties change the logits before a token is chosen. The zero value changes nothing.
type Penalties struct {
	// Repetition divides the positive logits, and multiplies the negative ones, of tokens that were in the prompt or written
	// (Keskar et al., 2019); 0 and 1 change nothing. Of an encoder-decoder, only what was written counts.
	Repetition float64
	// Presence is subtracted from the logits of tokens that were written, and Frequency as often as they were, as in OpenAI's
	// interface.
	Presence, Frequency float64
	// NoRepeatNGram forbids tokens that would write this many in a row for the second time; 0 forbids none.
	NoRepeatNGram int
}

// Check names the first setting, by its flag, that has no meaning.
func (o Options) Check() error {
	s, p, b := o.Sampling, o.Penalties, o.Beams
	finite := func(x float64) bool { return math.Abs(x) <= math.MaxFloat32 } // as programs have numbers
	for _, c := range []struct {
		name  string
		value any
		ok    bool // false for NaN, too
		want  string
	}{
		{"max-new-tokens", o.MaxNewTokens, o.MaxNewTokens >= 1, "be at least 1"},
		{"min-new-tokens", o.MinNewTokens, o.MinNewTokens >= 0 && o.MinNewTokens <= o.MaxNewTokens, "not be negative, nor above --max-new-tokens"},
		{"temperature", s.Temperature, finite(s.Temperature) && s.Temperature >= 0, "be finite and not negative"},
		{"top-k", s.TopK, s.TopK >= 0, "not be negative"},
		{"top-p", s.TopP, s.TopP >= 0 && s.TopP <= 1, "be above 0 and at most 1"},
		{"min-p", s.MinP, s.MinP >= 0 && s.MinP <= 1, "be from 0 to 1"},
		{"typical-p", s.TypicalP, s.TypicalP >= 0 && s.TypicalP <= 1, "be above 0 and at most 1"},
		{"repetition-penalty", p.Repetition, finite(p.Repetition) && p.Repetition >= 0, "be finite and not negative"},
		{"presence-penalty", p.Presence, finite(p.Presence), "be finite"},
		{"frequency-penalty", p.Frequency, finite(p.Frequency), "be finite"},
		{"num-beams", b.Number, b.Number >= 0, "not be negative"},
		{"num-beams", b.Number, b.Number <= 1 || s.Temperature == 0, "be 1 where tokens are drawn; a search takes the likeliest: add --greedy"},
		{"num-beams", b.Number, b.Number <= 1 || o.Watch == nil && !o.LogProbs, "be 1 where a text is watched, or its probabilities are told"},
		{"length-penalty", b.LengthPenalty, finite(b.LengthPenalty), "be finite"},
		{"early-stopping", b.EarlyStopping, slices.Contains([]EarlyStopping{"", WhenUnlikely, WhenEnough, WhenImpossible}, b.EarlyStopping), "be false, true or never"},
		{"no-repeat-ngram-size", p.NoRepeatNGram, p.NoRepeatNGram >= 0, "not be negative"},
	} {
		if !c.ok {
			return fmt.Errorf("--%s is %v; it must %s", c.name, c.value, c.want)
		}
	}
	return nil
}

// features are what a program that chooses tokens can do. What it can costs time at each token, so that it can no more than
// its rows need.
type features struct {
	sample, topK, topP, minP, typical bool
	penalties, minimum                bool
	ngram                             int // which all rows share
	logProbs, lookUp                  bool
}

func (o Options) features() features {
	s, p := o.Sampling, o.Penalties
	sample := s.Temperature > 0
	return features{
		sample: sample, topK: sample && s.TopK > 0, topP: sample && below1(s.TopP), minP: sample && s.MinP > 0, typical: sample && below1(s.TypicalP),
		penalties: p.Repetition != 0 && p.Repetition != 1 || p.Presence != 0 || p.Frequency != 0,
		minimum:   o.MinNewTokens > 0, ngram: p.NoRepeatNGram, logProbs: o.LogProbs,
	}
}

// below1 tells shares that keep less than all.
func below1(share float64) bool { return share > 0 && share < 1 }

// with are the features of two texts together.
func (f features) with(other features) features {
	return features{
		sample: f.sample || other.sample, topK: f.topK || other.topK, topP: f.topP || other.topP, minP: f.minP || other.minP,
		typical: f.typical || other.typical, penalties: f.penalties || other.penalties, minimum: f.minimum || other.minimum,
		logProbs: f.logProbs || other.logProbs,
	}
}

// common is f with what texts that meet on a board may need besides, so that there are few programs: a minimum and a share of the
// likeliest token, which cost little, and of top-k and top-p both or none.
func (f features) common() features {
	f.minimum, f.minP = true, f.sample
	f.topK = f.topK || f.topP || f.typical
	f.topP = f.topK
	return f
}

// The settings of a row, as programs read them: columns of a float32 array.
const (
	temperature = iota
	topK
	topP
	minP
	typicalP
	repetition
	presence
	frequency
	minTokens
	maxTokens
	lengthPenalty
	settings // how many there are
)

// row is the settings of a text of at most limit tokens. Those that are off have the value that changes nothing.
func (o Options) row(limit int) []float32 {
	s, p := o.Sampling, o.Penalties
	or1 := func(x float64) float64 {
		if x == 0 {
			return 1
		}
		return x
	}
	k := float64(s.TopK)
	if k == 0 {
		k = 1 << 30
	}
	row := make([]float32, settings)
	for column, value := range [settings]float64{
		temperature: s.Temperature, topK: k, topP: or1(s.TopP), minP: s.MinP, typicalP: or1(s.TypicalP),
		repetition: or1(p.Repetition), presence: p.Presence, frequency: p.Frequency,
		minTokens: float64(o.MinNewTokens), maxTokens: float64(limit), lengthPenalty: o.Beams.LengthPenalty,
	} {
		row[column] = float32(value)
	}
	return row
}

// key is the random key of the text after a prompt, by its number.
func (s Sampling) key(prompt int) uint32 {
	return uint32(rand.NewPCG(s.Seed, uint64(prompt)).Uint64())
}
