package modelcard

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/testneeds"
	"github.com/longform-go/longform/internal/testset/scores"
)

// measured is what infer evaluate has of two models on two test sets.
var measured = []string{`{
	"data": "akoksal/LongForm:test", "task": "longform", "instructions": "as they are", "records": 100, "records_in_data": 2045, "left_out": 3,
	"meteor": "METEOR", "confidence": 0.95, "models": [
		{"model": "other", "all": {"figures": {"METEOR": {"value": 99, "low": 98, "high": 100}}}, "settings": {"model": "runs/other"}},
		{"model": "mine", "inputs_cut": 4, "all": {"figures": {
			"words": {"value": 120.5, "low": 110, "high": 130}, "chrF": {"value": 30.25, "low": 29.5, "high": 31.125},
			"METEOR": {"value": 24.123456789012345, "low": 23.5, "high": 25}, "perplexity": {"value": null, "low": null, "high": null}
		}}, "settings": {"model": "runs/mine", "max_new_tokens": 256, "temperature": 0, "precision": "bf16", "device": "cuda"}}
	]}`, `{
	"data": "/home/someone/secret/stories: \"old\".jsonl", "records": 7, "records_in_data": 7, "meteor": "exact-and-stem METEOR, untrained sentence ends", "confidence": 0.9,
	"models": [{"model": "mine", "all": {"figures": {"METEOR": {"value": 20, "low": 10, "high": 30}}}, "settings": {"model": "runs/mine", "top_p": 0.9, "temperature": 1}}]}`,
}

// evaluated is the card of a model with what was measured of it.
func evaluated(t *testing.T) Card {
	t.Helper()
	c := Card{Name: "out: new", Family: "llama", Made: Copied, Model: "runs/mine"}
	path := filepath.Join(t.TempDir(), scores.File)
	for _, text := range measured {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := ReadScores(path, "runs/mine")
		if err != nil {
			t.Fatal(err)
		}
		c.Scores = append(c.Scores, r)
	}
	if _, err := ReadScores(path, "runs/other"); err == nil || !strings.HasPrefix(err.Error(), path+": it has figures of runs/mine, and none of runs/other; ") {
		t.Errorf("scores of another model: %v", err)
	}
	return c
}

// Every figure of the model is in the card, as it was measured, with what it was measured on and how; no other model's is.
func TestScores(t *testing.T) {
	_, body := header(t, evaluated(t))
	for _, want := range []string{`
### 100 of 2045 records of akoksal/LongForm:test, task longform

Tokens: at most 256 tokens, the likeliest one each time; computed in bf16, device cuda. Instructions and references: as they are.

- 3 more have no reference and were left out
- the model reads too little for 4 of the inputs: it got their beginnings

| metric | figure | 95% bootstrap interval |
| --- | --- | --- |
| METEOR | 24.12 | 23.50 to 25.00 |
| chrF | 30.25 | 29.50 to 31.12 |
| words | 120.50 | 110.00 to 130.00 |

### 7 records of stories: "old".jsonl
`, "seed 0; computed in ", `
| metric | figure | 90% bootstrap interval |
| --- | --- | --- |
| exact-and-stem METEOR, untrained sentence ends | 20.00 | 10.00 to 30.00 |

## Use
`} {
		if !strings.Contains(body, want) {
			t.Errorf("the card lacks %q", want)
		}
	}
	for _, other := range []string{"99", "someone"} {
		if strings.Contains(body, other) {
			t.Errorf("the card tells of %q", other)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

// The hub's own reader takes the header, and finds each figure under the names that the hub has for its metric and data.
func TestHubReadsScores(t *testing.T) {
	python := testneeds.Python(t, "huggingface_hub")
	card, err := evaluated(t).Markdown()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(python, "-c", `
import json, sys
from huggingface_hub import ModelCard
data = ModelCard(sys.stdin.read()).data
print(json.dumps([[data.model_name, data.pipeline_tag]] + [
    [r.task_type, r.dataset_type, r.dataset_split, r.dataset_name, r.metric_type, r.metric_name, r.metric_value] for r in data.eval_results]))
`)
	c.Stdin = strings.NewReader(string(card))
	var got [][]any
	if err := json.Unmarshal(testneeds.Output(t, c), &got); err != nil {
		t.Fatal(err)
	}
	const task, longform, stories = "text-generation", "100 of 2045 records of akoksal/LongForm:test, task longform", `stories: "old".jsonl`
	want := [][]any{
		{"out: new", task},
		{task, "akoksal/LongForm", "test", longform, "meteor", "METEOR", 24.123456789012345},
		{task, "akoksal/LongForm", "test", longform, "chrf", "chrF", 30.25},
		{task, stories, nil, "7 records of " + stories, "exact-and-stem-meteor-untrained-sentence-ends", "exact-and-stem METEOR, untrained sentence ends", 20.0},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the hub reads\n%v, want\n%v", got, want)
	}
}
