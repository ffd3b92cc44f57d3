package testset

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/metrics"
)

var generations = []Generation{
	{Output: "the cat sat on the mat", Text: "a cat sat on a mat", Source: "a", ReferenceNLL: 6, ReferenceTokens: 3},
	{Output: "the dog ran to the far river", Text: "the dog ran to a river", Source: "b", ReferenceNLL: 2, ReferenceTokens: 1},
	{Output: "two birds sing in that old tree", Text: "two birds sing in the old tree", Source: "a", ReferenceNLL: 3, ReferenceTokens: 2},
	{Output: "nothing at all", Text: "", Source: "", ReferenceNLL: 1, ReferenceTokens: 4},
}

// The figures are those that internal/metrics gives for the texts of a group, and no others.
func TestFigures(t *testing.T) {
	var s Scorer
	r := s.Report("f", []Texts{{"m", generations}}, nil)
	groups := map[string]Group{"all": r.Models[0].All}
	for _, g := range r.Models[0].Sources {
		groups[g.Source] = g
	}
	if len(groups) != 4 {
		t.Fatalf("groups %v, want all, a, b and none", groups)
	}
	for name, g := range groups {
		var meteor, rouge1, rouge2, rougeL, nll, tokens, n float64
		var bleu metrics.BLEUStats
		var chrf metrics.CHRFStats
		for _, x := range generations {
			if name != "all" && x.Source != name {
				continue
			}
			n++
			nll += x.ReferenceNLL
			tokens += float64(x.ReferenceTokens)
			meteor += metrics.METEOR{}.Score(x.Text, x.Output).Score
			rouge := metrics.ROUGE(x.Text, []string{x.Output}, false)
			rouge1 += rouge.ROUGE1.F1
			rouge2 += rouge.ROUGE2.F1
			rougeL += rouge.ROUGEL.F1
			bleu.Add(metrics.BLEU(x.Text, x.Output))
			chrf.Add(metrics.CHRF(x.Text, x.Output))
		}
		for metric, want := range map[string]float64{
			"METEOR": 100 * meteor / n, "ROUGE-1": 100 * rouge1 / n, "ROUGE-2": 100 * rouge2 / n, "ROUGE-L": 100 * rougeL / n,
			"BLEU": bleu.Corpus(), "chrF": chrf.Score(), "perplexity": math.Exp(nll / tokens),
		} {
			f := g.Figures[metric]
			if math.Abs(float64(f.Value)-want) > 1e-9 {
				t.Errorf("%s of group %q is %v, want %v", metric, name, f.Value, want)
			}
			if !(f.Low <= f.Value && f.Value <= f.High) {
				t.Errorf("%s of group %q is %v, outside of [%v, %v]", metric, name, f.Value, f.Low, f.High)
			}
		}
		if g.Records != int(n) {
			t.Errorf("group %q has %d records, want %v", name, g.Records, n)
		}
	}
	if r.METEOR != "exact-and-stem METEOR, untrained sentence ends" {
		t.Errorf("METEOR without its data is called %q", r.METEOR)
	}
}

// Better texts win, and a lower perplexity is a better one; a model against itself only ties.
func TestComparisons(t *testing.T) {
	better := make([]Generation, len(generations))
	for i, g := range generations {
		better[i] = g
		better[i].Text, better[i].ReferenceNLL = g.Output, g.ReferenceNLL/2
	}
	var s Scorer
	r := s.Report("f", []Texts{{"perfect", better}, {"m", generations}, {"again", generations}}, nil)
	seen := 0
	for _, c := range r.Comparisons {
		if c.First == "m" {
			if c.Ties != len(generations) || c.Difference != 0 || c.P != 1 {
				t.Errorf("a model against itself: %+v", c)
			}
			continue
		}
		seen++
		if c.Wins != len(generations) || (c.Difference > 0) != (c.Metric != "perplexity") || !(c.P > 0 && c.P <= 1) {
			t.Errorf("perfect texts against others: %+v", c)
		}
	}
	if seen != 2*7 || len(r.Comparisons) != 3*7 {
		t.Errorf("%d comparisons, %d of the perfect texts; want each pair by 7 metrics", len(r.Comparisons), seen)
	}
}

