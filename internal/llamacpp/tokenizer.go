package llamacpp

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/longform-go/longform/models/llama"
)

// The types of tokens.
const (
	normalToken int32 = iota + 1
	unknownToken
	controlToken     // special
	userDefinedToken // found in a text before anything else
	unusedToken
	byteToken
)

// vocabulary is a file's list of tokens.
type vocabulary struct {
	tokens []string
	types  []int32
	ids    map[string]int
}

func (m metadata) vocabulary() (v vocabulary, err error) {
	v.tokens, _ = m.Value("tokenizer.ggml.tokens").([]string)
	if len(v.tokens) == 0 {
		return v, fmt.Errorf("it has no tokenizer.ggml.tokens")
	}
	var ok bool
	if v.types, ok = m.Value("tokenizer.ggml.token_type").([]int32); !ok {
		v.types = slices.Repeat([]int32{normalToken}, len(v.tokens))
	}
	if len(v.types) != len(v.tokens) {
		return v, fmt.Errorf("it has %d tokens and types of %d", len(v.tokens), len(v.types))
	}
	v.ids = make(map[string]int, len(v.tokens))
	for id, token := range v.tokens {
		if other, twice := v.ids[token]; twice {
			return v, fmt.Errorf("token %q has the ids %d and %d", token, other, id)
		}
		v.ids[token] = id
	}
	return v, nil
}

// token is the token that the metadata name by its id, which is -1 where they name none.
func (m metadata) token(v vocabulary, what string) (token string, id int, err error) {
	id, ok, err := m.special(what, len(v.tokens))
	if err != nil || !ok {
		return "", -1, err
	}
	return v.tokens[id], id, nil
}

// flag is a truth value of the tokenizer, or standard where the file doesn't say.
func (m metadata) flag(name string, standard bool) bool {
	if v, ok := m.Value("tokenizer.ggml." + name).(bool); ok {
		return v
	}
	return standard
}

// tokenizer is the file's tokenizer.json.
func (m metadata) tokenizer() ([]byte, error) {
	v, err := m.vocabulary()
	if err != nil {
		return nil, err
	}
	var t object
	addBOS := false
	switch kind := m.text("tokenizer.ggml.model"); kind {
	case "gpt2":
		t, addBOS, err = m.byteLevelBPE(v)
	case "llama":
		t, err = m.sentencePiece(v)
		addBOS = true
	default:
		err = fmt.Errorf("its tokenizer %q is not supported; gpt2 and llama are", kind)
	}
	if err != nil {
		return nil, err
	}
	added := []object{}
	for id, token := range v.tokens {
		if k := v.types[id]; k == unknownToken || k == controlToken || k == userDefinedToken {
			added = append(added, object{
				"id": id, "content": token, "special": k != userDefinedToken,
				"single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
			})
		}
	}
	t["version"], t["added_tokens"] = "1.0", added
	if t["post_processor"], err = m.postProcessor(v, m.flag("add_bos_token", addBOS), m.flag("add_eos_token", false)); err != nil {
		return nil, err
	}
	return marshal(t)
}

// byteLevelBPE is a tokenizer like GPT-2's: merges of bytes that are written as characters.
func (m metadata) byteLevelBPE(v vocabulary) (t object, addBOS bool, err error) {
	pre := m.text("tokenizer.ggml.pre")
	at := slices.IndexFunc(preTokenizers, func(p preTokenizer) bool { return slices.Contains(p.names, pre) })
	if at < 0 {
		return nil, false, fmt.Errorf("its pre-tokenizer %q is not supported; llama-bpe, smollm, gpt-2 and default are", pre)
	}
	p := preTokenizers[at]
	merges, err := m.merges()
	if err != nil {
		return nil, false, err
	}
	return object{
		"pre_tokenizer": p.json(), "decoder": byteLevel(true),
		"model": object{"type": "BPE", "vocab": v.ids, "merges": merges, "ignore_merges": p.ignoreMerges},
	}, p.addBOS, nil
}

// merges are the pairs of tokenizer.ggml.merges.
func (m metadata) merges() ([][2]string, error) {
	texts, ok := m.Value("tokenizer.ggml.merges").([]string)
	if !ok {
		return nil, fmt.Errorf("it has no tokenizer.ggml.merges")
	}
	return cutMerges(texts)
}

func cutMerges(texts []string) ([][2]string, error) {
	merges := make([][2]string, len(texts))
	for i, text := range texts {
		at := strings.IndexByte(text[min(1, len(text)):], ' ') + 1 // the first token may be a space
		if at == 0 || at == len(text)-1 {
			return nil, fmt.Errorf("merge %d is %q, not two tokens", i, text)
		}
		merges[i] = [2]string{text[:at], text[at+1:]}
	}
	return merges, nil
}

const space = "▁" // how SentencePiece writes a space

