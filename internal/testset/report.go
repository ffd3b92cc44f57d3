package testset

import (
	"maps"
	"path/filepath"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/metrics"
	"github.com/longform-go/longform/internal/testset/scores"
	"github.com/longform-go/longform/internal/testset/tasks"
)

// How figures are trusted: bootstrap intervals, and tests by randomization.
const (
	confidence = 0.95
	resamples  = 1000
	trials     = 1000
	seed       = 1
)

// Report is what came of a test set, and what it came from.
type Report struct {
	scores.Report

	written []Texts
	scored  [][]sums // of each model's texts
}

// Report scores what models wrote for the records of a set, which source has.
func (s *Scorer) Report(source string, task tasks.Task, set tasks.Set, written []Texts) *Report {
	r := &Report{written: written, Report: scores.Report{
		Data: source, Task: task.Name, Instructions: task.Instructions, Records: len(set.Records), Whole: set.Whole, Without: set.Without,
		OtherLetters: otherLetters(set.Records),
		METEOR:       s.Label(), Confidence: confidence, Published: task.Published,
	}}
	for i, w := range written {
		r.scored = append(r.scored, s.score(w.Generations))
		r.Models = append(r.Models, scoresOf(w, r.scored[i]))
		for j := range i {
			for _, m := range all {
				if m.better != 0 && (m.name != scores.Perplexity || sameTokens(written[j], w)) {
					r.Comparisons = append(r.Comparisons, m.compare(written[j].Model, w.Model, r.scored[j], r.scored[i]))
				}
			}
		}
	}
	return r
}

// otherLetters is the share of the references' letters that aren't a to z.
func otherLetters(records []data.Record) float64 {
	letters, others := 0, 0
	for _, r := range records {
		for _, c := range r.Output {
			if unicode.IsLetter(c) {
				letters++
				if c >= utf8.RuneSelf {
					others++
				}
			}
		}
	}
	return float64(others) / float64(max(1, letters))
}

// Save puts the report into dir, for machines and as a page.
func (r *Report) Save(dir string) error {
	if err := writeJSON(filepath.Join(dir, scores.File), r.Report); err != nil {
		return err
	}
	return r.savePage(dir)
}

// sameTokens tells whether two models read the references as equally many tokens, all along. Perplexities are of a token: of models
// with other tokenizers they can't be compared.
func sameTokens(a, b Texts) bool {
	return slices.EqualFunc(a.Generations, b.Generations, func(x, y Generation) bool {
		return x.ReferenceTokens == y.ReferenceTokens && x.ReferenceCut == y.ReferenceCut
	})
}

func scoresOf(w Texts, scored []sums) scores.Model {
	sources := map[string][]sums{}
	for i, g := range w.Generations {
		sources[g.Source] = append(sources[g.Source], scored[i])
	}
	m := scores.Model{Name: w.Model, All: groupOf("", scored), Settings: w.Settings}
	for _, g := range w.Generations {
		if g.InputCut > 0 {
			m.InputsCut++
		}
		if g.ReferenceCut > 0 {
			m.ReferencesCut++
		}
	}
	if len(sources) > 1 {
		for _, source := range slices.Sorted(maps.Keys(sources)) {
			m.Sources = append(m.Sources, groupOf(source, sources[source]))
		}
	}
	return m
}

func groupOf(source string, scored []sums) scores.Group {
	g := scores.Group{Source: source, Records: len(scored), Figures: map[string]scores.Figure{}}
	everything := make([]int, len(scored))
	for i := range everything {
		everything[i] = i
	}
	for _, m := range all {
		of := func(drawn []int) float64 {
			var total sums
			for _, i := range drawn {
				total.add(&scored[i])
			}
			return m.of(&total)
		}
		low, high := metrics.Bootstrap(len(scored), confidence, resamples, seed, of)
		g.Figures[m.name] = scores.Figure{Value: scores.Number(of(everything)), Low: scores.Number(low), High: scores.Number(high)}
	}
	return g
}

func (m metric) compare(first, second string, a, b []sums) scores.Comparison {
	each := func(scored []sums) []float64 {
		of := m.of
		if m.one != nil {
			of = m.one
		}
		values := make([]float64, len(scored))
		for i := range scored {
			values[i] = of(&scored[i])
		}
		return values
	}
	var c metrics.Comparison
	if m.corpus {
		c = metrics.CompareCorpora(each(a), each(b), trials, seed, func(swapped []bool) float64 {
			var x, y sums
			for i := range swapped {
				if swapped[i] {
					x.add(&b[i])
					y.add(&a[i])
				} else {
					x.add(&a[i])
					y.add(&b[i])
				}
			}
			return m.of(&x) - m.of(&y)
		})
	} else {
		c = metrics.Compare(each(a), each(b), trials, seed)
	}
	if m.better < 0 {
		c.Wins, c.Losses = c.Losses, c.Wins
	}
	return scores.Comparison{
		Metric: m.name, First: first, Second: second, Wins: c.Wins, Ties: c.Ties, Losses: c.Losses,
		Difference: scores.Number(c.Difference), P: scores.Number(c.P),
	}
}
