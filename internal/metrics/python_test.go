package metrics

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longform-go/longform/data/demo"
	"github.com/longform-go/longform/internal/testneeds"
)

// run gives a script in testdata a JSON object and reads another one from it.
func run(tb testing.TB, script string, task, result any) {
	tb.Helper()
	python := testneeds.Python(tb, "nltk", "rouge_score", "sacrebleu", "scipy")
	input, err := json.Marshal(task)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(python, "-W", "ignore", filepath.Join("testdata", script))
	cmd.Stdin = bytes.NewReader(input)
	out := testneeds.Output(tb, cmd)
	if err := json.Unmarshal(out, result); err != nil {
		tb.Fatalf("%s printed %.200s: %v", script, out, err)
	}
}

// full is METEOR with WordNet and Punkt, and the directories they come from.
func full(tb testing.TB) (m METEOR, wordnet, punkt string) {
	tb.Helper()
	wordnet, err := FindWordNet()
	if err == nil {
		punkt, err = FindPunkt()
	}
	if err != nil {
		testneeds.Missing(tb, err.Error())
	}
	if m.Synonyms, err = LoadWordNet(wordnet); err == nil {
		m.Sentences, err = LoadPunkt(punkt)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return m, wordnet, punkt
}

// A textPair is a candidate and its references.
type textPair struct {
	candidate  string
	references []string
}

func (p textPair) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{p.candidate, p.references})
}

// odd are words that tokenizers, stemmers and Python's strings treat in ways of their own.
var odd = strings.Fields(`
	Mr. e.g. U.S. J. No. a.m. ... .. . ! ?! !!! ; : , - -- — – ' '' '''' "  "" ( ) ). ." .' .) '." [1] {x} <skipped> <b> * & % $5 #1 @home
	3.14 1,000 1.000,50 10-20 -5. .5 5. 1: ,5 a:b a,b a.b http://a.b/c?d=e&f=g &amp; &quot; &lt; &amp;lt; don't can't won't I'll we've they're
	DON'T it's IT'S dogs' 'tis 'twas 'Twas 's 'em rock'n'roll cannot Cannot gonna wanna gimme gotta lemme d'ye more'n “well” ‘so’ don’t «so» „so“
	don` + "`t `so' ``so'' ```so" + ` naïve Café ΟΔΟΣ Σ ΑΣ. İstanbul ıssız ſs straße 日本語。 これは、 😀👍🏽 é ﬁne x́y ý ½ ² Ⅻ ⓐⓑ zero` + "\u200dwidth soft\u00adhyphen" + `
	skies dying lying news innings howe proceed exceeding succeeds ties dies died flies spied agreed feed plastered motoring hopping falling hissing
	fizzed failing filing happy sky enjoy spy radically geology hopefully controlling rolls yyyy yy ééd êêing eye oxen geese went better best wolves
	Paris ice_cream galore well-known re-enter a/b and/or C++ x=y ~ ^ | \ \n`)

var synonyms = map[string]string{
	"big": "large", "small": "little", "begin": "start", "day": "twenty-four_hours", "friends": "pals", "good": "full", "like": "wish",
	"much": "lots", "little": "small", "ready": "prepared", "house": "home", "walk": "stroll", "near": "close", "old": "aged",
	"children": "kids", "soft": "mild", "road": "route", "shop": "store", "quick": "fast", "thank": "give", "write": "compose", "send": "direct",
	"hot": "spicy", "cook": "fix", "serve": "help", "twenty": "20", "minutes": "min", "autumn": "fall", "picture": "image", "happy": "glad",
}

