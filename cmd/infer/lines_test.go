package main

import (
	"io"
	"strings"
	"testing"

	"golang.org/x/term"
)

// Lines that are pasted are one message, which the person sends: terminals put ESC [200~ and ESC [201~ around them.
func TestPastedLines(t *testing.T) {
	for typed, want := range map[string][]string{
		"one\rtwo\r":                          {"one", "two"},
		"\x1b[200~one\x1b[201~\rtwo\r":        {"one", "two"},
		"\x1b[200~one\rtwo\x1b[201~\rthree\r": {"one\ntwo", "three"},
		"\x1b[200~one\r\rtwo\r\x1b[201~\r":    {"one\n\ntwo\n"},
	} {
		screen := struct {
			io.Reader
			io.Writer
		}{strings.NewReader(typed), io.Discard}
		editor := &terminal{editor: term.NewTerminal(screen, "> ")}
		var got []string
		for {
			message, err := editor.message()
			if err != nil {
				break
			}
			got = append(got, message)
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%q are the messages %q, want %q", typed, got, want)
		}
	}
}
