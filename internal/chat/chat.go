// Package chat writes a conversation down as the one text that a model continues, by the template that comes with the model.
//
// Templates are Jinja, rendered by github.com/ardanlabs/jinja: the only maintained library in Go that is made for chat
// templates and tested against Python's Jinja on released ones, and it has no dependencies. Version 1.5.0 is the last for
// Go 1.26. White space around tags is dealt with here (see segments), and so is what a template may use up (see limits).
package chat

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ardanlabs/jinja"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/pretrained"
)

// Message is what one side says. The roles that templates know are system, user and assistant.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// ErrNoTemplate is found where a model has no chat template.
var ErrNoTemplate = errors.New("it has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json)")

// Template is a model's way to write a conversation down. It may be used by several goroutines at once.
type Template struct {
	jinja   *jinja.Template
	guard   string // what the template calls the function that keeps its limits
	limits  limits
	special map[string]jinja.Value

	format *data.Format // of a model without a template
}

// Find reads the template of a model: chat_template.jinja, or else chat_template of tokenizer_config.json, which is a
// template or a list of named ones, of which default is taken. GGUF files have theirs among the metadata.
func Find(source *pretrained.Source) (*Template, error) {
	text, special, err := read(source)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", source.Name, err)
	}
	t, err := New(text, special)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", source.Name, err)
	}
	return t, nil
}

// New prepares a template. The special tokens, bos_token and so on, have the names by which templates ask for them.
func New(text string, special map[string]string) (t *Template, err error) {
	defer recoverTo(&err)
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("the chat template has %d bytes; at most %d are read", len(text), maxTemplate)
	}
	t = &Template{guard: "_guard", limits: standardLimits, special: map[string]jinja.Value{}}
	for strings.Contains(text, t.guard) {
		t.guard += "_"
	}
	rewritten, err := rewrite(text, "{% if "+t.guard+"() %}{% endif %}")
	if err != nil {
		return nil, oneLine(err)
	}
	if t.jinja, err = jinja.Compile(rewritten); err != nil {
		return nil, oneLine(err)
	}
	for name, token := range special {
		t.special[name] = jinja.NewString(token)
	}
	return t, nil
}

// LongForm is for models without a template that were trained in LongForm's format, which has no conversations: it takes a
// single message of the user.
func LongForm(f data.Format) *Template { return &Template{format: &f} }

// SingleMessage says that conversations have to be of one message of the user.
func (t *Template) SingleMessage() bool { return t.format != nil }

// Render writes messages down; with generationPrompt, up to where the assistant begins.
func (t *Template) Render(messages []Message, generationPrompt bool) (text string, err error) {
	defer recoverTo(&err)
	if len(messages) == 0 {
		return "", errors.New("the conversation has no messages")
	}
	if t.format != nil {
		if len(messages) != 1 || messages[0].Role != "user" || !generationPrompt {
			return "", errors.New("the model has no chat template: it was trained on single instructions, so give one message of the user and no other")
		}
		return t.format.Prompt(messages[0].Content), nil
	}
	list := make([]jinja.Value, len(messages))
	for i, m := range messages {
		list[i] = jinja.NewDict()
		list[i].AsDict().Set("role", jinja.NewString(m.Role))
		list[i].AsDict().Set("content", jinja.NewString(m.Content))
	}
	values := map[string]jinja.Value{
		"messages": jinja.NewList(list), "add_generation_prompt": jinja.NewBool(generationPrompt),
		"tools": jinja.None(), "documents": jinja.None(),
		t.guard: jinja.NewCallable(t.guard, t.limits.guard()),
		"range": jinja.NewCallable("range", boundedRange),
	}
	for name, token := range t.special {
		values[name] = token
	}
	if text, err = t.jinja.RenderValues(values); err != nil {
		return "", oneLine(err)
	}
	return text, nil
}

// Prompt is what the model reads to go on as the assistant. The template writes the special tokens itself.
func (t *Template) Prompt(tok *data.Tokenizer, messages []Message) ([]int32, error) {
	text, err := t.Render(messages, true)
	if err != nil {
		return nil, err
	}
	return tok.Encode(text, t.format != nil), nil
}

// recoverTo makes an error of a template that drives the library into a panic.
func recoverTo(err *error) {
	if p := recover(); p != nil {
		*err = oneLine(fmt.Errorf("%v", p))
	}
}

func oneLine(err error) error {
	return fmt.Errorf("the chat template fails: %s", strings.Join(strings.Fields(err.Error()), " "))
}
