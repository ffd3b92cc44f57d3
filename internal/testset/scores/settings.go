package scores

import (
	"fmt"
	"strings"
)

// Settings are all that a model's texts come from. Those with a flag of infer evaluate have its name.
type Settings struct {
	Model              string  `json:"model"` // a run's checkpoint, so that training on isn't missed
	Adapter            string  `json:"adapter,omitempty"`
	Fingerprint        string  `json:"fingerprint"`  // of its files; see pretrained.Source
	EOS                []int   `json:"eos_token_id"` // ids that end a text
	Device             string  `json:"device"`       // others round otherwise
	Precision          string  `json:"precision"`
	Records            int     `json:"records"`
	SHA256             string  `json:"records_sha256"`
	MaxNewTokens       int     `json:"max_new_tokens"`
	MinNewTokens       int     `json:"min_new_tokens"`
	Temperature        float64 `json:"temperature"`
	TopK               int     `json:"top_k"`
	TopP               float64 `json:"top_p"`
	MinP               float64 `json:"min_p"`
	TypicalP           float64 `json:"typical_p"`
	Seed               uint64  `json:"seed"`
	RepetitionPenalty  float64 `json:"repetition_penalty"`
	PresencePenalty    float64 `json:"presence_penalty"`
	FrequencyPenalty   float64 `json:"frequency_penalty"`
	NoRepeatNGramSize  int     `json:"no_repeat_ngram_size"`
	Beams              int     `json:"num_beams"`
	LengthPenalty      float64 `json:"length_penalty"`
	BeamsEarlyStopping string  `json:"early_stopping"`
}

// Decoding says how tokens were chosen, leaving out what changes nothing; see decoding.Options for what does.
func (s Settings) Decoding() string {
	said := []string{fmt.Sprintf("at most %d tokens", s.MaxNewTokens)}
	say := func(matters bool, format string, args ...any) {
		if matters {
			said = append(said, fmt.Sprintf(format, args...))
		}
	}
	below1 := func(p float64) bool { return p > 0 && p < 1 }
	say(s.MinNewTokens > 0, "at least %d", s.MinNewTokens)
	switch {
	case s.Beams > 1:
		say(true, "found by a search with %d beams", s.Beams)
		say(s.LengthPenalty != 1, "length penalty %g", s.LengthPenalty)
		say(s.BeamsEarlyStopping != "false", "early stopping %s", s.BeamsEarlyStopping)
	case s.Temperature == 0:
		say(true, "the likeliest one each time")
	default:
		say(below1(s.TopP), "drawn from the nucleus of probability %g", s.TopP)
		say(!below1(s.TopP), "drawn by their probabilities")
		say(s.Temperature != 1, "temperature %g", s.Temperature)
		say(s.TopK > 0, "the %d likeliest alone", s.TopK)
		say(s.MinP > 0, "min-p %g", s.MinP)
		say(below1(s.TypicalP), "typical-p %g", s.TypicalP)
		say(true, "seed %d", s.Seed)
	}
	say(s.RepetitionPenalty != 0 && s.RepetitionPenalty != 1, "repetition penalty %g", s.RepetitionPenalty)
	say(s.PresencePenalty != 0, "presence penalty %g", s.PresencePenalty)
	say(s.FrequencyPenalty != 0, "frequency penalty %g", s.FrequencyPenalty)
	say(s.NoRepeatNGramSize > 0, "no %d tokens in a row twice", s.NoRepeatNGramSize)
	return strings.Join(said, ", ")
}
