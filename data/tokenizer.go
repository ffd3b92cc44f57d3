package data

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/daulet/tokenizers"
)

// Tokenizer turns text into token ids and back, as the Hugging Face
// tokenizers library does with the same tokenizer.json. It is safe for
// concurrent use.
//
// That library is reached through C strings, which end at the first NUL
// byte. Text with NUL bytes takes a detour that keeps the ids and the decoded
// text exact: NUL travels as an escape sequence, which a step put in front of
// the tokenizer's own normalizer turns back into NUL, and which a step behind
// its own decoder makes of NUL again.
type Tokenizer struct {
	json   []byte
	file   tokenizerFile
	ids    map[string]int32
	size   int
	nextID int32
	plain  *tokenizers.Tokenizer
	// unescape opens, at its first call, the tokenizer that expects escaped text.
	unescape func() (*tokenizers.Tokenizer, error)
}

// OpenTokenizer reads dir/tokenizer.json.
func OpenTokenizer(dir string) (*Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no tokenizer.json; make one with transformers: AutoTokenizer.from_pretrained(%q).save_pretrained(%q)", dir, dir, dir)
	}
	if err != nil {
		return nil, err
	}
	t, err := NewTokenizer(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// NewTokenizer makes a tokenizer from the bytes of a tokenizer.json. Padding
// and truncation that the file asks for are left out: batches are padded and
// examples cut in one place only, here.
func NewTokenizer(json []byte) (*Tokenizer, error) {
	file, err := parseTokenizerFile(json)
	if err != nil {
		return nil, err
	}
	ids, modelSize, err := file.vocabulary()
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{json: json, file: file, ids: ids, nextID: file.nextID(modelSize)}
	for _, id := range ids {
		t.size = max(t.size, int(id)+1)
	}
	open := func(f tokenizerFile) (*tokenizers.Tokenizer, error) {
		b, err := f.marshal()
		if err != nil {
			return nil, err
		}
		raw, err := tokenizers.FromBytes(b)
		if err != nil {
			return nil, err
		}
		runtime.AddCleanup(t, func(raw *tokenizers.Tokenizer) { raw.Close() }, raw)
		return raw, nil
	}
	if t.plain, err = open(file.escapingDecoder()); err != nil {
		return nil, err
	}
	t.unescape = sync.OnceValues(func() (*tokenizers.Tokenizer, error) { return open(file.unescapingNormalizer()) })
	return t, nil
}

// Size is the number of ids: the largest id plus one, added tokens included.
// A model's embedding needs at least as many rows.
func (t *Tokenizer) Size() int { return t.size }

// ID returns the id of a token, written as in the vocabulary.
func (t *Tokenizer) ID(token string) (int32, bool) {
	id, ok := t.ids[token]
	return id, ok
}

// JSON returns the tokenizer.json, as it was read unless a token was added.
func (t *Tokenizer) JSON() []byte { return t.json }

// WithToken returns a tokenizer in which token is one id wherever it occurs,
// as after add_special_tokens in transformers: a special token, matched before
// normalization and left out of text that is decoded without special tokens.
// It gets the next free id, or keeps the one it has. The receiver is unchanged.
func (t *Tokenizer) WithToken(token string) (*Tokenizer, error) {
	if token == "" {
		return nil, errors.New("an added token cannot be empty")
	}
	id, known := t.ids[token]
	if !known {
		id = t.nextID
	}
	b, err := t.file.withAddedToken(addedToken{ID: id, Content: token, Special: true}).marshal()
	if err != nil {
		return nil, err
	}
	return NewTokenizer(b)
}

// Offset is the part [Start, End) of the text, in bytes, that a token stands
// for; both are 0 for a token that the tokenizer put in by itself.
type Offset struct{ Start, End int }

// Encode returns the ids of text; with special, the tokens that the tokenizer
// itself puts around a text are there too. Special tokens written out in the
// text become their ids either way. Invalid UTF-8 counts as U+FFFD.
func (t *Tokenizer) Encode(text string, special bool) []int32 {
	ids, _, err := t.encode(text, special, false)
	if err != nil {
		panic(err) // what a tokenizer can fail at, an unknown character without an unknown token, is refused when it is opened
	}
	return ids
}

// EncodeOffsets is Encode and each token's place in the text. Tokens that
// share a character, as byte tokens do, share its place.
func (t *Tokenizer) EncodeOffsets(text string, special bool) ([]int32, []Offset, error) {
	return t.encode(text, special, true)
}

// EncodeAll encodes texts on all processors, in their order.
func (t *Tokenizer) EncodeAll(texts []string, special bool) [][]int32 {
	out := make([][]int32, len(texts))
	parallel(len(texts), func(i int) { out[i] = t.Encode(texts[i], special) })
	return out
}

// Decode returns the text of ids; with skipSpecial, without special tokens.
// Ids that the tokenizer lacks stand for nothing.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	raw := make([]uint32, 0, len(ids))
	for _, id := range ids {
		if id >= 0 {
			raw = append(raw, uint32(id))
		}
	}
	text := t.plain.Decode(raw, skipSpecial)
	runtime.KeepAlive(t)
	return unescapeNUL(text)
}

func (t *Tokenizer) encode(text string, special, offsets bool) ([]int32, []Offset, error) {
	raw, escaped := t.plain, text
	if strings.IndexByte(text, 0) >= 0 {
		var err error
		if raw, err = t.unescape(); err != nil {
			return nil, nil, err
		}
		escaped = escapeNUL(text)
	}
	var options []tokenizers.EncodeOption
	if offsets {
		options = append(options, tokenizers.WithReturnOffsets())
	}
	e, err := raw.EncodeWithOptionsErr(escaped, special, options...)
	runtime.KeepAlive(t)
	if err != nil {
		return nil, nil, fmt.Errorf("the tokenizer cannot encode %.40q: %w", text, err)
	}
	ids := make([]int32, len(e.IDs))
	for i, id := range e.IDs {
		ids[i] = int32(id)
	}
	if !offsets {
		return ids, nil, nil
	}
	return ids, originalOffsets(text, escaped, e.Offsets), nil
}

// originalOffsets turns places in the escaped text into places in text.
func originalOffsets(text, escaped string, at []tokenizers.Offset) []Offset {
	place := func(p uint) int { return int(p) }
	if len(escaped) != len(text) {
		from := escapedPlaces(text, len(escaped))
		place = func(p uint) int { return from[p] }
	}
	out := make([]Offset, len(at))
	for i, o := range at {
		out[i] = Offset{place(o[0]), place(o[1])}
	}
	return out
}

// parallel calls f(0) to f(n-1) on as many goroutines as there are processors.
func parallel(n int, f func(i int)) {
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	group.Wait()
}
