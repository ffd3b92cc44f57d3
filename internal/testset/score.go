package testset

import (
	"errors"
	"io/fs"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/longform-go/longform/internal/metrics"
	"github.com/longform-go/longform/internal/testset/scores"
)

// sums are all that any metric of some texts is computed from: what each text has, added up.
type sums struct {
	texts, tokens, words, referenceWords   float64
	meteor, rouge1, rouge2, rougeL, logLik float64
	bleu                                   metrics.BLEUStats
	chrf                                   metrics.CHRFStats
}

func (s *sums) add(o *sums) {
	s.texts += o.texts
	s.tokens += o.tokens
	s.words += o.words
	s.referenceWords += o.referenceWords
	s.meteor += o.meteor
	s.rouge1 += o.rouge1
	s.rouge2 += o.rouge2
	s.rougeL += o.rougeL
	s.logLik += o.logLik
	s.bleu.Add(o.bleu)
	s.chrf.Add(o.chrf)
}

// metric is a figure of some texts. METEOR and ROUGE are in percent, as papers print them.
type metric struct {
	name string
	of   func(s *sums) float64
	// one is that of a single text, if it isn't the same.
	one func(s *sums) float64
	// corpus says that the figure of several texts isn't the mean of theirs.
	corpus bool
	better int // 1: higher, -1: lower, 0: neither
}

// all are those of scores.Metrics.
var all = []metric{
	{name: scores.METEOR, better: 1, of: func(s *sums) float64 { return 100 * s.meteor / s.texts }},
	{name: "ROUGE-1", better: 1, of: func(s *sums) float64 { return 100 * s.rouge1 / s.texts }},
	{name: "ROUGE-2", better: 1, of: func(s *sums) float64 { return 100 * s.rouge2 / s.texts }},
	{name: "ROUGE-L", better: 1, of: func(s *sums) float64 { return 100 * s.rougeL / s.texts }},
	{name: "BLEU", better: 1, corpus: true, of: func(s *sums) float64 { return s.bleu.Corpus() }, one: func(s *sums) float64 { return s.bleu.Sentence() }},
	{name: "chrF", better: 1, corpus: true, of: func(s *sums) float64 { return s.chrf.Score() }},
	{name: scores.Perplexity, better: -1, corpus: true, of: func(s *sums) float64 { return math.Exp(-s.logLik / s.tokens) }},
	{name: "words", of: func(s *sums) float64 { return s.words / s.texts }},
	{name: "reference words", of: func(s *sums) float64 { return s.referenceWords / s.texts }},
}

// Scorer scores generations.
type Scorer struct{ meteor metrics.METEOR }

// NewScorer loads what METEOR needs. What isn't installed is left out, as Label says, and how to get it is noted.
func NewScorer(note func(line string)) (*Scorer, error) {
	s := &Scorer{}
	var err error
	if s.meteor.Synonyms, err = installed(metrics.FindWordNet, metrics.LoadWordNet, note); err != nil {
		return nil, err
	}
	if s.meteor.Sentences, err = installed(metrics.FindPunkt, metrics.LoadPunkt, note); err != nil {
		return nil, err
	}
	return s, nil
}

// installed loads what find finds; nil, with a note, if that is nothing.
func installed[T any](find func() (string, error), load func(dir string) (*T, error), note func(line string)) (*T, error) {
	dir, err := find()
	if errors.Is(err, fs.ErrNotExist) {
		note("METEOR without what it needs: " + err.Error())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return load(dir)
}

// Label says which METEOR it is; see metrics.METEOR.
func (s *Scorer) Label() string { return s.meteor.Label() }

// score scores each text, on all processors.
func (s *Scorer) score(generations []Generation) []sums {
	scored := make([]sums, len(generations))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(scored)); i = next.Add(1) - 1 {
				scored[i] = s.text(generations[i])
			}
		})
	}
	workers.Wait()
	return scored
}

func (s *Scorer) text(g Generation) sums {
	rouge := metrics.ROUGE(g.Text, []string{g.Output}, false)
	return sums{
		texts: 1, tokens: float64(g.ReferenceTokens), logLik: -g.ReferenceNLL,
		words: float64(len(strings.Fields(g.Text))), referenceWords: float64(len(strings.Fields(g.Output))),
		meteor: s.meteor.Score(g.Text, g.Output),
		rouge1: rouge.ROUGE1.F1, rouge2: rouge.ROUGE2.F1, rougeL: rouge.ROUGEL.F1,
		bleu: metrics.BLEU(g.Text, g.Output), chrf: metrics.CHRF(g.Text, g.Output),
	}
}
