package testset

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/metrics"
	"github.com/longform-go/longform/internal/testset/scores"
	"github.com/longform-go/longform/internal/testset/tasks"
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
	r := s.Report("f", tasks.Task{}, tasks.Set{}, []Texts{{Model: "m", Generations: generations}})
	groups := map[string]scores.Group{"all": r.Models[0].All}
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
			meteor += metrics.METEOR{}.Score(x.Text, x.Output)
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

// Every figure has a place where figures are shown.
func TestMetrics(t *testing.T) {
	var names []string
	for _, m := range all {
		names = append(names, m.name)
	}
	if !slices.Equal(names, scores.Metrics) {
		t.Errorf("measured are %q, and shown %q", names, scores.Metrics)
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
	r := s.Report("f", tasks.Task{}, tasks.Set{}, []Texts{{Model: "perfect", Generations: better}, {Model: "m", Generations: generations}, {Model: "again", Generations: generations}})
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

// Perplexities over other tokens aren't compared, and that is said; whatever else is compared stays.
func TestOtherTokens(t *testing.T) {
	for name, change := range map[string]func(g *Generation){
		"one token more":  func(g *Generation) { g.ReferenceTokens++ },
		"one token fewer": func(g *Generation) { g.ReferenceCut++ },
	} {
		other := slices.Clone(generations)
		change(&other[2])
		var s Scorer
		r := s.Report("f", tasks.Task{}, tasks.Set{}, []Texts{{Model: "a", Generations: generations}, {Model: "b", Generations: generations}, {Model: "c", Generations: other}})
		compared := map[string]int{}
		for _, c := range r.Comparisons {
			compared[c.Metric]++
		}
		if len(compared) != 7 || compared["perplexity"] != 1 || compared["chrF"] != 3 {
			t.Errorf("%s: compared are %v", name, compared)
		}
		want := []string{
			"a and c read the references in other tokens: their perplexities can't be compared",
			"b and c read the references in other tokens: their perplexities can't be compared",
		}
		got := slices.DeleteFunc(r.Remarks(), func(line string) bool { return !strings.Contains(line, "perplexities") })
		if !slices.Equal(got, want) {
			t.Errorf("%s: remarks %q, want %q", name, got, want)
		}
	}
}

// Where references aren't English, it is said what their scores leave out.
func TestOtherLanguages(t *testing.T) {
	const remark = "% of the references' letters aren't a to z: ROUGE counts"
	for _, test := range []struct {
		references []string
		want       string
	}{
		{[]string{"The café is “open” — 24 h, and whoever comes is welcome to sit there all day long; nobody asks them for anything, and they ask nobody.", "It has a garden, too."}, ""},
		{[]string{"Im Wald wurde eine Eule gefunden.", "Sie hört über fünf Kilometer weit."}, "5" + remark},
		{[]string{"В лесу нашли сову."}, "100" + remark},
		{[]string{"24 + 7 = 31"}, ""},
	} {
		var set tasks.Set
		var texts []Generation
		for _, output := range test.references {
			set.Records = append(set.Records, data.Record{Output: output})
			texts = append(texts, Generation{Output: output})
		}
		var s Scorer
		remarks := strings.Join(s.Report("f", tasks.Task{}, set, []Texts{{Model: "m", Generations: texts}}).Remarks(), "\n")
		if (remarks == "") != (test.want == "") || !strings.HasPrefix(remarks, test.want) {
			t.Errorf("%q: remarks %q, want %q", test.references, remarks, test.want)
		}
	}
}

// Not a number isn't JSON.
func TestNoTokensToScore(t *testing.T) {
	var s Scorer
	r := s.Report("f", tasks.Task{}, tasks.Set{}, []Texts{{Model: "m", Generations: []Generation{{Output: "a", Text: "a"}}}})
	raw, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(raw), `"perplexity":{"value":null,`) {
		t.Errorf("%s, error %v; want a perplexity of null", raw, err)
	}
}

// The published figures stand beside ours: the best first, a model that is in both in one row, and what can't be compared said.
func TestPublished(t *testing.T) {
	task, err := tasks.Find("longform")
	if err != nil {
		t.Fatal(err)
	}
	var s Scorer
	var table strings.Builder
	set := tasks.Set{Records: make([]data.Record, 4), Whole: 9, Without: 2}
	written := []Texts{{Model: "longform-opt-6.7b", Generations: generations}, {Model: "m", Generations: []Generation{{InputCut: 3}, {ReferenceCut: 1}, {InputCut: 1}, {}}}}
	if err := s.Report("f", task, set, written).Print(&table); err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile(`(?s)^4 of 9 records of f, task longform, with 95% intervals
2 more have no reference and were left out
m reads too little for 2 of the inputs: it got their beginnings
m reads too little for 1 of the references: its perplexity is that of their beginnings
.*
METEOR, published by Köksal et al\., 2023 for the LongForm test set, on 2045 records; exact-and-stem METEOR, untrained sentence ends can't be compared with METEOR

 +published +this run
 +LongForm-OPT-6\.7B +24\.2 +\d\d\.\d\d \[.*\]
 +LongForm-LLaMA-7B +24\.8 +
 +LongForm-T5-XL +24\.3 +
 +Alpaca-LLaMA-7B +15\.2 +
 +Flan-T5 +12\.5 +
 +OPT-30B +12\.3 +
 +m +0\.00 \[0\.00, 0\.00\]

`)
	if !rows.MatchString(table.String()) {
		t.Errorf("the table is\n%s", &table)
	}
}
