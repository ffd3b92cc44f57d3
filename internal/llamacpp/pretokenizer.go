package llamacpp

import (
	"encoding/json"
	"reflect"
)

type object = map[string]any

// Regular expressions of src/llama-vocab.cpp, in the order in which they cut a text.
const (
	gpt2Split   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`
	llama3Split = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// preTokenizer is one way of cutting text into words before merges are looked for.
type preTokenizer struct {
	names        []string // tokenizer.ggml.pre; the first one is written
	steps        []any    // as in tokenizer.json
	ignoreMerges bool     // a word that is a token stays whole
	addBOS       bool     // unless the file says otherwise
}

var preTokenizers = []preTokenizer{
	{names: []string{"gpt-2", "phi-2", "olmo", "mpt"}, steps: []any{byteLevel(true)}},
	{names: []string{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"},
		steps: []any{object{"type": "Digits", "individual_digits": true}, byteLevel(true)}},
	{names: []string{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"},
		steps: []any{split(llama3Split), byteLevel(false)}, ignoreMerges: true, addBOS: true},
	{names: []string{"smaug-bpe", "dbrx"}, steps: []any{split(llama3Split), byteLevel(false)}},
	{names: []string{"default", ""}, steps: []any{
		split(`[\p{P}\$\+<=>\^~\|]+`), split(gpt2Split), split(`\p{N}+`), split(`[0-9][0-9][0-9]`), byteLevel(false),
	}},
}

func split(pattern string) object {
	return object{"type": "Split", "pattern": object{"Regex": pattern}, "behavior": "Isolated", "invert": false}
}

// byteLevel writes bytes as visible characters; with words, it first cuts as GPT-2 does.
func byteLevel(words bool) object {
	return object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": words}
}

// json is the pre_tokenizer of tokenizer.json.
func (p preTokenizer) json() any {
	if len(p.steps) == 1 {
		return p.steps[0]
	}
	return object{"type": "Sequence", "pretokenizers": p.steps}
}

// writes says whether the pre_tokenizer of a tokenizer.json does the same.
func (p preTokenizer) writes(raw json.RawMessage, ignoreMerges bool) bool {
	ours, err := json.Marshal(p.json())
	return err == nil && ignoreMerges == p.ignoreMerges && reflect.DeepEqual(essence(ours), essence(raw))
}

// essence is a JSON value without the settings of a ByteLevel step that don't change ids.
func essence(raw []byte) any {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	var strip func(v any)
	strip = func(v any) {
		switch v := v.(type) {
		case object:
			delete(v, "trim_offsets")
			for _, inner := range v {
				strip(inner)
			}
		case []any:
			for _, inner := range v {
				strip(inner)
			}
		}
	}
	strip(v)
	return v
}
