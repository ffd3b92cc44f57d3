package data

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var families = []string{"llama", "opt", "t5"}

// expected is what transformers makes of the same tokenizer.json.
type expected struct {
	EOS      int32      `json:"eos"`
	Tokenize []encoded  `json:"tokenize"`
	NUL      []encoded  `json:"nul"`
	Examples []hfRecord `json:"examples"`
	EOI      struct {
		ID       int32      `json:"id"`
		Size     int        `json:"size"`
		Tokenize []encoded  `json:"tokenize"`
		Examples []hfRecord `json:"examples"`
	} `json:"eoi"`
}

type encoded struct {
	Text       string   `json:"text"`
	IDs        []int32  `json:"ids"`
	Plain      []int32  `json:"plain_ids"`
	Offsets    [][2]int `json:"offsets"` // in characters
	Decoded    string   `json:"decoded"`
	DecodedAll string   `json:"decoded_all"`
}

type hfRecord struct {
	Input  []int32 `json:"input_ids"`
	Labels []int32 `json:"labels"`
}

func readExpected(t *testing.T, family string) expected {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", family, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var e expected
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	if len(e.Tokenize) == 0 || len(e.NUL) == 0 || len(e.Examples) == 0 || len(e.EOI.Tokenize) == 0 {
		t.Fatal("expected.json holds nothing to compare with")
	}
	return e
}

func openTest(t *testing.T, family string) *Tokenizer {
	t.Helper()
	tok, err := OpenTokenizer(filepath.Join("testdata", family))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func checkEncoded(t *testing.T, tok *Tokenizer, cases []encoded) {
	t.Helper()
	for _, c := range cases {
		ids, offsets, err := tok.EncodeOffsets(c.Text, true)
		if err != nil {
			t.Errorf("%q: %v", c.Text, err)
			continue
		}
		inCharacters := make([][2]int, len(offsets))
		for i, o := range offsets {
			inCharacters[i] = [2]int{utf8.RuneCountInString(c.Text[:o.Start]), utf8.RuneCountInString(c.Text[:o.End])}
		}
		if !slices.Equal(ids, c.IDs) {
			t.Errorf("%q: ids %v, want %v", c.Text, ids, c.IDs)
		}
		if !slices.Equal(inCharacters, c.Offsets) {
			t.Errorf("%q: offsets %v, want %v", c.Text, inCharacters, c.Offsets)
		}
		if plain := tok.Encode(c.Text, false); !slices.Equal(plain, c.Plain) {
			t.Errorf("%q: ids without special tokens %v, want %v", c.Text, plain, c.Plain)
		}
		if got := tok.Decode(c.IDs, true); got != c.Decoded {
			t.Errorf("%q: decoded %q, want %q", c.Text, got, c.Decoded)
		}
		if got := tok.Decode(c.IDs, false); got != c.DecodedAll {
			t.Errorf("%q: decoded with special tokens %q, want %q", c.Text, got, c.DecodedAll)
		}
	}
}

func TestTokenizerEqualsTransformers(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			tok, want := openTest(t, family), readExpected(t, family)
			checkEncoded(t, tok, want.Tokenize)
			checkEncoded(t, tok, want.NUL)
		})
	}
}

func TestWithTokenEqualsTransformers(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			plain, want := openTest(t, family), readExpected(t, family)
			tok, err := plain.WithToken(EOI)
			if err != nil {
				t.Fatal(err)
			}
			if id, ok := tok.ID(EOI); !ok || id != want.EOI.ID || tok.Size() != want.EOI.Size {
				t.Errorf("id %d of %d, want %d of %d", id, tok.Size(), want.EOI.ID, want.EOI.Size)
			}
			checkEncoded(t, tok, want.EOI.Tokenize)
			reopened, err := NewTokenizer(tok.JSON())
			if err != nil {
				t.Fatal(err)
			}
			checkEncoded(t, reopened, want.EOI.Tokenize)
			again, err := tok.WithToken(EOI)
			if err != nil || string(again.JSON()) != string(tok.JSON()) {
				t.Errorf("adding the token again changed the tokenizer (error %v)", err)
			}
			if _, ok := plain.ID(EOI); ok {
				t.Error("the tokenizer that the token was not added to has it")
			}
			second, err := tok.WithToken("[END]")
			if err != nil {
				t.Fatal(err)
			}
			if id := second.Encode("[END]", false); !slices.Equal(id, []int32{want.EOI.ID + 1}) {
				t.Errorf("the second added token is %v", id)
			}
		})
	}
}

