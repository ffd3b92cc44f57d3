package llamacpp

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/gguf"
	"github.com/longform-go/longform/internal/testneeds"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/llama"
)

// checkpoint is a model of models/testdata with weights that tell where each of their numbers is.
func checkpoint(t *testing.T, config string, format gguf.Type) Content {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../models/testdata", config, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := llama.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	content := Content{Name: config, Config: c, EOS: c.EOSTokenID, Type: format}
	for _, w := range models.Weights(c.New()) {
		content.Tensors = append(content.Tensors, Tensor{w.Name, w.Shape, func() ([]float32, error) {
			values := make([]float32, w.Size())
			for i := range values {
				values[i] = float32(i)
			}
			return values, nil
		}})
	}
	return content
}

func write(t *testing.T, c Content) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := Write(path, c); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *Model {
	t.Helper()
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// A model comes back as it was, whatever its heads, biases and rotary positions are.
func TestRoundTrip(t *testing.T) {
	for _, name := range []string{
		"llama-tiny", "llama-gqa-headdim-tied", "llama-bias", "llama-linear", "llama-llama3", "llama-yarn",
	} {
		t.Run(name, func(t *testing.T) {
			want := checkpoint(t, name, gguf.F32)
			m := open(t, write(t, want))
			got, expected := m.Config(), want.Config
			expected.InitializerRange, expected.AttentionDropout = got.InitializerRange, got.AttentionDropout // of training alone
			if expected.Rope.Type == "linear" {
				expected.Rope.OriginalLength = 0
			}
			if !reflect.DeepEqual(got, expected) {
				t.Errorf("configuration %+v\nwant %+v", got, expected)
			}
			if len(m.Tensors()) != len(want.Tensors) {
				t.Errorf("%d tensors, want %d", len(m.Tensors()), len(want.Tensors))
			}
			for _, w := range want.Tensors {
				v, err := m.ReadFloat32(w.Name)
				expected, _ := w.Read()
				if err != nil || !slices.Equal(v, expected) {
					t.Errorf("%s differs (error %v)", w.Name, err)
				}
			}
		})
	}
}

// gguf-py reads the file, and finds the rows of queries and keys where llama.cpp's converter puts them: its permutation is
// reshape(heads, 2, rows/heads/2, columns).swapaxes(1, 2).
func TestPythonReadsOurs(t *testing.T) {
	python := testneeds.Python(t, "gguf")
	content := checkpoint(t, "llama-gqa-headdim-tied", gguf.F32)
	content.Tokenizer = tokenizerOf(t, "opt")
	content.Config.VocabSize = 1 << 10
	content.Tensors[0].Shape = []int{content.Config.VocabSize, content.Config.HiddenSize}
	content.Tensors[0].Read = func() ([]float32, error) {
		return make([]float32, content.Config.VocabSize*content.Config.HiddenSize), nil
	}
	out := testneeds.Output(t, exec.Command(python, "-c", `
import json, sys
import numpy as np
from gguf import GGUFReader
reader = GGUFReader(sys.argv[1])
value = lambda key: reader.fields[key].contents()
for t in reader.tensors:
    if ".attn_q." in t.name or ".attn_k." in t.name:
        heads = value("llama.attention.head_count" + ("_kv" if ".attn_k." in t.name else ""))
        x = np.arange(t.data.size, dtype=np.float32).reshape(t.data.shape)
        x = x.reshape(heads, 2, x.shape[0] // heads // 2, x.shape[1]).swapaxes(1, 2).reshape(x.shape)
        assert np.array_equal(t.data, x), t.name
print(json.dumps([len(reader.tensors), value("general.architecture"), value("tokenizer.ggml.pre"), len(value("tokenizer.ggml.tokens"))]))
`, write(t, content)))
	var got []any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := []any{float64(len(content.Tensors)), "llama", "gpt-2", float64(content.Config.VocabSize)}; !reflect.DeepEqual(got, want) {
		t.Errorf("python read %v, want %v", got, want)
	}
}

func tokenizerOf(t *testing.T, family string) map[string][]byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../data/testdata", family, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"tokenizer.json": raw, "chat_template.jinja": []byte("{{ messages }}")}
}

