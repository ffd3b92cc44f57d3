package serving

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

type completionRequest struct {
	parameters
	Prompt   prompts `json:"prompt"`
	Echo     *bool   `json:"echo"`
	LogProbs *int    `json:"logprobs"`
	BestOf   *int    `json:"best_of"`
	Suffix   ignored `json:"suffix" only:"\"\""`
}

// prompts are given as a text, several, a list of token ids, or several.
type prompts struct {
	texts []string
	ids   [][]int32
}

func (prompts) describe() string {
	return "a string, a list of strings, a list of token ids, or a list of such lists, and not empty"
}

// UnmarshalJSON takes all four forms.
func (p *prompts) UnmarshalJSON(raw []byte) error {
	var one string
	var ids []int32
	switch {
	case string(raw) == "null":
		return errors.New("none")
	case json.Unmarshal(raw, &one) == nil:
		p.texts = []string{one}
	case json.Unmarshal(raw, &p.texts) == nil && len(p.texts) > 0:
	case json.Unmarshal(raw, &ids) == nil && len(ids) > 0:
		p.texts, p.ids = nil, [][]int32{ids}
	case json.Unmarshal(raw, &p.ids) == nil && len(p.ids) > 0:
		p.texts = nil
	default:
		return errors.New("neither")
	}
	return nil
}

// encode gives the token ids of the prompts.
func (p *prompts) encode(m Model) ([][]int32, error) {
	for i, ids := range p.ids {
		for _, id := range ids {
			if id < 0 || int(id) >= m.Tokenizer.Size() {
				return nil, wrong("prompt", "prompt %d has the token id %d; the model's are from 0 to %d", i, id, m.Tokenizer.Size()-1)
			}
		}
	}
	if p.texts == nil {
		return p.ids, nil
	}
	return m.Tokenizer.EncodeAll(p.texts, true), nil
}

type completionChoice struct {
	Text         string              `json:"text"`
	Index        int                 `json:"index"`
	LogProbs     *completionLogProbs `json:"logprobs"`
	FinishReason *string             `json:"finish_reason"`
}

// defaultTokens is how long OpenAI lets a completion become that has no max_tokens.
const defaultTokens = 16

func (s *Server) completions(w http.ResponseWriter, r *http.Request, body []byte) error {
	var in completionRequest
	j, err := s.understand(r.Context(), body, &in, func() (job, error) { return s.completionJob(&in) })
	if err != nil {
		return err
	}
	answer := newAnswer[completionChoice](s, "cmpl-", "text_completion")
	if in.streams() {
		return s.streamCompletion(r.Context(), newEvents(w), &in, j, answer)
	}
	n := len(j.prompts) * j.n
	choices, texts := make([]completionChoice, n), make([]strings.Builder, n)
	for i := range choices {
		choices[i] = completionChoice{Index: i, LogProbs: newCompletionLogProbs(j)}
	}
	u, err := s.write(r.Context(), j, nil, func(a increment) error {
		c := &choices[a.index]
		c.LogProbs.add(a.logProbs)
		texts[a.index].WriteString(a.text)
		if a.finish != "" {
			c.FinishReason = &a.finish
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range choices {
		choices[i].Text = texts[i].String()
	}
	answer.Choices, answer.Usage = choices, u
	sendJSON(w, http.StatusOK, answer)
	return nil
}

func (s *Server) streamCompletion(ctx context.Context, out *events, in *completionRequest, j job, answer answer[completionChoice]) error {
	u, err := s.write(ctx, j, out.wait, func(a increment) error {
		c := completionChoice{Index: a.index, Text: a.text, LogProbs: newCompletionLogProbs(j)}
		c.LogProbs.add(a.logProbs)
		if a.finish != "" {
			c.FinishReason = &a.finish
		}
		answer.Choices, answer.Usage = []completionChoice{c}, in.chunkUsage(a.usage)
		return out.send(answer)
	})
	return answer.endStream(out, &in.parameters, u, err)
}

// completionJob checks a request and says what to write.
func (s *Server) completionJob(in *completionRequest) (job, error) {
	promptOnly := in.echoes() && in.MaxTokens != nil && *in.MaxTokens == 0
	if promptOnly {
		in.MaxTokens = new(1) // which comes with the prompt's probabilities, and isn't told
	}
	o, n, err := in.options(s.config.Model, "max_tokens")
	if err != nil {
		return job{}, err
	}
	if in.Prompt.texts == nil && in.Prompt.ids == nil {
		return job{}, wrong("prompt", "no prompt given; it must be %s", in.Prompt.describe())
	}
	var c checker
	logProbs := number(&c, "logprobs", in.LogProbs, -1, 0, 5)
	if in.BestOf != nil && *in.BestOf != n {
		c.fail("best_of", "is %d and n is %d; choosing among more texts than are wanted isn't supported", *in.BestOf, n)
	}
	if c.err != nil {
		return job{}, c.err
	}
	usual := defaultTokens
	if in.MaxTokens != nil {
		usual = 0
	}
	if err := s.checkNumber(max(len(in.Prompt.texts), len(in.Prompt.ids)), n); err != nil {
		return job{}, err
	}
	ids, err := in.Prompt.encode(s.config.Model)
	var echo []string
	for i := range ids {
		if in.echoes() {
			echo = append(echo, in.Prompt.text(i, s.config.Model))
		}
	}
	return job{
		prompts: ids, param: "prompt", n: n, options: o, usual: usual, endless: in.ignoresEOS(), stop: in.Stop,
		logProbs: logProbs, continues: !s.config.Model.EncoderDecoder, tellsEnd: true, echo: echo, promptOnly: promptOnly,
	}, err
}

// echoes says whether the text begins with its prompt.
func (in *completionRequest) echoes() bool { return in.Echo != nil && *in.Echo }

// text is what echo says of a prompt.
func (p *prompts) text(i int, m Model) string {
	if p.texts != nil {
		return p.texts[i]
	}
	return m.Tokenizer.Decode(p.ids[i], true)
}
