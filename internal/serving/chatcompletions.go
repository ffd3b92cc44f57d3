package serving

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/longform-go/longform/internal/chat"
)

type chatRequest struct {
	parameters
	Messages            messages `json:"messages"`
	MaxCompletionTokens *int     `json:"max_completion_tokens"`
	LogProbs            *bool    `json:"logprobs"`
	TopLogProbs         *int     `json:"top_logprobs"`

	Metadata          ignored `json:"metadata"`
	Store             ignored `json:"store"`
	Verbosity         ignored `json:"verbosity"`
	Tools             ignored `json:"tools" only:"[]"`
	ToolChoice        ignored `json:"tool_choice" only:"\"none\"|\"auto\""`
	ParallelToolCalls ignored `json:"parallel_tool_calls"` // means nothing without tools
	Functions         ignored `json:"functions" only:"[]"`
	FunctionCall      ignored `json:"function_call" only:"\"none\"|\"auto\""`
	ResponseFormat    ignored `json:"response_format" only:"{\"type\":\"text\"}"`
	Modalities        ignored `json:"modalities" only:"[\"text\"]"`
	Audio             ignored `json:"audio" only:"null"`
	Prediction        ignored `json:"prediction" only:"null"`
	ReasoningEffort   ignored `json:"reasoning_effort" only:"\"none\""`
	WebSearchOptions  ignored `json:"web_search_options" only:"null"`

	AddGenerationPrompt ignored `json:"add_generation_prompt" only:"true"`
	ChatTemplateKwargs  ignored `json:"chat_template_kwargs" only:"{}"`
}

// messages are checked as they are read, so that an error names the one that is wrong.
type messages []chat.Message

func (messages) describe() string { return "a list of messages" }

// UnmarshalJSON takes messages whose content is a text or a list of them.
func (m *messages) UnmarshalJSON(raw []byte) error {
	var all []json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return err
	}
	for i, one := range all {
		var in struct {
			Role      *string `json:"role"`
			Content   content `json:"content"`
			Name      *string `json:"name"`
			Refusal   ignored `json:"refusal" only:"null"`
			Audio     ignored `json:"audio" only:"null"`
			ToolCalls ignored `json:"tool_calls" only:"[]"`

			FunctionCall ignored `json:"function_call" only:"null"`
			Prefix       ignored `json:"prefix" only:"false"` // others' ways to ask for the rest of an answer
			Partial      ignored `json:"partial" only:"false"`
			Others       ignored `json:"*"` // what clients send back with an answer
		}
		at := fmt.Sprintf("messages[%d].", i)
		if err := decode(one, &in, at); err != nil {
			return err
		}
		switch {
		case in.Role == nil || !slices.Contains([]string{"system", "developer", "user", "assistant"}, *in.Role):
			return wrong(at+"role", "%srole must be system, developer, user or assistant", at)
		case in.Content.text == nil:
			return wrong(at+"content", "%scontent must be %s", at, in.Content.describe())
		case *in.Role == "developer":
			*in.Role = "system" // its name before
		}
		*m = append(*m, chat.Message{Role: *in.Role, Content: *in.Content.text})
	}
	return nil
}

type content struct{ text *string }

func (content) describe() string {
	return `a string or a list of {"type": "text", "text": TEXT}: this model reads text only`
}

// UnmarshalJSON joins the parts of a text.
func (c *content) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, &c.text) == nil {
		return nil
	}
	var parts []struct {
		Type string
		Text *string
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	var all strings.Builder
	for _, p := range parts {
		if p.Type != "text" || p.Text == nil {
			return errors.New("not a text")
		}
		all.WriteString(*p.Text)
	}
	c.text = new(all.String())
	return nil
}

