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

// byHand has each metric of some of the texts, by their numbers.
func byHand(texts []Generation) map[string]func(some []int) float64 {
	mean := func(of func(text, reference string) float64) func([]int) float64 {
		values := make([]float64, len(texts))
		for i, x := range texts {
			values[i] = 100 * of(x.Text, x.Output)
		}
		return func(some []int) float64 {
			sum := 0.0
			for _, i := range some {
				sum += values[i]
			}
			return sum / float64(len(some))
		}
	}
	rouge := func(text, reference string) metrics.ROUGEScore {
		return metrics.ROUGE(text, []string{reference}, false)
	}
	return map[string]func([]int) float64{
		"METEOR":  mean(func(text, reference string) float64 { return metrics.METEOR{}.Score(text, reference) }),
		"ROUGE-1": mean(func(text, reference string) float64 { return rouge(text, reference).ROUGE1.F1 }),
		"ROUGE-2": mean(func(text, reference string) float64 { return rouge(text, reference).ROUGE2.F1 }),
		"ROUGE-L": mean(func(text, reference string) float64 { return rouge(text, reference).ROUGEL.F1 }),
		"BLEU": func(some []int) float64 {
			var s metrics.BLEUStats
			for _, i := range some {
				s.Add(metrics.BLEU(texts[i].Text, texts[i].Output))
			}
			return s.Corpus()
		},
		"chrF": func(some []int) float64 {
			var s metrics.CHRFStats
			for _, i := range some {
				s.Add(metrics.CHRF(texts[i].Text, texts[i].Output))
			}
			return s.Score()
		},
		"perplexity": func(some []int) float64 {
			var nll, tokens float64
			for _, i := range some {
				nll += texts[i].ReferenceNLL
				tokens += float64(texts[i].ReferenceTokens)
			}
			return math.Exp(nll / tokens)
		},
	}
}

// The figures are those that internal/metrics gives for the texts of a group, and no others, and so are the intervals.
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
		var texts []Generation
		var everything []int
		for _, x := range generations {
			if name == "all" || x.Source == name {
				everything = append(everything, len(texts))
				texts = append(texts, x)
			}
		}
		for metric, of := range byHand(texts) {
			low, high := metrics.Bootstrap(len(texts), 0.95, 1000, 1, of)
			f := g.Figures[metric]
			for _, c := range []struct{ got, want float64 }{{float64(f.Value), of(everything)}, {float64(f.Low), low}, {float64(f.High), high}} {
				if !(math.Abs(c.got-c.want) <= 1e-9) {
					t.Errorf("%s of group %q is %v, want %v in [%v, %v]", metric, name, f, of(everything), low, high)
				}
			}
		}
		if g.Records != len(texts) {
			t.Errorf("group %q has %d records, want %d", name, g.Records, len(texts))
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
	better := slices.Clone(generations)
	for i, g := range generations {
		better[i].Text, better[i].ReferenceNLL = g.Output, g.ReferenceNLL/2
	}
	mixed := slices.Clone(better)
	mixed[0].Text, mixed[0].ReferenceNLL = "a cat", 20
	mixed[1] = generations[1]
	written := map[string][]Generation{"perfect": better, "m": generations, "again": generations, "mixed": mixed}
	var texts []Texts
	for _, name := range []string{"perfect", "m", "again", "mixed"} {
		texts = append(texts, Texts{Model: name, Generations: written[name]})
	}
	var s Scorer
	r := s.Report("f", tasks.Task{}, tasks.Set{}, texts)
	if len(r.Comparisons) != 6*7 {
		t.Errorf("%d comparisons, want each of 6 pairs by 7 metrics", len(r.Comparisons))
	}
	for _, c := range r.Comparisons {
		if c.First == "m" && c.Second == "again" && (c.Ties != len(generations) || c.Difference != 0 || c.P != 1) {
			t.Errorf("a model against itself: %+v", c)
		}
		if c.First == "perfect" && c.Second != "mixed" && (c.Wins != len(generations) || (c.Difference > 0) != (c.Metric != "perplexity")) {
			t.Errorf("perfect texts against others: %+v", c)
		}
		difference, p := exact(written[c.First], written[c.Second], c.Metric)
		// 1000 of the 16 ways to swap leave a deviation of 0.016 at most.
		if math.Abs(float64(c.Difference)-difference) > 1e-9 || math.Abs(float64(c.P)-p) > 0.06 {
			t.Errorf("%+v, want a difference of %v and p %v", c, difference, p)
		}
	}
}

// exact is the difference between two models, and the part of all ways to swap their texts that makes it as large.
func exact(first, second []Generation, metric string) (difference, p float64) {
	n := len(first)
	of := byHand(slices.Concat(first, second))[metric]
	as := 0
	for swapped := range 1 << n {
		var x, y []int
		for i := range n {
			at := i + n*(swapped>>i&1)
			x, y = append(x, at), append(y, (at+n)%(2*n))
		}
		d := of(x) - of(y)
		if swapped == 0 {
			difference = d
		}
		if math.Abs(d) >= math.Abs(difference)-1e-9 {
			as++
		}
	}
	return difference, float64(as) / float64(int(1)<<n)
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