func TestWithTokenKeepsTheRest(t *testing.T) {
	plain := openTest(t, "llama")
	tok, err := plain.WithToken(EOI)
	if err != nil {
		t.Fatal(err)
	}
	var before, after map[string]any
	if json.Unmarshal(plain.JSON(), &before) != nil || json.Unmarshal(tok.JSON(), &after) != nil {
		t.Fatal("not JSON")
	}
	delete(before, "added_tokens")
	delete(after, "added_tokens")
	if !reflect.DeepEqual(before, after) {
		t.Error("more than the added tokens changed")
	}
}

func TestWithTokenOfTheVocabulary(t *testing.T) {
	for _, token := range []string{"<s>", "▁the"} {
		plain := openTest(t, "llama")
		id, ok := plain.ID(token)
		if !ok {
			continue
		}
		tok, err := plain.WithToken(token)
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.Encode(token, false); !slices.Equal(got, []int32{id}) || tok.Size() != plain.Size() {
			t.Errorf("%s: ids %v, size %d; want [%d] and %d", token, got, tok.Size(), id, plain.Size())
		}
	}
	if _, err := openTest(t, "llama").WithToken(""); err == nil {
		t.Error("an empty token was added")
	}
}

// A tokenizer that loses no text gives back any text, NUL and the escape for
// it included.
func TestByteLevelRoundTrip(t *testing.T) {
	tok := openTest(t, "opt")
	piece := rapid.SampledFrom([]string{"\x00", "\ufdd0", "\ufdd1", "\ufdd2", "a", " ", "é", "日本", "\n", "word"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "text"), "")
		ids, offsets, err := tok.EncodeOffsets(text, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := tok.Decode(ids, false); got != text {
			t.Fatalf("%q came back as %q", text, got)
		}
		end := 0
		for _, o := range offsets {
			if o.Start > end || o.End < o.Start || o.End > len(text) {
				t.Fatalf("%q: offsets %v", text, offsets)
			}
			end = o.End
		}
		if end != len(text) {
			t.Fatalf("%q: offsets %v do not reach its end", text, offsets)
		}
	})
}

func TestPaddingAndTruncationOfTheFileAreLeftOut(t *testing.T) {
	b, err := os.ReadFile("testdata/opt/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	cut := strings.Replace(string(b), `"truncation": null`, `"truncation": {"direction":"Right","max_length":3,"strategy":"LongestFirst","stride":0}`, 1)
	if cut == string(b) {
		t.Fatal("the file has another form than this test expects")
	}
	tok, err := NewTokenizer([]byte(cut))
	if err != nil {
		t.Fatal(err)
	}
	if want := openTest(t, "opt").Encode("a longer text", true); !slices.Equal(tok.Encode("a longer text", true), want) {
		t.Errorf("the text was cut")
	}
}

func TestEncodeAll(t *testing.T) {
	tok := openTest(t, "llama")
	var texts []string
	for i := range 500 {
		texts = append(texts, strings.Repeat("word ", i%7)+"\x00")
	}
	for i, ids := range tok.EncodeAll(texts, true) {
		if !slices.Equal(ids, tok.Encode(texts[i], true)) {
			t.Fatalf("text %d differs", i)
		}
	}
	if got := tok.EncodeAll(nil, true); len(got) != 0 {
		t.Errorf("no texts gave %v", got)
	}
}

func TestDecodeWithoutMeaning(t *testing.T) {
	tok := openTest(t, "opt")
	if got := tok.Decode([]int32{-1, 99999}, false) + tok.Decode(nil, false); got != "" {
		t.Errorf("got %q", got)
	}
	if got := tok.Encode("a\xffb", false); !slices.Equal(got, tok.Encode("a\ufffdb", false)) {
		t.Errorf("invalid UTF-8 became %v", got)
	}
}

func TestTokenizerOutlivesCollection(t *testing.T) {
	for range 20 {
		tok := openTest(t, "t5")
		runtime.GC()
		if len(tok.Encode("text\x00", true)) == 0 {
			t.Fatal("no ids")
		}
	}
}

func TestBadTokenizer(t *testing.T) {
	if _, err := OpenTokenizer(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no tokenizer.json") {
		t.Errorf("a directory without one: %v", err)
	}
	for name, text := range map[string]string{
		"empty":            "",
		"not JSON":         "<html>",
		"no model":         `{"version":"1.0"}`,
		"no vocabulary":    `{"model":{"type":"BPE"}}`,
		"unknown model":    `{"version":"1.0","added_tokens":[],"model":{"type":"Magic","vocab":{"a":0},"merges":[]}}`,
		"no unknown token": `{"version":"1.0","added_tokens":[],"model":{"type":"Unigram","unk_id":null,"vocab":[["a",0.0]]}}`,
		"misshapen piece":  `{"version":"1.0","added_tokens":[],"model":{"type":"Unigram","unk_id":0,"vocab":[["a"]]}}`,
	} {
		if _, err := NewTokenizer([]byte(text)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