type chatChoice struct {
	Index        int           `json:"index"`
	Message      *chatMessage  `json:"message,omitempty"` // of a whole answer
	Delta        *chatDelta    `json:"delta,omitempty"`   // of a chunk
	LogProbs     *chatLogProbs `json:"logprobs"`
	FinishReason *string       `json:"finish_reason"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type chatDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

func (s *Server) chatCompletions(w http.ResponseWriter, r *http.Request, body []byte) error {
	var in chatRequest
	j, err := s.understand(r.Context(), body, &in, func() (job, error) { return s.chatJob(&in) })
	if err != nil {
		return err
	}
	answer := newAnswer[chatChoice](s, "chatcmpl-", "chat.completion")
	if in.streams() {
		answer.Object += ".chunk"
		return s.streamChat(r.Context(), newEvents(w), &in, j, answer)
	}
	choices, texts := make([]chatChoice, j.n), make([]strings.Builder, j.n)
	for i := range choices {
		choices[i] = chatChoice{Index: i, LogProbs: newChatLogProbs(j)}
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
		choices[i].Message = &chatMessage{Role: "assistant", Content: texts[i].String()}
	}
	answer.Choices, answer.Usage = choices, u
	sendJSON(w, http.StatusOK, answer)
	return nil
}

// streamChat sends a chunk with the role of each text, chunks with what is written, and one with the reason why it ended.
func (s *Server) streamChat(ctx context.Context, out *events, in *chatRequest, j job, answer answer[chatChoice]) error {
	begun := make([]bool, j.n)
	u, err := s.write(ctx, j, out.wait, func(a increment) error {
		var chunks []chatChoice
		if !begun[a.index] {
			begun[a.index] = true
			chunks = append(chunks, chatChoice{Delta: &chatDelta{Role: "assistant", Content: new("")}})
		}
		if a.text != "" || len(a.logProbs) > 0 {
			c := chatChoice{Delta: &chatDelta{Content: &a.text}, LogProbs: newChatLogProbs(j)}
			c.LogProbs.add(a.logProbs)
			chunks = append(chunks, c)
		}
		if a.finish != "" {
			chunks = append(chunks, chatChoice{Delta: &chatDelta{}, FinishReason: &a.finish})
		}
		for _, c := range chunks {
			c.Index = a.index
			answer.Choices, answer.Usage = []chatChoice{c}, in.chunkUsage(a.usage)
			if err := out.send(answer); err != nil {
				return err
			}
		}
		return nil
	})
	return answer.endStream(out, &in.parameters, u, err)
}

// chatJob checks a request and says what to write.
func (s *Server) chatJob(in *chatRequest) (job, error) {
	limit := "max_tokens"
	if in.MaxCompletionTokens != nil { // which is its name now
		in.MaxTokens, limit = in.MaxCompletionTokens, "max_completion_tokens"
	}
	o, n, err := in.options(s.config.Model, limit)
	if err != nil {
		return job{}, err
	}
	var c checker
	j := job{param: "messages", n: n, options: o, endless: in.ignoresEOS(), stop: in.Stop, logProbs: -1}
	if in.LogProbs != nil && *in.LogProbs {
		j.logProbs = number(&c, "top_logprobs", in.TopLogProbs, 0, 0, 20)
	} else if in.TopLogProbs != nil && *in.TopLogProbs != 0 {
		c.fail("top_logprobs", "is given without \"logprobs\": true")
	}
	switch {
	case c.err != nil:
		return job{}, c.err
	case len(in.Messages) == 0:
		return job{}, wrong("messages", "no messages given; give a list of at least one")
	case s.config.Model.Chat == nil:
		return job{}, refuse(http.StatusBadRequest, "no_chat_template", "model %s has no chat template that can be used; use /v1/completions", s.config.Model.Name)
	}
	if err := s.checkNumber(1, n); err != nil {
		return job{}, err
	}
	prompt, err := s.config.Model.Chat.Prompt(s.config.Model.Tokenizer, in.Messages)
	if err != nil {
		return job{}, wrong("messages", "%v", err)
	}
	j.prompts = [][]int32{prompt}
	return j, nil
}
