package demo

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

type pair struct{ Input, Output, Source, Subset string }

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func pairs(t *testing.T, name string) []pair {
	t.Helper()
	var all []pair
	for i, line := range bytes.Split(bytes.TrimSuffix(read(t, name), []byte("\n")), []byte("\n")) {
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		var p pair
		if err := d.Decode(&p); err != nil {
			t.Fatalf("%s:%d: %v", name, i+1, err)
		}
		all = append(all, p)
	}
	return all
}

func TestPairs(t *testing.T) {
	subsets := map[string]bool{"recipe": true, "howto": true, "story": true, "weather": true, "email": true, "explanation": true, "place": true}
	inputs, outputs := map[string]string{}, map[string]string{}
	for _, file := range []struct {
		name  string
		count int
	}{{"train.jsonl", 200}, {"validation.jsonl", 24}} {
		all := pairs(t, file.name)
		if len(all) != file.count {
			t.Errorf("%s has %d pairs, want %d", file.name, len(all), file.count)
		}
		seen := map[string]bool{}
		for _, p := range all {
			seen[p.Subset] = true
			if n := len(strings.Fields(p.Output)); n < 25 || n > 60 {
				t.Errorf("%s: %q has an output of %d words, want 25 to 60", file.name, p.Input, n)
			}
			if p.Input == "" || p.Source != "demo" || !subsets[p.Subset] {
				t.Errorf("%s: incomplete pair %+v", file.name, p)
			}
			// Duplicates count across files too: a repeated pair would make the validation loss meaningless.
			if where, ok := inputs[p.Input]; ok {
				t.Errorf("%s: %q is already in %s", file.name, p.Input, where)
			}
			if where, ok := outputs[p.Output]; ok {
				t.Errorf("%s: the output of %q is already in %s", file.name, p.Input, where)
			}
			inputs[p.Input], outputs[p.Output] = file.name, file.name
		}
		if len(seen) != len(subsets) {
			t.Errorf("%s has subsets %v, want all of %v", file.name, seen, subsets)
		}
	}
	prompts := pairs(t, "prompts.jsonl")
	if len(prompts) != 3 {
		t.Errorf("%d prompts, want 3", len(prompts))
	}
	for _, p := range prompts {
		if where, ok := inputs[p.Input]; ok {
			t.Errorf("prompt %q is already in %s", p.Input, where)
		}
	}
}

func TestTokenizerFitsConfig(t *testing.T) {
	var tokenizer struct {
		AddedTokens []struct {
			ID      int
			Content string
		} `json:"added_tokens"`
		Model struct{ Vocab map[string]int }
	}
	var config struct {
		VocabSize int `json:"vocab_size"`
		BOS       int `json:"bos_token_id"`
		EOS       int `json:"eos_token_id"`
		Pad       int `json:"pad_token_id"`
	}
	for name, v := range map[string]any{"tokenizer.json": &tokenizer, "config.json": &config} {
		if err := json.Unmarshal(read(t, name), v); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if n := len(tokenizer.Model.Vocab); n != 1024 || config.VocabSize != n {
		t.Errorf("tokenizer has %d tokens and config %d, want 1024", n, config.VocabSize)
	}
	ids := map[int]bool{}
	for token, id := range tokenizer.Model.Vocab {
		if id < 0 || id >= config.VocabSize || ids[id] {
			t.Errorf("token %q has id %d: out of range or used twice", token, id)
		}
		ids[id] = true
	}
	added := map[string]int{}
	for _, a := range tokenizer.AddedTokens {
		added[a.Content] = a.ID
	}
	for token, id := range map[string]int{"<s>": config.BOS, "</s>": config.EOS, "<pad>": config.Pad} {
		if got, ok := added[token]; !ok || got != id {
			t.Errorf("special token %s has id %d, config says %d", token, got, id)
		}
	}
}
