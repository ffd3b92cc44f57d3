package llamacpp

import (
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/gguf"
	"github.com/longform-go/longform/models/blocks"
)

// The settings of LLaMA 3.1 and 3.2 are found in the divisors that they give.
func TestLlama3(t *testing.T) {
	for _, factor := range []float64{8, 32} {
		want := blocks.Rope{Type: "llama3", Theta: 500000, Factor: factor, OriginalLength: 8192, LowFreqFactor: 1, HighFreqFactor: 4}
		divisors := want.Divisors(128)
		if divisors[0] != 1 || divisors[63] != float32(factor) {
			t.Errorf("divisors %v", divisors)
		}
		if got, err := llama3(blocks.Rope{Theta: 500000}, divisors, 128); err != nil || got != want {
			t.Errorf("%+v (error %v), want %+v", got, err, want)
		}
		divisors[40]++
		if _, err := llama3(blocks.Rope{Theta: 500000}, divisors, 128); err == nil {
			t.Error("other divisors were taken for llama3's")
		}
	}
	// What a file says of its heads takes no memory before its tensor agrees.
	if _, err := llama3(blocks.Rope{Theta: 500000}, []float32{1}, 1<<40); err == nil || !strings.Contains(err.Error(), "need 549755813888") {
		t.Errorf("one divisor for heads of 2^40 features: %v", err)
	}
}

// embedding is the one tensor that a configuration needs.
var embedding = gguf.Tensor{
	Info: gguf.Info{Name: "token_embd.weight", Type: gguf.F32, Shape: []int{768, 64}}, Data: func([]byte) error { return nil },
}

// withMetadata is a file of llama-tiny's metadata with others in place of those of the same keys; nil takes a key away.
func withMetadata(t *testing.T, others []gguf.KV, tensors ...gguf.Tensor) string {
	t.Helper()
	content := checkpoint(t, "llama-tiny", gguf.F32)
	content.Config.NumHiddenLayers = 1 // as few as there are tensors
	pairs, err := content.metadata()
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range others {
		pairs = slices.DeleteFunc(pairs, func(kv gguf.KV) bool { return kv.Key == other.Key })
		if other.Value != nil {
			pairs = append(pairs, other)
		}
	}
	path := filepath.Join(t.TempDir(), "changed.gguf")
	if err := gguf.Write(path, pairs, tensors); err != nil {
		t.Fatal(err)
	}
	return path
}

// The rotary settings are those that llama.cpp's load_hparams takes from the same metadata.
func TestRope(t *testing.T) {
	const kind, factor, old = "llama.rope.scaling.type", "llama.rope.scaling.factor", "llama.rope.scale_linear"
	standard := blocks.Rope{Type: "default", Theta: 10000}
	linear := blocks.Rope{Type: "linear", Theta: 10000, Factor: 4}
	for _, test := range []struct {
		metadata []gguf.KV
		want     blocks.Rope
	}{
		{[]gguf.KV{}, standard},
		{[]gguf.KV{{Key: factor, Value: float32(4)}}, linear},
		{[]gguf.KV{{Key: old, Value: float32(4)}}, linear},
		{[]gguf.KV{{Key: factor, Value: float32(4)}, {Key: old, Value: float32(2)}}, linear},
		{[]gguf.KV{{Key: factor, Value: float32(0)}}, standard},
		{[]gguf.KV{{Key: factor, Value: float32(1)}}, standard},
		{[]gguf.KV{{Key: kind, Value: "linear"}}, standard},
		{[]gguf.KV{{Key: kind, Value: "yarn"}}, standard},
		{[]gguf.KV{{Key: kind, Value: "none"}, {Key: factor, Value: float32(4)}}, standard},
	} {
		if got := open(t, withMetadata(t, test.metadata, embedding)).Config().Rope; got != test.want {
			t.Errorf("%v: %+v, want %+v", test.metadata, got, test.want)
		}
	}
}

