package modelcard

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const config = `
model: {path: huggyllama/llama-7b, precision: bf16}
data: {train: [akoksal/LongForm, /home/someone/secret/more.jsonl], validation: akoksal/LongForm:validation, eoi: none, max_length: 512, packing: blocks}
optim: {lr: 2e-5}
run: {dir: /home/someone/runs/x, steps: 300, batch_size: 8}
tracking: {mlflow: "http://somewhere:5000"}
`

const metrics = `{"step":100,"epoch":0.5,"loss":2.5,"grad_norm":1,"lr":1e-5,"tokens":123456,"targets":1,"seconds":1,"tokens_per_second":1}
{"step":100,"eval_loss":2,"eval_targets":4321,"eval_seconds":1}
{"step":200,"epoch":1,"loss":1.5,"grad_norm":1,"lr":1e-5,"tokens":234567,"targets":1,"seconds":1,"tokens_per_second":1}
{"step":200,"eval_loss":1,"eval_targets":4321,"eval_seconds":1}
`

// checkpoint is the directory of a run's checkpoint after 100 steps.
func checkpoint(t *testing.T) string {
	t.Helper()
	run := filepath.Join(t.TempDir(), "mine")
	dir := filepath.Join(run, "checkpoints", "step-000100")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"config.yaml": config, "metrics.jsonl": metrics} {
		if err := os.WriteFile(filepath.Join(run, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// header is a card's YAML header and what follows it.
func header(t *testing.T, c Card) (map[string]any, string) {
	t.Helper()
	raw, err := c.Markdown()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(string(raw), "---\n", 3)
	if len(parts) != 3 || parts[0] != "" {
		t.Fatalf("no header in %s", raw)
	}
	var h map[string]any
	if err := yaml.Unmarshal([]byte(parts[1]), &h); err != nil {
		t.Fatal(err)
	}
	return h, parts[2]
}

func TestRun(t *testing.T) {
	dir := checkpoint(t)
	run, err := ReadRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := Card{Name: "out", Family: "llama", Parameters: 6_738_415_616, Model: dir, Base: run.Config.Model.Path, Made: Trained, Run: run, Version: "1.2.3"}
	h, body := header(t, c)
	want := map[string]any{
		"base_model": "huggyllama/llama-7b", "datasets": []any{"akoksal/LongForm"}, "library_name": "transformers",
		"pipeline_tag": "text-generation", "tags": []any{"longform", "llama"},
	}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("header %v, want %v", h, want)
	}
	for _, want := range []string{
		"`huggyllama/llama-7b`, trained further", "6.7B parameters", "Trained on `akoksal/LongForm`, `more.jsonl`, measured on `akoksal/LongForm:validation`",
		"instruction and output", "512 tokens, records joined to blocks", "```\nWrite a short recipe for tomato soup.\n\n```",
		"100 steps of 8 rows: 123,456 tokens, 0.5 passes", "| optim.lr | 2e-05 |", "| model.precision | bf16 |",
		"| validation, 4,321 tokens | 100 | 2.0000 | 7.389 |", "| training, the step's batch | 100 | 2.5000 | |", "longform 1.2.3",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the card lacks %q", want)
		}
	}
	for _, secret := range []string{"someone", "somewhere", "lora"} {
		if strings.Contains(body, secret) {
			t.Errorf("the card tells of %q", secret)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

// Files and directories of where the run was started aren't of the hub, wherever the card is written, and names of the hub are, in
// each form that a recipe may have them in.
func TestRunElsewhere(t *testing.T) {
	project := t.TempDir()
	dir := filepath.Join(project, "runs", "mine", "checkpoints", "step-000100")
	for _, path := range []string{dir, filepath.Join(project, "models", "tiny"), filepath.Join(project, "data", "mine")} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"runs/mine/config.yaml": `
model: {path: models/tiny}
data: {train: [data/mine, "data/mine:train", data/gone.jsonl, "hub:owner/one", "owner/two:train", "hub:owner/three.json:train"]}
optim: {lr: 2e-5}
run: {dir: runs/mine, steps: 300}
`, "models/tiny/README.md": "---\nlicense: mit\n---\n",
	} {
		if err := os.WriteFile(filepath.Join(project, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run, err := ReadRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	h, body := header(t, Card{Family: "llama", Model: dir, Base: run.Config.Model.Path, Made: Trained, Run: run})
	if h["base_model"] != nil || h["license"] != "mit" || !reflect.DeepEqual(h["datasets"], []any{"owner/one", "owner/two", "owner/three.json"}) {
		t.Errorf("header %v", h)
	}
	const want = "Trained on `mine`, `mine:train`, `gone.jsonl`, `owner/one`, `owner/two:train`, `owner/three.json:train`."
	if !strings.Contains(body, want) || !strings.Contains(body, "`tiny`, trained further") || strings.Contains(body, project) {
		t.Errorf("the card is\n%s\nwant %s in it", body, want)
	}
	if h, _ := header(t, Card{Made: Copied, Base: "models/tiny.gguf"}); h["base_model"] != nil {
		t.Errorf("a GGUF file became %v", h["base_model"])
	}
}

func TestMaking(t *testing.T) {
	dir := checkpoint(t)
	base := t.TempDir()
	if err := os.WriteFile(filepath.Join(base, File), []byte("---\nlanguage: en\nlicense: apache-2.0\n---\nlicense: none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		card Card
		want string
		head map[string]any
	}{
		{Card{Made: Trained, Model: dir, Run: &Run{}}, "from random weights", map[string]any{"pipeline_tag": "text-generation"}},
		{Card{Made: Copied, Model: "./models/tiny"}, "`tiny`, written anew", map[string]any{"base_model": nil, "license": nil}},
		{Card{Made: Copied, Model: base}, "written anew", map[string]any{"license": "apache-2.0"}},
		{Card{Made: Merged, Model: "/adapters/a", Base: base, EncoderDecoder: true}, "with the LoRA adapter `a` merged",
			map[string]any{"license": "apache-2.0", "pipeline_tag": "text2text-generation"}},
		{Card{Made: Added, Model: "d/diff", Base: "huggyllama/llama-7b"}, "`huggyllama/llama-7b` with the weight difference `d/diff` added",
			map[string]any{"base_model": "huggyllama/llama-7b"}},
		{Card{Made: Subtracted, Model: dir, Base: "huggyllama/llama-7b", Name: "out"}, "train export --add-diff huggyllama/llama-7b out mine",
			map[string]any{"pipeline_tag": nil, "library_name": nil}},
	} {
		h, body := header(t, test.card)
		if !strings.Contains(body, test.want) {
			t.Errorf("%s: the card lacks %q: %s", test.card.Made, test.want, body)
		}
		for key, want := range test.head {
			if h[key] != want {
				t.Errorf("%s: %s is %v, want %v", test.card.Made, key, h[key], want)
			}
		}
	}
}

// What isn't a run's checkpoint has no run; a run whose recipe can't be read is an error.
func TestReadRun(t *testing.T) {
	dir := checkpoint(t)
	for _, other := range []string{t.TempDir(), filepath.Dir(dir), "demo", filepath.Join(dir, "nowhere")} {
		if run, err := ReadRun(other); run != nil || err != nil {
			t.Errorf("%s: a run %v, %v", other, run, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "../../config.yaml"), []byte("modle: {}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRun(dir); err == nil {
		t.Error("a broken recipe was read")
	}
}
