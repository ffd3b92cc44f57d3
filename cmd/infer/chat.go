package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/internal/chat"
	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/textstream"
)

const chatHelp = `/reset        forget the conversation
/system TEXT  instruct the model from here on; without TEXT, no longer
/help         this
/quit         leave, as Ctrl-D does; Ctrl-C stops an answer, and a second one infer`

func chatCommand() *cobra.Command {
	var (
		flags  modelFlags
		system string
		how    decodingFlags
	)
	c := &cobra.Command{
		Use:   "chat --model DIR",
		Short: "Talk with a model",
		Long: `Talk with a model: each line is a message, and the answer is shown while it is written. Lines may also come from a
pipe. These lines are commands:

` + chatHelp + `

The model's own chat template writes the conversation down. A model that was trained in LongForm's format has none, and
gets each message by itself, as an instruction.`,
		Example: `  infer chat --model HuggingFaceTB/SmolLM2-135M-Instruct --system "Answer in one sentence."
  echo "Write a short recipe for tomato soup." | infer chat --model runs/demo`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := how.options()
			if err != nil {
				return err
			}
			if options.Beams.Number > 1 {
				return errors.New("--num-beams must be 1 where an answer is shown while it is written")
			}
			m, err := flags.open()
			if err != nil {
				return err
			}
			defer m.close()
			t, err := newTalk(m, options, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			defer t.generator.Close()
			if err := t.instruct(system); err != nil {
				return err
			}
			return t.run(newLines(os.Stdin, os.Stdout))
		},
	}
	flags.add(c)
	f := c.Flags()
	f.StringVar(&system, "system", "", "what the model is told before the conversation")
	how.add(f)
	return c
}

// template is the model's own chat template, or the format that it was trained in.
func (m *model) template() (*chat.Template, error) {
	t, err := chat.Find(m.source)
	if errors.Is(err, chat.ErrNoTemplate) {
		format, err := m.source.Format()
		return chat.LongForm(format), err
	}
	return t, err
}

// talk is a conversation in the terminal.
type talk struct {
	model     *model
	template  *chat.Template
	generator *decoding.Generator
	options   decoding.Options
	out, note io.Writer

	system   []chat.Message // none or one
	messages []chat.Message
	answers  int // so far, those before a reset included
}

func newTalk(m *model, o decoding.Options, out, note io.Writer) (*talk, error) {
	t := &talk{model: m, options: o, out: out, note: note}
	t.options.EOS = m.source.EOS()
	var err error
	if t.template, err = m.template(); err != nil {
		return nil, err
	}
	t.generator = decoding.New(m.device, m.parameters)
	return t, nil
}

// run answers lines until there are no more. A person may go on after a mistake; what comes from a pipe can't.
func (t *talk) run(in lines) error {
	if t.template.SingleMessage() {
		fmt.Fprintln(t.note, "the model has no chat template: it gets each message by itself, as an instruction in LongForm's format")
	}
	for {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch quit, err := t.take(strings.TrimSpace(line)); {
		case quit:
			return nil
		case err != nil && !in.interactive():
			return err
		case err != nil:
			fmt.Fprintln(t.note, "infer:", err)
		}
	}
}

// take does what a line says.
func (t *talk) take(line string) (quit bool, err error) {
	command, rest, _ := strings.Cut(line, " ")
	switch {
	case line == "":
		return false, nil
	case !strings.HasPrefix(line, "/"):
		return false, t.answer(line)
	case command == "/quit":
		return true, nil
	case command == "/reset":
		t.messages = nil
	case command == "/system":
		return false, t.instruct(strings.TrimSpace(rest))
	case command == "/help":
		fmt.Fprintln(t.note, chatHelp)
	default:
		return false, fmt.Errorf("no command %s; /help shows those that there are", command)
	}
	return false, nil
}

// instruct sets the system's message.
func (t *talk) instruct(text string) error {
	t.system = nil
	switch {
	case text == "":
	case t.template.SingleMessage():
		return errors.New("the model has no chat template, so that there is no place for a system's message; put it into your own")
	default:
		t.system = []chat.Message{{Role: "system", Content: text}}
	}
	return nil
}

// answer shows what the model answers to text, and remembers both.
func (t *talk) answer(text string) error {
	if t.template.SingleMessage() {
		t.messages = nil
	}
	messages := append(t.messages, chat.Message{Role: "user", Content: text})
	prompt, err := t.template.Prompt(t.model.tokenizer, append(t.system[:len(t.system):len(t.system)], messages...))
	if err != nil {
		return err
	}
	longest := t.model.source.Config.MaxLength()
	if longest > 0 && len(prompt) >= longest {
		return fmt.Errorf("the conversation has %d tokens, and the model reads at most %d, its answer included; /reset begins a new one", len(prompt), longest)
	}
	said, written, err := t.write(prompt)
	if err != nil {
		return err
	}
	t.messages = append(messages, chat.Message{Role: "assistant", Content: said})
	if written.FinishReason == decoding.Length {
		fmt.Fprintln(t.note, t.cut(len(written.IDs)))
	}
	return nil
}

// cut says why an answer ended early.
func (t *talk) cut(tokens int) string {
	if tokens < t.options.MaxNewTokens {
		return fmt.Sprintf("cut: the conversation has reached the %d tokens that the model reads; /reset begins a new one", t.model.source.Config.MaxLength())
	}
	return fmt.Sprintf("cut after %d tokens; --max-new-tokens allows more", tokens)
}

// write shows the text after a prompt as it is written, until Ctrl-C. That is seen when there are more tokens, for which programs may
// have to be compiled first.
func (t *talk) write(prompt []int32) (said string, written decoding.Text, err error) {
	var stopped atomic.Bool
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	done := make(chan struct{})
	go func() {
		select {
		case <-interrupts:
			stopped.Store(true)
			signal.Stop(interrupts) // so that the second one ends the process
		case <-done:
		}
	}()
	defer func() {
		signal.Stop(interrupts)
		close(done)
	}()

	stream := textstream.New(t.model.tokenizer, nil)
	var all strings.Builder
	show := func(text string) error {
		all.WriteString(text)
		_, err := io.WriteString(t.out, text)
		return err
	}
	var failed error
	o := t.options
	o.First = t.answers // other random numbers for each
	o.Keep = true       // the next prompt begins with this one
	t.answers++
	o.Watch = func(_ int, ids []int32) bool {
		text, _ := stream.Add(ids)
		failed = show(text)
		return failed != nil || stopped.Load()
	}
	texts, err := t.generator.Generate([][]int32{prompt}, o)
	if err == nil {
		err = failed
	}
	if err != nil {
		return "", decoding.Text{}, err
	}
	if err := show(stream.Rest()); err != nil {
		return "", decoding.Text{}, err
	}
	_, err = fmt.Fprintln(t.out)
	return all.String(), texts[0], err
}
