package pretrained

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/hub/hubtest"
	"github.com/longform-go/longform/models/auto"
)

const tiny = "../../models/testdata/llama-tiny"

// weights loads a source in pure Go and returns its tensors' bytes by name.
func weights(t *testing.T, s *Source) (map[string]string, error) {
	t.Helper()
	d, err := device.Open(device.Go)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	spec, err := NewSpec(s.Config, s.LoRA, dtypes.Float32, dtypes.Float32)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Load(d, spec, 0)
	if err != nil {
		return nil, err
	}
	defer p.Free()
	read := map[string]string{}
	for _, tensor := range p.Tensors() {
		raw := make([]byte, tensor.Bytes())
		if err := tensor.Data(raw); err != nil {
			t.Fatal(err)
		}
		read[tensor.Name] = string(raw)
	}
	return read, nil
}

// sameAsTiny compares all that a run takes from a source with what it takes from the directory.
func sameAsTiny(t *testing.T, s *Source) {
	t.Helper()
	local := find(t, tiny)
	for _, source := range []*Source{local, s} {
		if _, err := source.Tokenizer(); err != nil { // as the commands do, before they look at Config
			t.Fatal(err)
		}
	}
	summary := func(s *Source) string {
		config, err := s.Config.JSON("float32")
		if err != nil {
			t.Fatal(err)
		}
		tokenizer, err := s.Tokenizer()
		if err != nil {
			t.Fatal(err)
		}
		read, err := weights(t, s)
		if err != nil {
			t.Fatal(err)
		}
		files, err := s.TokenizerFiles(tokenizer)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(string(config), s.EOS(), read, files)
	}
	if summary(s) != summary(local) {
		t.Errorf("%s isn't what the directory is", s.Name)
	}
}

