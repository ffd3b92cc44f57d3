package serving

import (
	"strings"
	"unicode/utf8"

	"github.com/longform-go/longform/internal/decoding"
)

// token is one that was written, or could have been, by its text. The texts of those that were written are, one after another,
// the text that they are of, unless they have parts of characters.
type token struct {
	text    string
	logProb *float32 // nil for the first of a prompt
	top     []token
	special bool // and so not in the text
}

// tokens gives the texts of tokens; first says that they begin a text.
func (m Model) tokens(all []decoding.LogProb, first bool) []token {
	out := make([]token, len(all))
	for i, t := range all {
		out[i] = token{text: m.text(t.ID, first), logProb: finite(t.LogProb), special: m.special(t.ID)}
		for _, a := range t.Top {
			out[i].top = append(out[i].top, token{text: m.text(a.ID, first), logProb: finite(a.LogProb)})
		}
		first = first && out[i].special
	}
	return out
}

// promptTokens gives those of a prompt, of which the first has no probability.
func (m Model) promptTokens(ids []int32, others []decoding.LogProb) []token {
	all := m.tokens(append([]decoding.LogProb{{ID: ids[0]}}, others...), true)
	all[0].logProb = nil
	return all
}

// special says whether texts are shown without a token. A space is dropped only where it begins one.
func (m Model) special(id int32) bool { return m.Tokenizer.Decode([]int32{id, id}, true) == "" }

// text is that of a token within a text. Where it begins one, a tokenizer may drop its space.
func (m Model) text(id int32, first bool) string {
	if first {
		return m.Tokenizer.Decode([]int32{id}, false)
	}
	return strings.TrimPrefix(m.Tokenizer.Decode([]int32{m.anchor, id}, false), m.Tokenizer.Decode([]int32{m.anchor}, false))
}

// impossible is OpenAI's logarithm of a probability that is 0 or nearly so. JSON has no infinity.
const impossible = -9999

func finite(logProb float32) *float32 {
	if !(logProb > impossible) {
		return new(float32(impossible))
	}
	return &logProb
}

// completionLogProbs is how /v1/completions tells probabilities: lists with an element for each token.
type completionLogProbs struct {
	Tokens        []string             `json:"tokens"`
	TokenLogProbs []*float32           `json:"token_logprobs"`
	TopLogProbs   []map[string]float32 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"` // in characters
	length        int                  // of the text so far
}

// newCompletionLogProbs is of a text that has length characters already.
func newCompletionLogProbs(length int) *completionLogProbs {
	return &completionLogProbs{[]string{}, []*float32{}, []map[string]float32{}, []int{}, length}
}

// add does nothing where no probabilities are asked for.
func (l *completionLogProbs) add(tokens []token) {
	if l == nil {
		return
	}
	for _, t := range tokens {
		var top map[string]float32
		if t.logProb != nil {
			top = map[string]float32{}
		}
		for _, a := range t.top {
			top[a.text] = *a.logProb
		}
		l.Tokens = append(l.Tokens, t.text)
		l.TokenLogProbs = append(l.TokenLogProbs, t.logProb)
		l.TopLogProbs = append(l.TopLogProbs, top)
		l.TextOffset = append(l.TextOffset, l.length)
		if !t.special {
			l.length += utf8.RuneCountInString(t.text)
		}
	}
}

// chatLogProbs is how /v1/chat/completions tells them.
type chatLogProbs struct {
	Content []chatToken `json:"content"`
	Refusal *string     `json:"refusal"`
}

type chatToken struct {
	chatAlternative
	Top []chatAlternative `json:"top_logprobs"`
}

type chatAlternative struct {
	Token   string  `json:"token"`
	LogProb float32 `json:"logprob"`
	Bytes   []int   `json:"bytes"` // null for a part of a character
}

// newChatLogProbs is nil for a job without probabilities.
func newChatLogProbs(j job) *chatLogProbs {
	if j.logProbs < 0 {
		return nil
	}
	return &chatLogProbs{Content: []chatToken{}}
}

// add does nothing where none are asked for.
func (l *chatLogProbs) add(tokens []token) {
	if l == nil {
		return
	}
	for _, t := range tokens {
		c := chatToken{t.alternative(), []chatAlternative{}}
		for _, a := range t.top {
			c.Top = append(c.Top, a.alternative())
		}
		l.Content = append(l.Content, c)
	}
}

func (t token) alternative() chatAlternative {
	a := chatAlternative{Token: t.text, LogProb: *t.logProb}
	if strings.ContainsRune(t.text, utf8.RuneError) {
		return a
	}
	a.Bytes = []int{}
	for _, b := range []byte(t.text) {
		a.Bytes = append(a.Bytes, int(b))
	}
	return a
}
