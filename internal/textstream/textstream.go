// Package textstream turns the tokens of a text, as they come, into text that may be shown: whole characters, nothing of a
// special token, and nothing that is or may become a part of a stop string.
//
// Tokens don't stand for texts of their own. A byte-level tokenizer cuts characters in two; a SentencePiece one drops the
// space before the first word; one that falls back to bytes decodes a run of them together, and not at all if any is wrong.
// So a few tokens before the new ones are decoded again with them, from where the tokens before no longer matter.
package textstream

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Decoder is what a stream needs of a tokenizer: the text of ids, without special tokens if skipSpecial, and the id of a
// token as the vocabulary writes it.
type Decoder interface {
	Decode(ids []int32, skipSpecial bool) string
	ID(token string) (int32, bool)
}

// longestRun is how many byte tokens in a row are decoded at each of them to find stop strings; a stop string in a longer run
// is found when the run ends.
const longestRun = 32

// Stream is one text. It must not be used by several goroutines at once.
type Stream struct {
	decoder   Decoder
	stop      []string
	bytes     [256]int32 // ids of byte tokens, or -1
	fallsBack bool       // whether there are any

	// The ids that are decoded: the text of those before shown is final, and that of the others not yet.
	ids     []int32
	shown   int
	context string // text of ids[:shown]
	run     int    // byte tokens in a row at the end of ids

	held    string // final, but may be the beginning of a stop string
	tokens  int
	stopped bool
}

// New begins a text that ends where one of the strings in stop is written. An empty one ends nothing.
func New(t Decoder, stop []string) *Stream {
	s := &Stream{decoder: t, stop: slices.DeleteFunc(slices.Clone(stop), func(s string) bool { return s == "" })}
	if _, s.fallsBack = t.ID("<0x00>"); s.fallsBack {
		for b := range s.bytes {
			s.bytes[b] = -1
			if id, ok := t.ID(fmt.Sprintf("<0x%02X>", b)); ok {
				s.bytes[b] = id
			}
		}
	}
	return s
}

// GoOn has the text go on after another, so that a space before its first word is shown. It comes before Add. anchor is a token of a
// whole word, in the other's place.
func (s *Stream) GoOn(anchor int32) {
	s.ids, s.shown, s.context = []int32{anchor}, 1, s.decode([]int32{anchor})
}

// Add takes the next ids and returns what may be shown now. The texts that Add and at last Rest return are, one after another,
// exactly what the tokenizer decodes from all ids without special tokens. If they write a stop string, the text ends before
// it, stopped is true, and further ids count for nothing. How the ids are cut into calls makes no difference.
func (s *Stream) Add(ids []int32) (text string, stopped bool) {
	var shown strings.Builder
	for _, id := range ids {
		if s.stopped {
			break
		}
		s.tokens++
		shown.WriteString(s.add(id))
	}
	return shown.String(), s.stopped
}

// Waiting is what isn't shown yet of the tokens that were added, but for parts of a character at the end, and for byte tokens that
// Add doesn't look at either.
func (s *Stream) Waiting() string {
	ids := s.ids[:len(s.ids)-max(0, s.run-longestRun)]
	return s.held + s.after(strings.TrimRight(s.decode(ids), incomplete))
}

// Tokens is how many ids were taken: all of them, or, of a text that was stopped, those up to the one that completed the
// stop string.
func (s *Stream) Tokens() int { return s.tokens }

// Rest is what was held back, at the end of a text that wasn't stopped: the beginning of a stop string that never came, or
// U+FFFD for a character that stayed incomplete.
func (s *Stream) Rest() string {
	if s.stopped {
		return ""
	}
	rest := s.held + s.after(s.decode(s.ids))
	if at := s.firstStop(rest); at >= 0 {
		rest = rest[:at]
	}
	s.held, s.ids, s.shown, s.context = "", nil, 0, ""
	return rest
}

// Shown says whether a token has a text, and isn't special: twice, because a space at the beginning is dropped.
func Shown(t Decoder, id int32) bool { return t.Decode([]int32{id, id}, true) != "" }

func (s *Stream) add(id int32) string {
	if !Shown(s.decoder, id) {
		return ""
	}
	s.ids = append(s.ids, id)
	if s.fallsBack && slices.Contains(s.bytes[:], id) {
		if s.run++; s.run > longestRun {
			return ""
		}
	} else {
		s.run = 0
	}
	text := s.decode(s.ids)
	written := s.held + s.after(strings.TrimSuffix(text, incomplete))
	if at := s.firstStop(written); at >= 0 {
		s.stopped = true
		return written[:at]
	}
	if s.run > 0 {
		return ""
	}
	end := len(s.ids)
	if strings.HasSuffix(text, incomplete) {
		end, text = s.cut(text)
	}
	if end == s.shown {
		return ""
	}
	s.held += s.after(text)
	s.forget(end)
	keep := s.beginning(s.held)
	shown := s.held[:len(s.held)-keep]
	s.held = s.held[len(shown):]
	return shown
}

const incomplete = string(utf8.RuneError)

func (s *Stream) decode(ids []int32) string { return s.decoder.Decode(ids, true) }

// after is the part of a text of ids, from their first on, that isn't final yet.
func (s *Stream) after(text string) string { return text[min(len(s.context), len(text)):] }

// cut finds the last place between the ids where no character is cut in two, though their text ends with one that may be
// incomplete, and the text before. A character has at most 4 bytes, and a token at least one: it isn't far.
func (s *Stream) cut(text string) (end int, before string) {
	for end := len(s.ids) - 1; end > max(s.shown, len(s.ids)-utf8.UTFMax); end-- {
		// What completes a character makes fewer of the two.
		if before := s.decode(s.ids[:end]); before+s.decode(s.ids[end:]) == text {
			return end, before
		}
	}
	return s.shown, s.context
}

// forget makes the text of ids[:end] final. Of these ids the last ones stay, so that those to come aren't the first, before
// which a space is dropped.
func (s *Stream) forget(end int) {
	s.context = s.decode(s.ids[s.shown:end])
	s.ids = append([]int32(nil), s.ids[s.shown:]...)
	s.shown = end - s.shown
}

// firstStop is where in text the stop string begins that is complete first, the longest of several; -1 if there is none.
func (s *Stream) firstStop(text string) int {
	begin, end := -1, len(text)+1
	for _, stop := range s.stop {
		if at := strings.Index(text, stop); at >= 0 && (at+len(stop) < end || at+len(stop) == end && at < begin) {
			begin, end = at, at+len(stop)
		}
	}
	return begin
}

// beginning is how many bytes at the end of text may be the beginning of a stop string.
func (s *Stream) beginning(text string) int {
	longest := 0
	for _, stop := range s.stop {
		for n := min(len(stop)-1, len(text)); n > longest; n-- {
			if strings.HasSuffix(text, stop[:n]) {
				longest = n
			}
		}
	}
	return longest
}