// An id outside of the vocabulary is none, and a turn's end is found by its name where the metadata don't tell it.
func TestSpecialTokens(t *testing.T) {
	const null = uint32(math.MaxUint32) // LLAMA_TOKEN_NULL
	id := func(what string, value any) gguf.KV {
		return gguf.KV{Key: "tokenizer.ggml." + what + "_token_id", Value: value}
	}
	tokens := func(names ...string) gguf.KV { return gguf.KV{Key: "tokenizer.ggml.tokens", Value: names} }
	types := func(of ...int32) gguf.KV { return gguf.KV{Key: "tokenizer.ggml.token_type", Value: of} }
	chat := tokens("a", "</s>", "<|end|>", "<|im_end|>")
	for name, test := range map[string]struct {
		metadata []gguf.KV
		want     string // generation_config.json
	}{
		"none": {[]gguf.KV{id("bos", null), id("eos", uint32(2)), id("padding", null)},
			`{"bos_token_id":null,"eos_token_id":2,"pad_token_id":null}`},
		"negative": {[]gguf.KV{id("bos", int32(-1)), id("eos", uint32(2)), id("padding", int32(-1))},
			`{"bos_token_id":null,"eos_token_id":2,"pad_token_id":null}`},
		"beyond": {[]gguf.KV{id("bos", uint32(767)), id("eos", uint32(768)), id("padding", uint64(1<<40))},
			`{"bos_token_id":767,"eos_token_id":null,"pad_token_id":null}`},
		"turn": {[]gguf.KV{id("bos", nil), id("eos", uint32(1)), chat, types(1, 3, 3, 3)},
			`{"bos_token_id":null,"eos_token_id":[1,3],"pad_token_id":null}`},
		"turn of no control token": {[]gguf.KV{id("bos", nil), id("eos", uint32(1)), chat, types(1, 3, 3, 1)},
			`{"bos_token_id":null,"eos_token_id":[1,2],"pad_token_id":null}`},
		"turn that is told": {[]gguf.KV{id("bos", nil), id("eos", uint32(1)), id("eot", uint32(0)), chat, types(1, 3, 3, 3)},
			`{"bos_token_id":null,"eos_token_id":[1,0],"pad_token_id":null}`},
		"turn that is the text's": {[]gguf.KV{id("bos", nil), id("eos", uint32(3)), id("eot", null), chat, types(1, 3, 3, 3)},
			`{"bos_token_id":null,"eos_token_id":3,"pad_token_id":null}`},
	} {
		raw, err := fs.ReadFile(open(t, withMetadata(t, test.metadata, embedding)).Files(), "generation_config.json")
		if err != nil || string(raw) != test.want {
			t.Errorf("%s: %s (error %v), want %s", name, raw, err, test.want)
		}
	}
	files := open(t, withMetadata(t, []gguf.KV{chat, id("padding", null)}, embedding)).Files()
	raw, err := fs.ReadFile(files, "tokenizer_config.json")
	if err != nil || !strings.Contains(string(raw), `"eos_token":"<|end|>"`) || strings.Contains(string(raw), "pad_token") {
		t.Errorf("tokenizer_config.json is %s (error %v)", raw, err)
	}
	// What transformers knows as no token isn't written as one, either.
	content := checkpoint(t, "llama-tiny", gguf.F32)
	content.Config.PadTokenID, content.EOS = new(-1), []int{-1, 5}
	if c := open(t, write(t, content)).Config(); c.PadTokenID != nil {
		t.Errorf("a padding token of -1 became %d", *c.PadTokenID)
	}
}

func TestRefused(t *testing.T) {
	odd := embedding
	odd.Name, odd.Type = "output.weight", 20
	factors := embedding
	factors.Name, factors.Shape = ropeFactors, []int{8}
	tests := []struct {
		key     string
		value   any // nil takes the key away
		tensors []gguf.Tensor
		want    string
	}{
		{"general.architecture", "gpt2", nil, `architecture "gpt2" is not supported`},
		{"split.count", uint16(3), nil, "one of 3 parts"},
		{"llama.expert_count", uint32(8), nil, "mixture of 8 experts"},
		{"llama.block_count", nil, nil, "no llama.block_count"},
		{"llama.block_count", "two", nil, "llama.block_count is two"},
		{"llama.block_count", uint64(1 << 40), nil, "llama.block_count is 1099511627776"},
		{"llama.block_count", uint32(1 << 30), nil, "llama.block_count is 1073741824, and there are 1 tensors"},
		{"llama.block_count", uint32(0), nil, "num_hidden_layers is 0"},
		{"llama.attention.layer_norm_rms_epsilon", nil, nil, "no llama.attention.layer_norm_rms_epsilon"},
		{"llama.attention.head_count_kv", []int32{4, 2}, nil, "differs from layer to layer"},
		{"llama.attention.head_count_kv", uint32(3), nil, "not a multiple"},
		{"llama.rope.dimension_count", uint32(8), nil, "8 of 16 features"},
		{"llama.attention.value_length", uint32(8), nil, "values of 8 features"},
		{"llama.rope.scaling.type", "longrope", nil, `rope scaling "longrope"`},
		{"llama.rope.scaling.factor", float32(0.5), nil, "rope linear needs a factor of at least 1, not 0.5"},
		{"llama.rope.scaling.factor", float32(2), []gguf.Tensor{embedding, factors}, "linear rope scaling by 2 together with rope_freqs.weight"},
		{"llama.rope.scaling.attn_factor", float32(2), nil, "attn_factor 2"},
		{"none", nil, []gguf.Tensor{}, "no token_embd.weight"},
		{"none", nil, []gguf.Tensor{embedding, odd}, `tensor "output.weight": numbers of IQ4_NL`},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			if test.tensors == nil {
				test.tensors = []gguf.Tensor{embedding}
			}
			path := withMetadata(t, []gguf.KV{{Key: test.key, Value: test.value}}, test.tensors...)
			if _, err := Open(path); err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one about %q", err, test.want)
			}
		})
	}
	// Only the first part of a model has its metadata.
	part := filepath.Join(t.TempDir(), "part.gguf")
	if err := gguf.Write(part, []gguf.KV{{Key: "split.no", Value: uint16(1)}, {Key: "split.count", Value: uint16(3)}}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(part); err == nil || !strings.Contains(err.Error(), "one of 3 parts") {
		t.Errorf("the second part of three: %v", err)
	}
}