// A tokenizer that has been through a file still does what transformers does, for both kinds.
func TestTokenizers(t *testing.T) {
	for _, family := range []string{"llama", "opt"} {
		t.Run(family, func(t *testing.T) {
			var want struct {
				EOS      int `json:"eos"`
				Tokenize []struct {
					Text    string  `json:"text"`
					IDs     []int32 `json:"ids"`
					Decoded string  `json:"decoded"`
				} `json:"tokenize"`
			}
			raw, err := os.ReadFile(filepath.Join("../../data/testdata", family, "expected.json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(raw, &want); err != nil || len(want.Tokenize) == 0 {
				t.Fatalf("nothing to compare with (error %v)", err)
			}
			content := checkpoint(t, "llama-tiny", gguf.F32)
			content.Config.VocabSize, content.Config.NumHiddenLayers = 1<<10, 1
			content.EOS, content.Tokenizer = []int{want.EOS, 7}, tokenizerOf(t, family)
			content.Tensors = []Tensor{{"model.embed_tokens.weight", []int{1 << 10, 2}, func() ([]float32, error) { return make([]float32, 2<<10), nil }}}
			files := open(t, write(t, content)).Files()
			raw, err = fs.ReadFile(files, "tokenizer.json")
			if err != nil {
				t.Fatal(err)
			}
			tok, err := data.NewTokenizer(raw)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range want.Tokenize {
				ids := tok.Encode(c.Text, true)
				if !slices.Equal(ids, c.IDs) {
					t.Errorf("%q: ids %v, want %v", c.Text, ids, c.IDs)
				}
				if got := tok.Decode(c.IDs, true); got != c.Decoded {
					t.Errorf("%q: decoded %q, want %q", c.Text, got, c.Decoded)
				}
			}
			for file, want := range map[string]string{
				"tokenizer_config.json": `"chat_template":"{{ messages }}"`, "generation_config.json": `,7]`,
			} {
				if raw, err := fs.ReadFile(files, file); err != nil || !strings.Contains(string(raw), want) {
					t.Errorf("%s is %s (error %v), want %s in it", file, raw, err, want)
				}
			}
		})
	}
}

// Each way of cutting words is recognized in the tokenizer.json that it makes, and by no other one.
func TestPreTokenizers(t *testing.T) {
	for i, p := range preTokenizers {
		raw, err := json.Marshal(p.json())
		if err != nil {
			t.Fatal(err)
		}
		for k, other := range preTokenizers {
			if other.writes(raw, p.ignoreMerges) != (i == k) {
				t.Errorf("%s is taken for %s: %v", p.names[0], other.names[0], i != k)
			}
		}
	}
}

func TestScoredMerges(t *testing.T) {
	v := vocabulary{tokens: []string{"<unk>", "a", "b", "c", "bc", "ab", "abc", "</s>"}, ids: map[string]int{}}
	for id, token := range v.tokens {
		v.ids[token] = id
	}
	v.types = []int32{unknownToken, normalToken, normalToken, normalToken, normalToken, normalToken, normalToken, controlToken}
	got := scoredMerges(v, []float32{0, -9, -9, -9, -2, -1, -3, 0})
	if want := [][2]string{{"a", "b"}, {"b", "c"}, {"a", "bc"}, {"ab", "c"}}; !slices.Equal(got, want) {
		t.Errorf("merges %v, want %v", got, want)
	}
}

func TestRefusedTokenizers(t *testing.T) {
	tokens := gguf.KV{Key: "tokenizer.ggml.tokens", Value: []string{"a", "b"}}
	merges := gguf.KV{Key: "tokenizer.ggml.merges", Value: []string{}}
	model := func(name string) gguf.KV { return gguf.KV{Key: "tokenizer.ggml.model", Value: name} }
	for want, pairs := range map[string][]gguf.KV{
		"no tokenizer.ggml.tokens":                {},
		"types of 1":                              {tokens, {Key: "tokenizer.ggml.token_type", Value: []int32{1}}},
		`token "a" has the ids 0 and 1`:           {{Key: "tokenizer.ggml.tokens", Value: []string{"a", "a"}}},
		`its tokenizer "bert"`:                    {tokens, model("bert")},
		`pre-tokenizer "qwen2"`:                   {tokens, model("gpt2"), {Key: "tokenizer.ggml.pre", Value: "qwen2"}},
		"no tokenizer.ggml.merges":                {tokens, model("gpt2")},
		`merge 1 is "ab"`:                         {tokens, model("gpt2"), {Key: "tokenizer.ggml.merges", Value: []string{"a b", "ab"}}},
		"lacks the byte token <0x00>":             {tokens, model("llama")},
		"bos_token_id is one, not a whole number": {tokens, model("gpt2"), merges, {Key: "tokenizer.ggml.bos_token_id", Value: "one"}},
		"bos_token_id names none":                 {tokens, model("gpt2"), merges, {Key: "tokenizer.ggml.bos_token_id", Value: uint32(9)}, {Key: "tokenizer.ggml.add_bos_token", Value: true}},
		"eos_token_id names none":                 {tokens, model("gpt2"), merges, {Key: "tokenizer.ggml.add_eos_token", Value: true}},
	} {
		path := filepath.Join(t.TempDir(), "bad.gguf")
		if err := gguf.Write(path, pairs, nil); err != nil {
			t.Fatal(err)
		}
		f, err := gguf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := (metadata{f}).tokenizer(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q", err, want)
		}
	}
	content := checkpoint(t, "llama-tiny", gguf.F32)
	content.Tokenizer = tokenizerOf(t, "t5")
	if err := Write(filepath.Join(t.TempDir(), "t5.gguf"), content); err == nil || !strings.Contains(err.Error(), "a model of type Unigram") {
		t.Errorf("T5's tokenizer: %v", err)
	}
	content.Tokenizer = tokenizerOf(t, "llama")
	content.Config.VocabSize = 700
	if err := Write(filepath.Join(t.TempDir(), "small.gguf"), content); err == nil || !strings.Contains(err.Error(), "the model has 700") {
		t.Errorf("a tokenizer with more ids than the model: %v", err)
	}
	dynamic := checkpoint(t, "llama-dynamic", gguf.F32)
	if err := Write(filepath.Join(t.TempDir(), "dynamic.gguf"), dynamic); err == nil || !strings.Contains(err.Error(), "type dynamic") {
		t.Errorf("dynamic rotary positions: %v", err)
	}
}
