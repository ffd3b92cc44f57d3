package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// lines are what a person types, or what comes through a pipe; io.EOF ends them.
type lines interface {
	next() (string, error)
	interactive() bool
}

func newLines(in, out *os.File) lines {
	if term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd())) {
		return &terminal{fd: int(in.Fd()), editor: term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{in, out}, "> ")}
	}
	return &pipe{bufio.NewReader(in)}
}

// terminal edits lines, of any length, and knows the earlier ones.
type terminal struct {
	fd     int
	editor *term.Terminal
}

// next takes a line. The terminal is raw for that long only, so that Ctrl-C is a signal while an answer is written.
func (t *terminal) next() (string, error) {
	before, err := term.MakeRaw(t.fd)
	if err != nil {
		return "", err
	}
	t.editor.SetBracketedPasteMode(true)
	defer func() {
		t.editor.SetBracketedPasteMode(false)
		_ = term.Restore(t.fd, before) // as the terminal is, there is nobody to tell
	}()
	if width, height, err := term.GetSize(t.fd); err == nil && width > 0 {
		_ = t.editor.SetSize(width, height) // fails only where it can't write, as the prompt will
	}
	line, err := t.message()
	if errors.Is(err, io.EOF) { // Ctrl-C or Ctrl-D
		_, _ = io.WriteString(t.editor, "\n")
	}
	return line, err
}

// message is a line, and with it those that were pasted before it.
func (t *terminal) message() (string, error) {
	var pasted strings.Builder
	for {
		line, err := t.editor.ReadLine()
		pasted.WriteString(line)
		if !errors.Is(err, term.ErrPasteIndicator) {
			return pasted.String(), err
		}
		pasted.WriteByte('\n')
	}
}

func (t *terminal) interactive() bool { return true }

type pipe struct{ in *bufio.Reader }

func (p *pipe) next() (string, error) {
	line, err := p.in.ReadString('\n')
	if line != "" {
		err = nil // the last line may have no end
	}
	return strings.TrimRight(line, "\r\n"), err
}

func (p *pipe) interactive() bool { return false }
