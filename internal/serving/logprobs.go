package serving

import (
	"strings"
	"unicode/utf8"

	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/textstream"
)

// token is one of a prompt or one that was written, or could have been, by its text. The texts of all are, one after another, the
// text that they are of, but for special tokens and parts of characters.
type token struct {
	text    string
	logProb float32
	first   bool // of a prompt, and so without a probability
	offset  int  // of characters of the text before it; within more than 32 byte tokens, some less
	top     []token
}

// teller gives tokens of one text, one after the other, their texts and where they are.
type teller struct {
	model   Model
	atStart bool               // of the text, where a tokenizer drops a space
	decoded *textstream.Stream // the tokens so far
	shown   int                // characters that it has shown
	length  int                // characters of the tokens so far
}

func newTeller(m Model, atStart bool) *teller {
	s := &teller{model: m, atStart: atStart}
	s.decode()
	return s
}

// decode begins to decode with the next token.
func (s *teller) decode() {
	s.decoded = textstream.New(s.model.Tokenizer, nil)
	if !s.atStart {
		s.decoded.GoOn(s.model.anchor)
	}
}

func (s *teller) tokens(all []decoding.LogProb) []token {
	out := make([]token, len(all))
	for i, t := range all {
		out[i] = token{text: s.text(t.ID), logProb: finite(t.LogProb), offset: s.length}
		for _, a := range t.Top {
			out[i].top = append(out[i].top, token{text: s.text(a.ID), logProb: finite(a.LogProb)})
		}
		s.goOn(t.ID)
	}
	return out
}

// goOn goes on to the next token. length never falls: the bytes of a character may make those before them unreadable for a while. A
// U+FFFD that was written counts only with what follows.
func (s *teller) goOn(id int32) {
	text, _ := s.decoded.Add([]int32{id})
	s.shown += utf8.RuneCountInString(text)
	s.length = max(s.length, s.shown+utf8.RuneCountInString(s.decoded.Waiting()))
	s.atStart = s.atStart && !textstream.Shown(s.model.Tokenizer, id)
}

// prompt gives those of a prompt, with the probabilities of all but the first. What follows goes on after text, which may spell special
// tokens out.
func (s *teller) prompt(ids []int32, others []decoding.LogProb, text string) []token {
	all := s.tokens(append([]decoding.LogProb{{ID: ids[0]}}, others...))
	all[0].first = true
	s.decode()
	s.shown = utf8.RuneCountInString(text)
	s.length = s.shown
	return all
}

// text is that of the next token. Where it begins the text, a tokenizer may drop its space.
func (s *teller) text(id int32) string {
	m := s.model
	if s.atStart {
		return m.Tokenizer.Decode([]int32{id}, false)
	}
	return strings.TrimPrefix(m.Tokenizer.Decode([]int32{m.anchor, id}, false), m.Tokenizer.Decode([]int32{m.anchor}, false))
}

// impossible is OpenAI's logarithm of a probability that is 0 or nearly so. JSON has no infinity.
const impossible = -9999

func finite(logProb float32) float32 {
	if !(logProb > impossible) {
		return impossible
	}
	return logProb
}

// completionLogProbs is how /v1/completions tells probabilities: lists with an element for each token.
type completionLogProbs struct {
	Tokens        []string             `json:"tokens"`
	TokenLogProbs []*float32           `json:"token_logprobs"`
	TopLogProbs   []map[string]float32 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"` // in characters
}

// newCompletionLogProbs is nil for a job without probabilities.
func newCompletionLogProbs(j job) *completionLogProbs {
	if j.logProbs < 0 {
		return nil
	}
	return &completionLogProbs{[]string{}, []*float32{}, []map[string]float32{}, []int{}}
}

// add does nothing where no probabilities are asked for.
func (l *completionLogProbs) add(tokens []token) {
	if l == nil {
		return
	}
	for _, t := range tokens {
		logProb, top := &t.logProb, map[string]float32{}
		if t.first {
			logProb, top = nil, nil
		}
		for _, a := range t.top {
			if _, likelier := top[a.text]; !likelier { // one of the same text
				top[a.text] = a.logProb
			}
		}
		l.Tokens = append(l.Tokens, t.text)
		l.TokenLogProbs = append(l.TokenLogProbs, logProb)
		l.TopLogProbs = append(l.TopLogProbs, top)
		l.TextOffset = append(l.TextOffset, t.offset)
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
	a := chatAlternative{Token: t.text, LogProb: t.logProb}
	if strings.ContainsRune(t.text, utf8.RuneError) {
		return a
	}
	a.Bytes = []int{}
	for _, b := range []byte(t.text) {
		a.Bytes = append(a.Bytes, int(b))
	}
	return a
}
