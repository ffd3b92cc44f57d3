package data

import "strings"

// The escape for NUL is made of noncharacters, which Unicode keeps for a
// program's own use: no tokenizer's added token or pattern contains them, and
// they are no letters, digits or spaces, as NUL is none. Where the text itself
// holds the first, it is escaped too, so that no text is ambiguous.
const (
	escapeMark     = "\uFDD0"
	escapedMark    = escapeMark + "\uFDD1"
	escapedNUL     = escapeMark + "\uFDD2"
	escapeSequence = len(escapedNUL)
)

func escapeNUL(text string) string {
	return strings.NewReplacer(escapeMark, escapedMark, "\x00", escapedNUL).Replace(text)
}

func unescapeNUL(text string) string {
	if !strings.Contains(text, escapeMark) {
		return text
	}
	return strings.NewReplacer(escapedMark, escapeMark, escapedNUL, "\x00").Replace(text)
}

// escapedPlaces maps each byte position of the escaped text (and its end) to
// the position in text; those inside an escape sequence to where it starts.
func escapedPlaces(text string, escapedLen int) []int {
	places := make([]int, 0, escapedLen+1)
	for i := 0; i < len(text); {
		n, escaped := 1, 1
		switch {
		case text[i] == 0:
			escaped = escapeSequence
		case strings.HasPrefix(text[i:], escapeMark):
			n, escaped = len(escapeMark), escapeSequence
		}
		for range escaped {
			places = append(places, i)
		}
		i += n
	}
	return append(places, len(text))
}