// Not a number isn't JSON.
func TestNoTokensToScore(t *testing.T) {
	var s Scorer
	r := s.Report("f", []Texts{{"m", []Generation{{Output: "a", Text: "a"}}}}, nil)
	raw, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(raw), `"perplexity":{"value":null,`) {
		t.Errorf("%s, error %v; want a perplexity of null", raw, err)
	}
}

// fileSettings are of so many records.
func fileSettings(records int) settings {
	return settings{Model: "m", Device: "go", Records: records, SHA256: "0", MaxNewTokens: 4, Sampling: decoding.Sampling{Temperature: 1}}
}

// However much a crash leaves, whole batches are kept, and writing goes on behind them.
func TestTornFile(t *testing.T) {
	const records = 2*rows + 3
	s := fileSettings(records)
	dir := t.TempDir()
	write := func(f *file) {
		for at := len(f.kept); at < records; at = len(f.kept) {
			batch := make([]Generation, min(rows, records-at))
			for i := range batch {
				batch[i] = Generation{Input: string(rune('a' + at + i)), Text: "<\n>", TokenIDs: []int32{1}}
			}
			if err := f.add(batch); err != nil {
				t.Fatal(err)
			}
		}
		f.close()
	}
	open := func() *file {
		f, err := openFile(dir, s)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	write(open())
	path := filepath.Join(dir, generationsFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	for size := 0; size <= len(whole); size += 41 {
		if err := os.WriteFile(path, whole[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		f := open()
		want := strings.Count(string(whole[:size]), "\n")
		if want < records {
			want -= want % rows
		}
		cut, err := os.ReadFile(path)
		if err != nil || len(f.kept) != want || string(cut) != strings.Join(lines[:want], "") {
			t.Fatalf("of %d bytes %d texts and %d bytes were kept, want %d texts; error %v", size, len(f.kept), len(cut), want, err)
		}
		write(f)
		if again, err := os.ReadFile(path); err != nil || string(again) != string(whole) {
			t.Fatalf("after %d bytes the file became\n%s, error %v", size, again, err)
		}
	}
}

func TestRefusedFiles(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(t *testing.T, dir string, s *settings)
		want   string
	}{
		{"sampling", func(_ *testing.T, _ string, s *settings) { s.Sampling.TopK = 3 }, "its generations have other settings: sampling.TopK is 0 there, and 3 here; remove it, or give another --out"},
		{"records", func(_ *testing.T, _ string, s *settings) { s.SHA256 = "1" }, `records_sha256 is "0" there, and "1" here`},
		{"adapter", func(_ *testing.T, _ string, s *settings) { s.Adapter = "a" }, `adapter is missing there, and "a" here`},
		{"no settings", func(t *testing.T, dir string, _ *settings) {
			if err := os.Remove(filepath.Join(dir, settingsFile)); err != nil {
				t.Fatal(err)
			}
		}, "has generations and no settings.json"},
		{"damage", func(t *testing.T, dir string, _ *settings) {
			if err := os.WriteFile(filepath.Join(dir, generationsFile), []byte("{}\n{\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "generations.jsonl:2: damaged: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, s := t.TempDir(), fileSettings(9)
			f, err := openFile(dir, s)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.add(make([]Generation, rows)); err != nil {
				t.Fatal(err)
			}
			if _, err := openFile(dir, s); err == nil || !strings.Contains(err.Error(), "in use by another process") {
				t.Errorf("opened twice: %v", err)
			}
			f.close()
			test.change(t, dir, &s)
			if _, err := openFile(dir, s); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// The published figures stand beside ours, and say what can't be compared.
func TestPublished(t *testing.T) {
	p, err := PublishedFor(LongForm)
	if err != nil {
		t.Fatal(err)
	}
	var s Scorer
	var table strings.Builder
	if err := s.Report("f", []Texts{{"m", generations}}, p).Print(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"LongForm-LLaMA-7B*", " 24.8", "* METEOR as published by Köksal et al., 2023, on the 2045 records of the LongForm test set; exact-and-stem METEOR, untrained sentence ends can't be compared with it\n"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, &table)
		}
	}
	if _, err := PublishedFor("eli5"); err == nil {
		t.Error("a task without figures was accepted")
	}
}