// sentencePiece is a tokenizer like that of LLaMA 1 and 2: BPE of characters, with bytes for those that are no tokens.
func (m metadata) sentencePiece(v vocabulary) (object, error) {
	for b := range 256 {
		if _, ok := v.ids[byteName(b)]; !ok {
			return nil, fmt.Errorf("its tokenizer lacks the byte token %s", byteName(b))
		}
	}
	var merges [][2]string
	if m.Value("tokenizer.ggml.merges") != nil {
		var err error
		if merges, err = m.merges(); err != nil {
			return nil, err
		}
	} else {
		scores, _ := m.Value("tokenizer.ggml.scores").([]float32)
		if len(scores) != len(v.tokens) {
			return nil, fmt.Errorf("it has %d tokens and scores of %d", len(v.tokens), len(scores))
		}
		merges = scoredMerges(v, scores)
	}
	prefix := m.flag("add_space_prefix", true)
	decoders := []any{
		object{"type": "Replace", "pattern": object{"String": space}, "content": " "},
		object{"type": "ByteFallback"}, object{"type": "Fuse"},
	}
	if prefix {
		decoders = append(decoders, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	model := object{"type": "BPE", "vocab": v.ids, "merges": merges, "fuse_unk": true, "byte_fallback": true}
	if unknown, _, err := m.token(v, "unknown"); err != nil {
		return nil, err
	} else if unknown != "" {
		model["unk_token"] = unknown
	}
	return object{
		"normalizer": spaceNormalizer(prefix),
		"decoder":    object{"type": "Sequence", "decoders": decoders},
		"model":      model,
	}, nil
}

// spaceNormalizer writes spaces as SentencePiece does, with prefix also before the first word.
func spaceNormalizer(prefix bool) object {
	replace := object{"type": "Replace", "pattern": object{"String": " "}, "content": space}
	if !prefix {
		return replace
	}
	return object{"type": "Sequence", "normalizers": []any{object{"type": "Prepend", "prepend": space}, replace}}
}

func byteName(b int) string { return fmt.Sprintf("<0x%02X>", b) }

// scoredMerges are the merges that SentencePiece's scores stand for: each token of two tokens, the best score first, as
// transformers' SentencePieceExtractor finds them.
func scoredMerges(v vocabulary, scores []float32) [][2]string {
	type merge struct {
		pair  [2]string
		score float32
	}
	var all []merge
	for id, token := range v.tokens {
		if v.types[id] != normalToken {
			continue
		}
		start := len(all)
		for at := range token {
			left, right := token[:at], token[at:]
			if v.mergeable(left) && v.mergeable(right) {
				all = append(all, merge{[2]string{left, right}, scores[id]})
			}
		}
		slices.SortStableFunc(all[start:], func(a, b merge) int {
			return cmp.Or(v.ids[a.pair[0]]-v.ids[b.pair[0]], v.ids[a.pair[1]]-v.ids[b.pair[1]])
		})
	}
	slices.SortStableFunc(all, func(a, b merge) int { return cmp.Compare(b.score, a.score) })
	pairs := make([][2]string, len(all))
	for i, m := range all {
		pairs[i] = m.pair
	}
	return pairs
}

func (v vocabulary) mergeable(token string) bool {
	id, ok := v.ids[token]
	return ok && v.types[id] == normalToken && utf8.ValidString(token)
}

// postProcessor puts the first and the last token around a text.
func (m metadata) postProcessor(v vocabulary, addBOS, addEOS bool) (any, error) {
	specials := object{}
	around := func(what string, add bool) (any, error) {
		token, id, err := m.token(v, what)
		if err != nil || !add {
			return nil, err
		}
		if id < 0 {
			return nil, fmt.Errorf("its tokenizer adds a token at one end of a text, and tokenizer.ggml.%s_token_id names none", what)
		}
		specials[token] = object{"id": token, "ids": []int{id}, "tokens": []string{token}}
		return object{"SpecialToken": object{"id": token, "type_id": 0}}, nil
	}
	first, err := around("bos", addBOS)
	if err != nil {
		return nil, err
	}
	last, err := around("eos", addEOS)
	if err != nil || len(specials) == 0 {
		return nil, err
	}
	text := func(id string) []any {
		return slices.DeleteFunc([]any{first, object{"Sequence": object{"id": id, "type_id": 0}}, last},
			func(v any) bool { return v == nil })
	}
	return object{
		"type": "TemplateProcessing", "single": text("A"), "pair": append(text("A"), text("B")...), "special_tokens": specials,
	}, nil
}

// tokenizerConfig is tokenizer_config.json with the chat template.
func (m metadata) tokenizerConfig(c llama.Config) ([]byte, error) {
	v, err := m.vocabulary()
	if err != nil {
		return nil, err
	}
	t := object{
		"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": c.MaxPositionEmbeddings,
		"clean_up_tokenization_spaces": false,
	}
	for name, what := range map[string]string{"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"} {
		token, id, err := m.token(v, what)
		if err != nil {
			return nil, err
		}
		if id >= 0 {
			t[name] = token
		}
	}
	if template := m.text("tokenizer.chat_template"); template != "" {
		t["chat_template"] = template
	}
	return marshal(t)
}

// marshal is JSON without the escapes that HTML needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}