func find(t *testing.T, name string) *Source {
	t.Helper()
	s, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestModelOfTheHub(t *testing.T) {
	h := hubtest.New(t)
	files := hubtest.Files(t, os.DirFS(tiny))
	// One name tells the size of another model, the other nothing.
	for _, name := range []string{"owner/llama-7b", "owner/tiny"} {
		h.Put("models", name, hubtest.Repository{Files: files, Break: 300_000})
		sameAsTiny(t, find(t, name))
	}
	for _, path := range h.Asked() {
		if strings.HasSuffix(path, ".jsonl") || strings.HasSuffix(path, "expected.json") {
			t.Errorf("asked for %s", path)
		}
	}
	h.Close()
	for _, name := range []string{"owner/llama-7b", "owner/tiny"} {
		sameAsTiny(t, find(t, name))
	}

	// An adapter whose base is a name.
	adapter := filepath.Join(t.TempDir(), "adapter")
	if err := os.Mkdir(adapter, 0o777); err != nil {
		t.Fatal(err)
	}
	config := `{"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "base_model_name_or_path": "owner/llama-7b"}`
	if err := os.WriteFile(filepath.Join(adapter, adapterConfigName), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	if got, want := find(t, adapter).Config.Vocabulary(), find(t, tiny).Config.Vocabulary(); got != want {
		t.Errorf("an adapter's base has %d rows in its embedding, want %d", got, want)
	}

	exported := filepath.Join(t.TempDir(), "exported")
	if err := find(t, "owner/llama-7b").Export(exported, Extra{}); err != nil {
		t.Fatal(err)
	}
	sameWeights, err := weights(t, find(t, exported))
	if want, _ := weights(t, find(t, tiny)); err != nil || fmt.Sprint(sameWeights) != fmt.Sprint(want) {
		t.Errorf("exported weights differ, or %v", err)
	}
}

// A plan of a model that is known by name needs no network, and neither has one with random weights and a tokenizer from
// here.
func TestKnownNameAsksNothing(t *testing.T) {
	h := hubtest.New(t)
	s := find(t, "facebook/opt-125m")
	if want, _ := auto.Known("opt-125m"); !reflect.DeepEqual(s.Config, want) {
		t.Errorf("config %+v", s.Config)
	}
	s.EOS()
	for _, name := range []string{DemoName, tiny} {
		if err := s.UseTokenizer(name); err != nil {
			t.Fatal(err)
		}
		tokenizer, err := s.Tokenizer()
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := find(t, name).Tokenizer(); string(tokenizer.JSON()) != string(want.JSON()) {
			t.Errorf("not the tokenizer of %s", name)
		}
		files, err := s.TokenizerFiles(tokenizer)
		if err != nil || len(files["tokenizer_config.json"]) == 0 && name == tiny || len(files[generationFile]) > 0 {
			t.Errorf("files of %s: %d (error %v)", name, len(files), err)
		}
	}
	if asked := h.Asked(); len(asked) > 0 {
		t.Errorf("asked for %q", asked)
	}
	if _, err := s.Tokenizer(); err != nil {
		t.Error(err)
	}
	h.Put("models", "owner/tokenizer", hubtest.Repository{Files: map[string]string{"tokenizer.json": hubtest.Files(t, os.DirFS(tiny))["tokenizer.json"]}})
	if err := s.UseTokenizer("owner/tokenizer"); err != nil {
		t.Error(err)
	}
}

// Tokenizer and configuration without the weights.
func TestRandomOfTheHub(t *testing.T) {
	h := hubtest.New(t)
	h.Put("models", "owner/llama-7b", hubtest.Repository{Files: hubtest.Files(t, os.DirFS(tiny))})
	s := find(t, "owner/llama-7b")
	if _, err := s.Tokenizer(); err != nil {
		t.Fatal(err)
	}
	if s.Config.Vocabulary() != find(t, tiny).Config.Vocabulary() {
		t.Error("the configuration isn't the published one")
	}
	if asked := h.Asked(); slices.ContainsFunc(asked, func(path string) bool { return strings.HasSuffix(path, "model.safetensors") }) {
		t.Errorf("asked for %q", asked)
	}
}

func TestHubMistakes(t *testing.T) {
	h := hubtest.New(t)
	files := func(without ...string) map[string]string {
		all := hubtest.Files(t, os.DirFS(tiny))
		for _, name := range without {
			delete(all, name)
		}
		return all
	}
	torch := files("model.safetensors")
	torch["pytorch_model.bin"] = "pickle"
	many := files()
	many["config.json"] = strings.Replace(many["config.json"], `"vocab_size": 768`, `"vocab_size": 700`, 1)
	other := files()
	other["config.json"] = `{"model_type": "gpt2"}`
	for name, r := range map[string]hubtest.Repository{
		"owner/torch": {Files: torch}, "owner/opt-125m": {Files: torch}, "owner/slow": {Files: files("tokenizer.json")},
		"owner/none": {Files: files("config.json")}, "owner/gpt2": {Files: other}, "owner/many": {Files: many},
		"owner/gated": {Files: files(), Token: "secret"}, "owner/llama-13b": {Files: files(), Token: "secret"},
		"owner/torn": {Files: files(), Bare: true, Break: 300_000}, "owner/damaged": {Files: files(), Damage: true},
	} {
		h.Put("models", name, r)
	}
	const conversion = `t.LlamaForCausalLM.from_pretrained("owner/`
	found := func(name string) error { _, err := Find(name); return err }
	tokenizer := func(name string) error { _, err := find(t, name).Tokenizer(); return err }
	loaded := func(name string) error { _, err := weights(t, find(t, name)); return err }
	downloaded := func(name string) error { return find(t, name).Download() }
	tests := []struct {
		name string
		do   func(string) error
		want string
	}{
		{"owner/torch", loaded, "only pytorch_model.bin, which isn't read; convert it with: python3 -c"},
		{"owner/torch", downloaded, conversion},
		{"owner/opt-125m", downloaded, conversion},
		{"owner/slow", tokenizer, conversion},
		{"owner/none", found, "no config.json"},
		{"owner/gpt2", found, `model_type "gpt2"`},
		{"owner/many", tokenizer, "768 ids and its embedding 700 rows"},
		{"owner/gated", found, "and set HF_TOKEN"},
		{"owner/llama-13b", tokenizer, "and set HF_TOKEN"},
		{"owner/llama-13b", loaded, "and set HF_TOKEN"},
		{"owner/torn", loaded, "EOF"},
		{"owner/damaged", found, "config.json is not valid JSON"},
		{"owner/missing", found, "no such directory, and not from the hub either: "},
		{"owner/llama-30b", downloaded, "404"},
		{"missing", found, "known size (t5-v1_1-small"},
		{"opt-125m", tokenizer, "only its size is known"},
		{"opt-125m", loaded, "give a directory or a hub name"},
		{tiny + "/config.json", found, "a file; give the directory"},
	}
	check := func(name string, err error, want string) {
		t.Helper()
		if err == nil || !strings.HasPrefix(err.Error(), "model "+name+": ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	for _, test := range tests {
		check(test.name, test.do(test.name), test.want)
	}
	for name, want := range map[string]string{
		"owner/slow": conversion, "owner/missing": "404", "missing": "no such directory; give one", t.TempDir(): "no tokenizer.json in it",
		tiny + "/config.json": "a file",
	} {
		if err := find(t, "opt-125m").UseTokenizer(name); err == nil || !strings.HasPrefix(err.Error(), "tokenizer "+name+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("tokenizer %s: %v, want %s", name, err, want)
		}
	}
	h.Close()
	const away = "the hub cannot be reached and no earlier download is there: "
	check("owner/new", found("owner/new"), away)
	check("owner/llama-65b", loaded("owner/llama-65b"), away)
	check("owner/llama-65b", tokenizer("owner/llama-65b"), away)
}