// pairs edits the demo's texts so that candidates and references have something, all
// or nothing in common, in n pairs with one to four references.
func pairs(tb testing.TB, n int) []textPair {
	tb.Helper()
	text, err := demo.Files.ReadFile("train.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	var texts []string
	for line := range bytes.Lines(text) {
		var record struct{ Output string }
		if err := json.Unmarshal(line, &record); err != nil {
			tb.Fatal(err)
		}
		texts = append(texts, record.Output)
	}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	edit := func(text string) string {
		words := strings.Split(text, " ")
		for range random.IntN(2 + len(words)/2) {
			i, j := random.IntN(len(words)), random.IntN(len(words))
			switch random.IntN(9) {
			case 0:
				words[i], words[j] = words[j], words[i]
			case 1:
				words = slices.Delete(words, min(i, j), min(min(i, j)+3, max(i, j)))
				words = append(words, pick(odd))
			case 2:
				words[i] = cmp.Or(synonyms[words[i]], words[i])
			case 3:
				words[i] += pick([]string{"s", "ed", "ing", "es", "ies", "er", "ly", "'s", "ization", "fulness", "ement"})
			case 4:
				words[i] = strings.ToUpper(words[i][:min(1, len(words[i]))]) + words[i][min(1, len(words[i])):]
			case 5:
				words[i] += pick([]string{".", "!", "?", ",", ";", ":", "...", `."`, "'", `"`, ")", "”", "\n", "\n\n", "\t", "\u00a0", "-\n"})
			case 6:
				words[i] = pick([]string{`"`, "'", "``", "(", "“", "--", "\n"}) + words[i]
			default:
				words = slices.Insert(words, i, pick(odd))
			}
		}
		return strings.Join(words, " ")
	}
	var all []textPair
	for range n {
		text := pick(texts)
		p := textPair{candidate: edit(text)}
		for range 1 + random.IntN(4)*random.IntN(2) {
			if random.IntN(10) == 0 {
				text = pick(texts)
			}
			p.references = append(p.references, edit(text))
		}
		switch random.IntN(60) {
		case 0:
			p.candidate = pick([]string{"", " ", ".", "\n", "a", "?"})
		case 1:
			p.references[0] = pick([]string{"", "\n ", "!", "a", "A"})
		case 2:
			p.references[0] = p.candidate
		}
		all = append(all, p)
	}
	return all
}

// scores is what testdata/scores.py prints.
type scores struct {
	Sentences, Words [][]string
	Synonyms         map[string][]string
	Stems            map[string]string
	METEOR           []float64
	ExactAndStem     []float64       `json:"exact_and_stem"`
	ROUGE            [][3][3]float64 // of every third pair: kinds, then as in Overlap
	ROUGEStems       [][3][3]float64 `json:"rouge_stems"`
	BLEU, CHRF       []float64
	CorpusBLEU       [2]float64 `json:"corpus_bleu"` // with the first reference alone, with all
	CorpusCHRF       [2]float64 `json:"corpus_chrf"`
}

type scoresTask struct {
	Pairs    []textPair `json:"pairs"`
	WordNet  string     `json:"wordnet"`
	Synonyms []string   `json:"synonyms"`
	Punkt    string     `json:"punkt"`
	Seconds  bool       `json:"seconds"`
}

// TestSameScores compares everything on a thousand pairs.
func TestSameScores(t *testing.T) {
	m, wordnet, punkt := full(t)
	all := pairs(t, 1000)
	var want scores
	inflected := strings.Fields("policemen wolves boxes churches wishes buzzes gases puppies smaller biggest finest larger flies tried makes hopping hoped " +
		"geese went worst better further axes dogs' x .22 3 tyrannosaurus galore Paris set")
	run(t, "scores.py", scoresTask{all, wordnet, slices.Concat(inflected, odd), punkt, false}, &want)
	compare(t, all, m, want)
	for word, w := range want.Synonyms {
		found := map[string]bool{}
		m.Synonyms.eachSynonym(lower(word), func(lemma []byte) { found[string(lemma)] = true })
		if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, w) {
			t.Errorf("the synonyms of %s are %q, want %q", word, got, w)
		}
	}
	if different := count(want.METEOR, want.ExactAndStem); different < 100 {
		t.Errorf("synonyms change the score of %d pairs only: hardly a test of them", different)
	}
}

// TestSameScoresUntrained: what there is without WordNet and a trained Punkt is what
// NLTK does without them, too.
func TestSameScoresUntrained(t *testing.T) {
	all := pairs(t, 100)
	var want scores
	run(t, "scores.py", scoresTask{Pairs: all}, &want)
	compare(t, all, METEOR{}, want)
}

func count(a, b []float64) (different int) {
	for i := range a {
		if a[i] != b[i] {
			different++
		}
	}
	return different
}

