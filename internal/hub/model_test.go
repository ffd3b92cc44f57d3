package hub

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/hub/hubtest"
)

func TestModelFiles(t *testing.T) {
	const index = `{"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}}`
	const config = `{"architectures": ["T5ForConditionalGeneration"]}`
	tests := []struct {
		name      string
		files     map[string]string
		want      string // downloaded files
		wantError string // of one of the three
	}{
		{"one file", map[string]string{"config.json": config, "tokenizer.json": "", "model.safetensors": "", "pytorch_model.bin": "", "README.md": ""},
			"config.json model.safetensors tokenizer.json", ""},
		{"everything", map[string]string{"config.json": config, "generation_config.json": "", "tokenizer.json": "", "tokenizer_config.json": "",
			"special_tokens_map.json": "", "chat_template.jinja": "", "model.safetensors": "", "flax_model.msgpack": "", "tokenizer.model": ""},
			"chat_template.jinja config.json generation_config.json model.safetensors special_tokens_map.json tokenizer.json tokenizer_config.json", ""},
		{"shards", map[string]string{"config.json": config, "tokenizer.json": "", "model.safetensors.index.json": index, "model-1.safetensors": "",
			"model-2.safetensors": "", "model-3.safetensors": "", "consolidated.safetensors": ""},
			"config.json model-1.safetensors model-2.safetensors model.safetensors.index.json tokenizer.json", ""},
		{"missing shard", map[string]string{"config.json": config, "tokenizer.json": "", "model.safetensors.index.json": index, "model-1.safetensors": ""},
			"", "model-2.safetensors is not in the repository"},
		{"broken index", map[string]string{"config.json": config, "tokenizer.json": "", "model.safetensors.index.json": "{"},
			"", "model.safetensors.index.json: unexpected end"},
		{"no config", map[string]string{"tokenizer.json": "", "model.safetensors": ""}, "", "no config.json"},
		{"adapter", map[string]string{"adapter_config.json": "", "adapter_model.safetensors": ""},
			"", "it is a PEFT adapter, not a model; download it with: hf download o/n --local-dir n, and give the directory"},
		{"torch weights", map[string]string{"config.json": config, "tokenizer.json": "", "pytorch_model-00001-of-00002.bin": ""},
			"", `no model.safetensors in it, only pytorch_model-00001-of-00002.bin, which isn't read; convert it with: python3 -c 'import transformers as t; ` +
				`t.T5ForConditionalGeneration.from_pretrained("o/n").save_pretrained("n", safe_serialization=True); t.AutoTokenizer.from_pretrained("o/n").save_pretrained("n")'; then give the directory n instead`},
		{"no weights", map[string]string{"config.json": `{"architectures": ["x(); y"]}`, "tokenizer.json": ""},
			"", "no model.safetensors in it; convert it with: python3 -c 'import transformers as t; t.AutoModelForCausalLM."},
		{"slow tokenizer", map[string]string{"config.json": config, "vocab.json": "", "model.safetensors": ""},
			"", `no tokenizer.json in it; convert it with: python3 -c `},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			hubtest.New(t).Put("models", "o/n", hubtest.Repository{Files: test.files})
			m, err := OpenModel("o/n")
			if err != nil {
				t.Fatal(err)
			}
			for _, fetch := range []func() error{m.FetchConfig, m.FetchTokenizer, m.FetchWeights} {
				if err = fetch(); err != nil {
					break
				}
			}
			if test.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantError) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %v, want %s", err, test.wantError)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(m.Dir())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range entries {
				names = append(names, filepath.Base(e.Name()))
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != test.want {
				t.Errorf("downloaded %s, want %s", got, test.want)
			}
		})
	}
}
