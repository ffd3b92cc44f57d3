package serving

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"

	"github.com/longform-go/longform/internal/decoding"
)

// parameters are those that /v1/completions and /v1/chat/completions share: OpenAI's, and what servers of open models have
// added to them, from top_k on.
type parameters struct {
	Model            *string        `json:"model"`
	N                *int           `json:"n"`
	Temperature      *float64       `json:"temperature"`
	TopP             *float64       `json:"top_p"`
	PresencePenalty  *float64       `json:"presence_penalty"`
	FrequencyPenalty *float64       `json:"frequency_penalty"`
	Seed             *int64         `json:"seed"`
	Stop             stopStrings    `json:"stop"`
	Stream           *bool          `json:"stream"`
	StreamOptions    *streamOptions `json:"stream_options"`
	MaxTokens        *int           `json:"max_tokens"`
	LogitBias        ignored        `json:"logit_bias" only:"{}"`
	User             *string        `json:"user"` // only told apart by OpenAI

	TopK              *int     `json:"top_k"`
	MinP              *float64 `json:"min_p"`
	TypicalP          *float64 `json:"typical_p"`
	RepetitionPenalty *float64 `json:"repetition_penalty"`
	MinTokens         *int     `json:"min_tokens"`
	IgnoreEOS         *bool    `json:"ignore_eos"` // write max_tokens tokens and no end token

	PromptCacheKey       ignored `json:"prompt_cache_key"` // prompts are kept anyhow
	PromptCacheRetention ignored `json:"prompt_cache_retention"`
	CachePrompt          ignored `json:"cache_prompt"`
	SafetyIdentifier     ignored `json:"safety_identifier"`
	ServiceTier          ignored `json:"service_tier"`
	SkipSpecialTokens    ignored `json:"skip_special_tokens" only:"true"`
	SpacesBetweenSpecial ignored `json:"spaces_between_special_tokens" only:"true"`
	IncludeStop          ignored `json:"include_stop_str_in_output" only:"false"`
	UseBeamSearch        ignored `json:"use_beam_search" only:"false"`
	LengthPenalty        ignored `json:"length_penalty" only:"1|1.0"`
	StopTokenIDs         ignored `json:"stop_token_ids" only:"[]"`
}

// stopStrings are given as one string or as a list.
type stopStrings []string

// maxStops is more than OpenAI's 4, with which some clients don't make do.
const maxStops = 16

func (stopStrings) describe() string {
	return fmt.Sprintf("a string or a list of up to %d strings, none of them empty", maxStops)
}

// UnmarshalJSON takes both forms.
func (s *stopStrings) UnmarshalJSON(raw []byte) error {
	var one *string
	if json.Unmarshal(raw, &one) == nil {
		if one != nil {
			*s = stopStrings{*one}
		}
	} else if err := json.Unmarshal(raw, (*[]string)(s)); err != nil {
		return err
	}
	if len(*s) > maxStops {
		return errors.New("too many")
	}
	for _, stop := range *s {
		if stop == "" {
			return errors.New("an empty one")
		}
	}
	return nil
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`          // a last chunk with the usage
	Continuous   bool `json:"continuous_usage_stats"` // and each chunk with the usage so far, as vLLM has it

	Obfuscation ignored `json:"include_obfuscation"` // chunks aren't padded
}

func (streamOptions) describe() string { return `an object with "include_usage", true or false` }

// UnmarshalJSON refuses other keys.
func (o *streamOptions) UnmarshalJSON(raw []byte) error {
	return decode(raw, (*streamFields)(o), "stream_options.")
}

type streamFields streamOptions

// maxN is OpenAI's limit of texts for a prompt.
const maxN = 128

// checker keeps the first error of several checks.
type checker struct{ err error }

func (c *checker) fail(param, format string, args ...any) {
	if c.err == nil {
		c.err = wrong(param, param+" "+format, args...)
	}
}

// number is a value or its default. It has to be from low to high, both included.
func number[T int | float64](c *checker, param string, value *T, otherwise, low, high T) T {
	if value == nil {
		return otherwise
	}
	if *value < low || *value > high {
		c.fail(param, "is %v; it must be from %v to %v", *value, low, high)
	}
	return *value
}

// share is a probability above 0.
func share(c *checker, param string, value *float64) float64 {
	x := number(c, param, value, 1, 0, 1)
	if x == 0 {
		c.fail(param, "is 0; it must be above 0 and at most 1")
	}
	return x
}

// options checks the parameters and says how to write. The client has called the most tokens of a text by the name limit.
func (p *parameters) options(m Model, limit string) (o decoding.Options, n int, err error) {
	switch {
	case p.Model == nil:
		return o, 0, wrong("model", "no model given; this server has %q", m.Name)
	case *p.Model != m.Name:
		return o, 0, unknownModel(*p.Model, m.Name)
	}
	var c checker
	n = number(&c, "n", p.N, 1, 1, maxN)
	if p.MaxTokens == nil || *p.MaxTokens != -1 { // no limit, as llama.cpp's server has it
		o.MaxNewTokens = number(&c, limit, p.MaxTokens, 0, 1, math.MaxInt32)
	}
	o.MinNewTokens = number(&c, "min_tokens", p.MinTokens, 0, 0, math.MaxInt32)
	o.Sampling = decoding.Sampling{
		Temperature: number(&c, "temperature", p.Temperature, 1, 0, 2),
		TopK:        max(0, number(&c, "top_k", p.TopK, 0, -1, math.MaxInt32)), // -1, too, is all
		TopP:        share(&c, "top_p", p.TopP),
		MinP:        number(&c, "min_p", p.MinP, 0, 0, 1),
		TypicalP:    share(&c, "typical_p", p.TypicalP),
		Seed:        rand.Uint64(),
	}
	if p.Seed != nil {
		o.Sampling.Seed = uint64(*p.Seed)
	}
	o.Penalties = decoding.Penalties{
		Presence:   number(&c, "presence_penalty", p.PresencePenalty, 0, -2, 2),
		Frequency:  number(&c, "frequency_penalty", p.FrequencyPenalty, 0, -2, 2),
		Repetition: number(&c, "repetition_penalty", p.RepetitionPenalty, 1, 0.01, 100),
	}
	o.EOS = m.EOS
	if p.StreamOptions != nil && !p.streams() {
		c.fail("stream_options", "is for streams; add \"stream\": true")
	}
	return o, n, c.err
}

func (p *parameters) ignoresEOS() bool { return p.IgnoreEOS != nil && *p.IgnoreEOS }

func (p *parameters) streams() bool { return p.Stream != nil && *p.Stream }

func (p *parameters) includesUsage() bool {
	return p.StreamOptions != nil && p.StreamOptions.IncludeUsage
}

// chunkUsage is the usage that a chunk tells: none, null, or what it is so far.
func (p *parameters) chunkUsage(so usage) any {
	switch {
	case !p.includesUsage():
		return nil
	case p.StreamOptions.Continuous:
		return so
	}
	return (*usage)(nil)
}

func unknownModel(name, known string) *apiError {
	e := refuse(http.StatusNotFound, "model_not_found", "no model %q; this server has %q", name, known)
	e.Param = new("model")
	return e
}