// compare checks every score, and on the way words and stems.
func compare(t *testing.T, all []textPair, m METEOR, want scores) {
	t.Helper()
	for word, w := range want.Stems {
		if got := stem(lower(word)); got != w {
			t.Errorf("the stem of %q is %q, want %q", word, got, w)
		}
	}
	worst := map[string]float64{}
	check := func(what string, i int, got, want float64) {
		difference := math.Abs(got - want)
		if !(difference <= 1e-9) && i < len(all) {
			t.Errorf("%s of pair %d is %v, want %v\n%q\n%q", what, i, got, want, all[i].candidate, all[i].references)
		} else if !(difference <= 1e-9) {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
		worst[what] = max(worst[what], difference)
	}
	checkOverlaps := func(what string, i int, s ROUGEScore, want [3][3]float64) {
		for k, o := range []Overlap{s.ROUGE1, s.ROUGE2, s.ROUGEL} {
			for j, got := range []float64{o.Precision, o.Recall, o.F1} {
				check(fmt.Sprintf("%s %d", what, k), i, got, want[k][j])
			}
		}
	}
	stems := METEOR{Sentences: m.Sentences}
	var bleu [2]BLEUStats
	var chrf [2]CHRFStats
	for i, p := range all {
		if got := m.Sentences.Sentences(p.candidate); !slices.Equal(got, want.Sentences[i]) {
			t.Errorf("the sentences of %q are\n%q, want\n%q", p.candidate, got, want.Sentences[i])
		}
		if got := words(p.candidate, m.Sentences); !slices.Equal(got, want.Words[i]) {
			t.Errorf("the words of %q are\n%q, want\n%q", p.candidate, got, want.Words[i])
		}
		if want.METEOR != nil {
			check("METEOR", i, m.Score(p.candidate, p.references...), want.METEOR[i])
		}
		check("exact-and-stem METEOR", i, stems.Score(p.candidate, p.references...), want.ExactAndStem[i])
		if i%3 == 0 {
			checkOverlaps("ROUGE", i, ROUGE(p.candidate, p.references, false), want.ROUGE[i/3])
			checkOverlaps("ROUGE of stems", i, ROUGE(p.candidate, p.references, true), want.ROUGEStems[i/3])
		}
		check("BLEU", i, BLEU(p.candidate, p.references...).Sentence(), want.BLEU[i])
		check("chrF", i, CHRF(p.candidate, p.references...).Score(), want.CHRF[i])
		for j, references := range [][]string{p.references[:1], p.references} {
			bleu[j].Add(BLEU(p.candidate, references...))
			chrf[j].Add(CHRF(p.candidate, references...))
		}
	}
	for j := range bleu {
		check("BLEU of the corpus", len(all), bleu[j].Corpus(), want.CorpusBLEU[j])
		check("chrF of the corpus", len(all), chrf[j].Score(), want.CorpusCHRF[j])
	}
	t.Logf("%d pairs, largest differences %v", len(all), worst)
}

// BenchmarkScores says how many pairs each metric scores in a second, and how many
// the reference implementations do.
func BenchmarkScores(b *testing.B) {
	m, wordnet, punkt := full(b)
	all := pairs(b, 300)
	var seconds map[string]float64
	run(b, "scores.py", scoresTask{all, wordnet, nil, punkt, true}, &seconds)
	for _, c := range []struct {
		name  string
		score func(p textPair)
	}{
		{"meteor", func(p textPair) { m.Score(p.candidate, p.references...) }},
		{"meteor, stems only", func(p textPair) { METEOR{Sentences: m.Sentences}.Score(p.candidate, p.references...) }},
		{"rouge", func(p textPair) { ROUGE(p.candidate, p.references, true) }},
		{"bleu", func(p textPair) { BLEU(p.candidate, p.references...).Sentence() }},
		{"chrf", func(p textPair) { CHRF(p.candidate, p.references...).Score() }},
	} {
		b.Run(c.name, func(b *testing.B) {
			start := time.Now()
			n := 0
			for b.Loop() {
				c.score(all[n%len(all)])
				n++
			}
			b.ReportMetric(float64(n)/time.Since(start).Seconds(), "pairs/s")
			b.ReportMetric(float64(len(all))/seconds[c.name], "python-pairs/s")
		})
	}
}
