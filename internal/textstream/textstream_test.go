package textstream

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/longform-go/longform/data"
)

// families are tokenizers of three kinds: SentencePiece with byte tokens, bytes, and SentencePiece.
var families = []string{"llama", "opt", "t5"}

func open(t *testing.T, family string) *data.Tokenizer {
	t.Helper()
	tok, err := data.OpenTokenizer(filepath.Join("..", "..", "data", "testdata", family))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// drawIDs are ids of texts, any ids, single bytes of characters, and ids in long rows.
func drawIDs(t *rapid.T, tok *data.Tokenizer) []int32 {
	piece := rapid.SampledFrom([]string{"the harbour", " ", "  ", "é", "日本語", "🙂🙃", "\n", "\n\n", "a", "\ufffd", "\x00", "User:", "</s>"})
	var ids []int32
	for range rapid.IntRange(0, 12).Draw(t, "parts") {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			ids = append(ids, rapid.SliceOfN(rapid.Int32Range(-1, int32(tok.Size())), 0, 6).Draw(t, "ids")...)
		case 1:
			some := tok.Encode(piece.Draw(t, "text"), false)
			ids = append(ids, some[:rapid.IntRange(0, len(some)).Draw(t, "cut")]...)
		case 2:
			ids = append(ids, tok.Encode(piece.Draw(t, "text"), rapid.Bool().Draw(t, "special"))...)
		default:
			id := rapid.Int32Range(0, int32(tok.Size())-1).Draw(t, "id")
			for range rapid.IntRange(1, 8).Draw(t, "times") {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// stream adds ids in the pieces that are drawn, and checks what it is promised of each.
func stream(t *rapid.T, tok *data.Tokenizer, ids []int32, stop []string) (text string, tokens int, stopped bool) {
	s := New(tok, stop)
	for rest := ids; len(rest) > 0 && !stopped; {
		n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
		var part string
		part, stopped = s.Add(rest[:n])
		if !utf8.ValidString(part) {
			t.Fatalf("%q isn't made of whole characters", part)
		}
		text += part
		rest = rest[n:]
	}
	if again, _ := s.Add(nil); again != "" {
		t.Fatalf("nothing added, but %q shown", again)
	}
	return text + s.Rest(), s.Tokens(), stopped
}

func TestPiecesAreTheWholeText(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			tok := open(t, family)
			rapid.Check(t, func(t *rapid.T) {
				ids := drawIDs(t, tok)
				got, tokens, stopped := stream(t, tok, ids, []string{""})
				if want := tok.Decode(ids, true); got != want || stopped || tokens != len(ids) {
					t.Fatalf("%v: %q of %d tokens, stopped %v; want %q", ids, got, tokens, stopped, want)
				}
			})
		})
	}
}

// A text that goes on after another is with it what the tokenizer decodes from both.
func TestGoOn(t *testing.T) {
	texts := rapid.SliceOfN(rapid.SampledFrom([]string{"the harbour", " ", "  ", "é", "日本語 🙂", "\n", "a b", "</s>"}), 1, 6)
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			tok := open(t, family)
			rapid.Check(t, func(t *rapid.T) {
				ids := tok.Encode(strings.Join(texts.Draw(t, "texts"), ""), rapid.Bool().Draw(t, "special"))
				cut := rapid.IntRange(0, len(ids)).Draw(t, "cut")
				before, all := tok.Decode(ids[:cut], true), tok.Decode(ids, true)
				if strings.HasSuffix(before, "\ufffd") || !strings.HasPrefix(all, before) {
					return // in a character
				}
				s := New(tok, nil)
				if slices.ContainsFunc(ids[:cut], func(id int32) bool { return Shown(tok, id) }) {
					word := tok.Encode("a", false)
					s.GoOn(word[len(word)-1])
				}
				after, _ := s.Add(ids[cut:])
				if after += s.Rest(); before+after != all || s.Tokens() != len(ids)-cut {
					t.Fatalf("%v: %q after %q, of %d tokens; all is %q", ids, after, before, s.Tokens(), all)
				}
			})
		})
	}
}

