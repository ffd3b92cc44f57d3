package metrics

import (
	"bytes"
	"math"
	"slices"
)

// A METEOR scorer matches words, then their stems, then synonyms (Lavie and Agarwal,
// "METEOR: An Automatic Metric for MT Evaluation with High Levels of Correlation with
// Human Judgments", 2007): meteor_score of NLTK over its word_tokenize, with alpha
// 0.9, beta 3 and gamma 0.5, which is what Hugging Face's evaluate computes.
//
// Both parts may be missing; then scores are others, and Label says so. It may be used
// by several goroutines.
type METEOR struct {
	Sentences *Punkt   // where sentences end; nil: Punkt without training, which takes abbreviations for ends
	Synonyms  *WordNet // nil: only exact words and stems match
}

// Label is "METEOR" if everything is there, and else says what is missing. Scores with
// different labels can't be compared.
func (m METEOR) Label() string {
	switch {
	case m.Synonyms == nil && m.Sentences == nil:
		return "exact-and-stem METEOR, untrained sentence ends"
	case m.Synonyms == nil:
		return "exact-and-stem METEOR"
	case m.Sentences == nil:
		return "METEOR, untrained sentence ends"
	}
	return "METEOR"
}

// Score returns the best of a candidate's scores, between 0 and 1, against each of its
// references; 0 without any.
func (m METEOR) Score(candidate string, references ...string) float64 {
	cut := make([][]string, len(references))
	for i, reference := range references {
		cut[i] = words(reference, m.Sentences)
	}
	return m.ScoreWords(words(candidate, m.Sentences), cut...)
}

// ScoreWords is Score for texts that are cut into words already.
func (m METEOR) ScoreWords(candidate []string, references ...[]string) float64 {
	best := 0.0
	for _, reference := range references {
		best = max(best, m.score(candidate, reference))
	}
	return best
}

func (m METEOR) score(candidate, reference []string) float64 {
	const alpha, beta, gamma = 0.9, 3, 0.5
	pairs := align(candidate, reference, m.Synonyms)
	if len(pairs) == 0 {
		return 0
	}
	chunks := 1
	for i := range len(pairs) - 1 {
		if pairs[i+1] != (pair{pairs[i].candidate + 1, pairs[i].reference + 1}) {
			chunks++
		}
	}
	matches := float64(len(pairs))
	precision, recall := matches/float64(len(candidate)), matches/float64(len(reference))
	mean := precision * recall / (alpha*precision + (1-alpha)*recall)
	return (1 - gamma*math.Pow(float64(chunks)/matches, beta)) * mean
}

// A pair of positions of words that match.
type pair struct{ candidate, reference int }

// align matches words, then the stems of what is left, then synonyms of those stems.
// NLTK does no more to keep crossings few than to begin at the candidate's end and to
// take the last word of the reference that fits. The pairs are in the candidate's order.
func align(candidate, reference []string, synonyms *WordNet) []pair {
	left, right := numbered(candidate), numbered(reference)
	var pairs []pair
	match := func(synonyms *WordNet) {
		// Positions in right, plus one: the last of each word, and the one before each.
		last, before := map[string]int{}, make([]int, len(right)+1)
		for i, word := range right {
			before[i+1], last[word.text] = last[word.text], i+1
		}
		for i := len(left) - 1; i >= 0; i-- {
			best := last[left[i].text]
			if synonyms != nil {
				synonyms.eachSynonym(left[i].text, func(lemma []byte) {
					if at := last[string(lemma)]; at > best && bytes.IndexByte(lemma, '_') < 0 {
						best = at
					}
				})
			}
			if best > 0 {
				last[right[best-1].text] = before[best]
				pairs = append(pairs, pair{left[i].at, right[best-1].at})
				left[i].matched, right[best-1].matched = true, true
			}
		}
		matched := func(w numberedWord) bool { return w.matched }
		left, right = slices.DeleteFunc(left, matched), slices.DeleteFunc(right, matched)
	}
	match(nil)
	for _, side := range [][]numberedWord{left, right} {
		for i := range side {
			side[i].text = stem(side[i].text)
		}
	}
	match(nil)
	if synonyms != nil {
		match(synonyms)
	}
	slices.SortFunc(pairs, func(a, b pair) int { return a.candidate - b.candidate })
	return pairs
}

type numberedWord struct {
	at      int
	text    string
	matched bool
}

func numbered(words []string) []numberedWord {
	all := make([]numberedWord, len(words))
	for i, word := range words {
		all[i] = numberedWord{at: i, text: lower(word)}
	}
	return all
}
