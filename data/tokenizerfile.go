package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// tokenizerFile is a tokenizer.json. What nobody here looks into stays as it
// was read.
type tokenizerFile struct {
	Version       json.RawMessage `json:"version"`
	Truncation    json.RawMessage `json:"truncation"`
	Padding       json.RawMessage `json:"padding"`
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

func parseTokenizerFile(b []byte) (tokenizerFile, error) {
	var f tokenizerFile
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("not a tokenizer.json: %w", err)
	}
	if isNull(f.Model) {
		return f, errors.New("not a tokenizer.json: it has no model")
	}
	f.Truncation, f.Padding = nil, nil
	return f, nil
}

// marshal writes the file as transformers does: two spaces, nothing escaped
// that need not be.
func (f tokenizerFile) marshal() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(f); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// vocabulary returns the id of every token, the model's and the added ones,
// and how many the model has.
func (f tokenizerFile) vocabulary() (ids map[string]int32, modelSize int, err error) {
	var model struct {
		Type    string          `json:"type"`
		Vocab   json.RawMessage `json:"vocab"`
		Unknown *int32          `json:"unk_id"`
	}
	if err := json.Unmarshal(f.Model, &model); err != nil {
		return nil, 0, fmt.Errorf("not a tokenizer.json: model: %w", err)
	}
	ids = map[string]int32{}
	if bytes.HasPrefix(model.Vocab, []byte("[")) { // Unigram: [piece, score] in the order of ids
		if model.Unknown == nil {
			return nil, 0, errors.New("the Unigram model has no unk_id, so text with unknown characters could not be encoded")
		}
		var pieces [][]any
		if err := json.Unmarshal(model.Vocab, &pieces); err != nil {
			return nil, 0, fmt.Errorf("not a tokenizer.json: vocab: %w", err)
		}
		for id, piece := range pieces {
			if len(piece) != 2 {
				return nil, 0, fmt.Errorf("not a tokenizer.json: piece %d of the vocab is no pair of piece and score", id)
			}
			token, ok := piece[0].(string)
			if !ok {
				return nil, 0, fmt.Errorf("not a tokenizer.json: piece %d of the vocab is no text", id)
			}
			ids[token] = int32(id)
		}
	} else if err := json.Unmarshal(model.Vocab, &ids); err != nil {
		return nil, 0, fmt.Errorf("not a tokenizer.json: vocab: %w", err)
	}
	modelSize = len(ids)
	for _, t := range f.AddedTokens {
		ids[t.Content] = t.ID
	}
	return ids, modelSize, nil
}

// nextID is the id that the tokenizers library gives to the next added token:
// after the model's and after every one added so far.
func (f tokenizerFile) nextID(modelSize int) int32 {
	next := int32(modelSize)
	for _, t := range f.AddedTokens {
		next = max(next, t.ID+1)
	}
	return next
}

// withAddedToken puts t among the added tokens, which are in the order of
// their ids, in place of one with the same id.
func (f tokenizerFile) withAddedToken(t addedToken) tokenizerFile {
	at, found := slices.BinarySearchFunc(f.AddedTokens, t.ID, func(a addedToken, id int32) int { return int(a.ID - id) })
	f.AddedTokens = slices.Clone(f.AddedTokens)
	if found {
		f.AddedTokens[at] = t
	} else {
		f.AddedTokens = slices.Insert(f.AddedTokens, at, t)
	}
	return f
}

// unescapingNormalizer makes the normalizer start by turning escapes into what
// they stand for.
func (f tokenizerFile) unescapingNormalizer() tokenizerFile {
	f.Normalizer = sequence("normalizers", replace(escapedNUL, "\x00"), replace(escapedMark, escapeMark), f.Normalizer)
	return f
}

// escapingDecoder makes the decoder end by escaping NUL. A file without a
// decoder keeps its way of joining tokens by spaces, which no other decoder has.
func (f tokenizerFile) escapingDecoder() tokenizerFile {
	if !isNull(f.Decoder) {
		f.Decoder = sequence("decoders", f.Decoder, replace(escapeMark, escapedMark), replace("\x00", escapedNUL))
	}
	return f
}

// sequence is a normalizer or decoder that applies steps one after another.
func sequence(key string, steps ...json.RawMessage) json.RawMessage {
	steps = slices.DeleteFunc(steps, isNull)
	return mustMarshal(map[string]any{"type": "Sequence", key: steps})
}

// replace is a normalizer or decoder step that puts content where pattern is.
func replace(pattern, content string) json.RawMessage {
	return mustMarshal(map[string]any{"type": "Replace", "pattern": map[string]string{"String": pattern}, "content": content})
}

func mustMarshal(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of text and valid JSON always marshal
	}
	return b
}

func isNull(m json.RawMessage) bool { return len(m) == 0 || string(m) == "null" }
