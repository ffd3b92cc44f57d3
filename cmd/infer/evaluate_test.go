package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/longform-go/longform/internal/metrics"
)

// The file of generations has the texts that infer generate writes, and the table what internal/metrics gives for them.
func TestEvaluateTable(t *testing.T) {
	t.Setenv("LONGFORM_WORDNET", t.TempDir())
	t.Setenv("LONGFORM_PUNKT", t.TempDir())
	out := t.TempDir()
	records := filepath.Join(out, "records.jsonl")
	var file bytes.Buffer
	for i := range 9 {
		fmt.Fprintf(&file, `{"input": "Count to %d.", "output": "the and in of a to is %[1]d"}`+"\n", i)
	}
	if err := os.WriteFile(records, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) []byte {
		var stdout bytes.Buffer
		c := rootCommand()
		c.SetOut(&stdout)
		c.SetErr(io.Discard)
		c.SetArgs(append(args, "--model", "../../models/testdata/llama-tiny", "--device", "go", "--max-new-tokens", "40"))
		if err := c.Execute(); err != nil {
			t.Fatal(err)
		}
		return stdout.Bytes()
	}
	table := run("evaluate", "--data", records, "--out", out)
	generated := json.NewDecoder(bytes.NewReader(run("generate", "--prompts", records, "--json")))
	raw, err := os.ReadFile(filepath.Join(out, "llama-tiny", "generations.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var n, meteor, rouge1, nll, tokens float64
	var bleu metrics.BLEUStats
	var chrf metrics.CHRFStats
	for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); n++ {
		var g struct {
			Output, Text string
			IDs          []int32 `json:"token_ids"`
			NLL          float64 `json:"reference_nll"`
			Tokens       float64 `json:"reference_tokens"`
		}
		if err := json.Unmarshal(lines.Bytes(), &g); err != nil {
			t.Fatal(err)
		}
		var want struct {
			IDs []int32 `json:"token_ids"`
		}
		if err := generated.Decode(&want); err != nil || !slices.Equal(g.IDs, want.IDs) {
			t.Errorf("record %v: wrote %v, and infer generate %v, error %v", n, g.IDs, want.IDs, err)
		}
		meteor += metrics.METEOR{}.Score(g.Text, g.Output)
		rouge1 += metrics.ROUGE(g.Text, []string{g.Output}, false).ROUGE1.F1
		bleu.Add(metrics.BLEU(g.Text, g.Output))
		chrf.Add(metrics.CHRF(g.Text, g.Output))
		nll += g.NLL
		tokens += g.Tokens
	}
	if n != 9 || meteor == 0 || rouge1 == 0 {
		t.Fatalf("%v texts with METEOR %v and ROUGE-1 %v in all; want 9, and something in common", n, meteor, rouge1)
	}
	for name, want := range map[string]float64{
		"METEOR, untrained sentence ends": 100 * meteor / n, "ROUGE-1": 100 * rouge1 / n, "BLEU": bleu.Corpus(), "chrF": chrf.Score(), "perplexity": math.Exp(nll / tokens),
	} {
		if !regexp.MustCompile(fmt.Sprintf(`%s +%.2f \[`, name, want)).Match(table) {
			t.Errorf("no %s of %.2f in\n%s", name, want, table)
		}
	}
}
