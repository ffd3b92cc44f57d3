package llamacpp

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/gguf"
)

// tokenizerFile is a tokenizer.json as far as it decides how to write it down.
type tokenizerFile struct {
	Normalizer   json.RawMessage `json:"normalizer"`
	PreTokenizer json.RawMessage `json:"pre_tokenizer"`
	AddedTokens  []struct {
		ID      int    `json:"id"`
		Content string `json:"content"`
		Special bool   `json:"special"`
	} `json:"added_tokens"`
	Model struct {
		Type         string          `json:"type"`
		Vocab        map[string]int  `json:"vocab"`
		Merges       json.RawMessage `json:"merges"`
		Unknown      *string         `json:"unk_token"`
		ByteFallback bool            `json:"byte_fallback"`
		IgnoreMerges bool            `json:"ignore_merges"`
	} `json:"model"`
}

// tokenizer are the metadata of the tokenizer.
func (c Content) tokenizer() ([]gguf.KV, error) {
	var file tokenizerFile
	raw := c.Tokenizer["tokenizer.json"]
	var kind struct {
		Model struct {
			Type string `json:"type"`
		} `json:"model"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return nil, err
	}
	if kind.Model.Type != "BPE" {
		return nil, fmt.Errorf("a model of type %s; BPE is possible", kind.Model.Type)
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, err
	}
	merges, err := file.merges()
	if err != nil {
		return nil, err
	}
	v, err := file.vocabulary(c.Config.VocabSize)
	if err != nil {
		return nil, err
	}
	var pairs []gguf.KV
	if file.Model.ByteFallback {
		pairs, err = file.sentencePiece(v, merges)
	} else {
		pairs, err = file.byteLevelBPE(merges)
	}
	if err != nil {
		return nil, err
	}
	pairs = append(pairs, gguf.KV{Key: "tokenizer.ggml.tokens", Value: v.tokens}, gguf.KV{Key: "tokenizer.ggml.token_type", Value: v.types})
	ends, err := c.ends(raw)
	if err != nil {
		return nil, err
	}
	pairs = append(pairs, ends...)
	if file.Model.Unknown != nil {
		if id, ok := v.ids[*file.Model.Unknown]; ok {
			pairs = append(pairs, gguf.KV{Key: "tokenizer.ggml.unknown_token_id", Value: uint32(id)})
		}
	}
	if template := c.chatTemplate(); template != "" {
		pairs = append(pairs, gguf.KV{Key: "tokenizer.chat_template", Value: template})
	}
	return pairs, nil
}

// merges are pairs, or, as older versions of the library wrote them, texts with a space between both tokens.
func (f tokenizerFile) merges() ([][2]string, error) {
	var pairs [][2]string
	if json.Unmarshal(f.Model.Merges, &pairs) == nil {
		return pairs, nil
	}
	var texts []string
	if err := json.Unmarshal(f.Model.Merges, &texts); err != nil {
		return nil, fmt.Errorf("merges: %w", err)
	}
	return cutMerges(texts)
}

// vocabulary is the list of all size tokens that the model has embeddings for.
func (f tokenizerFile) vocabulary(size int) (vocabulary, error) {
	v := vocabulary{tokens: make([]string, size), types: slices.Repeat([]int32{unusedToken}, size), ids: map[string]int{}}
	put := func(token string, id int, kind int32) error {
		if id < 0 || id >= size {
			return fmt.Errorf("token %q has the id %d; the model has %d", token, id, size)
		}
		v.tokens[id], v.types[id], v.ids[token] = token, kind, id
		return nil
	}
	for token, id := range f.Model.Vocab {
		if err := put(token, id, normalToken); err != nil {
			return v, err
		}
	}
	if f.Model.ByteFallback {
		for b := range 256 {
			if id, ok := v.ids[byteName(b)]; ok {
				v.types[id] = byteToken
			}
		}
	}
	for _, t := range f.AddedTokens {
		kind := userDefinedToken
		switch {
		case f.Model.Unknown != nil && t.Content == *f.Model.Unknown:
			kind = unknownToken
		case t.Special:
			kind = controlToken
		}
		if err := put(t.Content, t.ID, kind); err != nil {
			return v, err
		}
	}
	for id, kind := range v.types {
		if kind == unusedToken {
			v.tokens[id] = fmt.Sprintf("[PAD%d]", id)
			v.ids[v.tokens[id]] = id
		}
	}
	return v, nil
}

func (f tokenizerFile) byteLevelBPE(merges [][2]string) ([]gguf.KV, error) {
	at := slices.IndexFunc(preTokenizers, func(p preTokenizer) bool { return p.writes(f.PreTokenizer, f.Model.IgnoreMerges) })
	if at < 0 {
		return nil, errors.New("its pre_tokenizer is none that llama.cpp has")
	}
	if essence(f.Normalizer) != nil {
		return nil, errors.New("it has a normalizer")
	}
	return []gguf.KV{
		{Key: "tokenizer.ggml.model", Value: "gpt2"},
		{Key: "tokenizer.ggml.pre", Value: preTokenizers[at].names[0]},
		{Key: "tokenizer.ggml.merges", Value: joinMerges(merges)},
	}, nil
}

// sentencePiece turns the order of merges into scores. Where the scores mean other merges, as they do for what wasn't made
// by SentencePiece, the merges are there too: transformers and we read them, llama.cpp goes by the scores.
func (f tokenizerFile) sentencePiece(v vocabulary, merges [][2]string) ([]gguf.KV, error) {
	if essence(f.PreTokenizer) != nil {
		return nil, errors.New("its pre_tokenizer is none that llama.cpp has")
	}
	var prefix bool
	switch got := essence(f.Normalizer); {
	case reflect.DeepEqual(got, spaceNormalizer(true)):
		prefix = true
	case !reflect.DeepEqual(got, spaceNormalizer(false)):
		return nil, errors.New("its normalizer does more than write spaces as ▁")
	}
	scores := make([]float32, len(v.tokens))
	for id := range scores {
		if v.types[id] == normalToken {
			scores[id] = -float32(len(merges) + id)
		}
	}
	for rank, pair := range slices.Backward(merges) {
		if id, ok := v.ids[pair[0]+pair[1]]; ok {
			scores[id] = -float32(rank)
		}
	}
	pairs := []gguf.KV{
		{Key: "tokenizer.ggml.model", Value: "llama"},
		{Key: "tokenizer.ggml.pre", Value: "default"},
		{Key: "tokenizer.ggml.scores", Value: scores},
		{Key: "tokenizer.ggml.add_space_prefix", Value: prefix},
	}
	if !slices.Equal(scoredMerges(v, scores), merges) {
		pairs = append(pairs, gguf.KV{Key: "tokenizer.ggml.merges", Value: joinMerges(merges)})
	}
	return pairs, nil
}

// ends are the tokens at the ends of a text, and whether the tokenizer adds them.
func (c Content) ends(tokenizer []byte) ([]gguf.KV, error) {
	t, err := data.NewTokenizer(tokenizer)
	if err != nil {
		return nil, err
	}
	bos := c.Config.Tokens().BOS
	around, text := t.Encode("a", true), t.Encode("a", false)
	addBOS := len(around) > 0 && len(text) > 0 && around[0] != text[0]
	if addBOS {
		bos, around = int(around[0]), around[1:]
	}
	addEOS := len(around) == len(text)+1 && len(c.EOS) > 0 && int(around[len(text)]) == c.EOS[0]
	if addEOS {
		around = around[:len(text)]
	}
	if !slices.Equal(around, text) {
		return nil, errors.New("it adds more than one token at the ends of a text")
	}
	return append(c.ids(bos),
		gguf.KV{Key: "tokenizer.ggml.add_bos_token", Value: addBOS},
		gguf.KV{Key: "tokenizer.ggml.add_eos_token", Value: addEOS},
	), nil
}

// ids are the tokens with a meaning. A negative id, such as the -1 of some config.json, is none.
func (c Content) ids(bos int) (pairs []gguf.KV) {
	put := func(what string, id int) {
		if id >= 0 {
			pairs = append(pairs, gguf.KV{Key: "tokenizer.ggml." + what + "_token_id", Value: uint32(id)})
		}
	}
	put("bos", bos)
	if c.Config.PadTokenID != nil {
		put("padding", *c.Config.PadTokenID)
	}
	for i, what := range []string{"eos", "eot", "eom"} {
		if i < len(c.EOS) {
			put(what, c.EOS[i])
		}
	}
	return pairs
}

func joinMerges(merges [][2]string) []string {
	texts := make([]string, len(merges))
	for i, pair := range merges {
		texts[i] = pair[0] + " " + pair[1]
	}
	return texts
}