// wantStopped cuts the text where the fewest ids write a stop string.
func wantStopped(tok *data.Tokenizer, ids []int32, stop []string) (text string, tokens int, stopped bool) {
	for n := range len(ids) + 1 {
		text = tok.Decode(ids[:n], true)
		if n < len(ids) { // its last character may be incomplete
			text = strings.TrimSuffix(text, "\ufffd")
		}
		for end := range len(text) + 1 {
			for begin := range end {
				for _, s := range stop {
					if text[begin:end] == s {
						return text[:begin], n, true
					}
				}
			}
		}
	}
	return text, len(ids), false
}

func TestTextEndsBeforeAStopString(t *testing.T) {
	stops := rapid.SliceOfN(rapid.SampledFrom([]string{"\n", "\n\n", "a", "har", "arbour", "harbours", "日", "本語", "e h", "  ", "🙃", "er", "U"}), 1, 3)
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			tok := open(t, family)
			rapid.Check(t, func(t *rapid.T) {
				ids, stop := drawIDs(t, tok), stops.Draw(t, "stop")
				got, tokens, stopped := stream(t, tok, ids, stop)
				want, wantTokens, wantsStop := wantStopped(tok, ids, stop)
				if got != want || stopped != wantsStop || tokens != wantTokens {
					t.Fatalf("%v, stop %q: %q of %d tokens, stopped %v; want %q of %d, %v",
						ids, stop, got, tokens, stopped, want, wantTokens, wantsStop)
				}
			})
		})
	}
}

// A character is shown when its last byte is there, and a word at once.
func TestNothingIsHeldForLong(t *testing.T) {
	for _, family := range families {
		tok := open(t, family)
		s := New(tok, []string{"###"})
		ids := tok.Encode("Tall trees stand beside a narrow path. # ## A", false)
		shown := ""
		for n, id := range ids {
			part, _ := s.Add([]int32{id})
			shown += part
			if want := tok.Decode(ids[:n+1], true); shown != want && shown != strings.TrimRight(want, "#") {
				t.Errorf("%s: %q shown of %q", family, shown, want)
			}
		}
	}
	tok := open(t, "opt")
	s := New(tok, nil)
	ids := tok.Encode("🙂", false)
	if len(ids) < 2 {
		t.Fatalf("the character is %d token", len(ids))
	}
	for n, id := range ids {
		part, _ := s.Add([]int32{id})
		if whole := n == len(ids)-1; whole && part != "🙂" || !whole && part != "" {
			t.Errorf("%q after token %d of %d", part, n+1, len(ids))
		}
	}
}

// counting is a tokenizer that knows how much it had to decode at once.
type counting struct {
	*data.Tokenizer
	most int
}

func (c *counting) Decode(ids []int32, skipSpecial bool) string {
	c.most = max(c.most, len(ids))
	return c.Tokenizer.Decode(ids, skipSpecial)
}

func TestALongTextCostsNoMoreAToken(t *testing.T) {
	for _, family := range families {
		tok := open(t, family)
		texts := [][]int32{tok.Encode("word ", false)}
		for id := range int32(tok.Size()) { // the same token for ever, characters that stay incomplete among them
			texts = append(texts, []int32{id})
		}
		for _, text := range texts {
			if tok.Decode([]int32{text[0], text[0], text[0]}, true) == "" {
				continue
			}
			c := &counting{Tokenizer: tok}
			s := New(c, []string{"###"})
			for range 100 {
				s.Add(text)
			}
			if c.most > longestRun+2*utf8.UTFMax {
				t.Errorf("%s: %d tokens like %q were decoded at once", family, c.most, tok.Decode(text, false))
			}
		}
	}
}
