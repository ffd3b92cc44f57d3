package metrics

import "strings"

// An Overlap is what a candidate and a reference have in common, as a part of each,
// between 0 and 1, and the harmonic mean of both.
type Overlap struct{ Precision, Recall, F1 float64 }

func overlap(common, candidate, reference int) Overlap {
	o := Overlap{Precision: float64(common) / float64(max(candidate, 1)), Recall: float64(common) / float64(max(reference, 1))}
	if sum := o.Precision + o.Recall; sum > 0 {
		o.F1 = 2 * o.Precision * o.Recall / sum
	}
	return o
}

// A ROUGEScore is rouge1, rouge2 and rougeL of the package rouge-score (Lin, "ROUGE: A
// Package for Automatic Evaluation of Summaries", 2004): words, pairs of words, and the
// longest common subsequence of the texts.
type ROUGEScore struct{ ROUGE1, ROUGE2, ROUGEL Overlap }

// ROUGE returns for each kind the score with the best F1 among a candidate's
// references, of equal ones the first's; zeros without references. Words are runs of
// a-z and 0-9 in lower case: other letters end them. With stems, those of more than
// three letters are reduced to their stems.
func ROUGE(candidate string, references []string, stems bool) ROUGEScore {
	var best ROUGEScore
	c := rougeWords(candidate, stems)
	for i, reference := range references {
		r := rougeWords(reference, stems)
		for _, s := range []struct {
			best  *Overlap
			score Overlap
		}{
			{&best.ROUGE1, ngramOverlap(c, r, 1)},
			{&best.ROUGE2, ngramOverlap(c, r, 2)},
			{&best.ROUGEL, overlap(lcsLength(c, r), len(c), len(r))},
		} {
			if i == 0 || s.score.F1 > s.best.F1 {
				*s.best = s.score
			}
		}
	}
	return best
}

func rougeWords(text string, stems bool) []string {
	words := strings.FieldsFunc(lower(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	if stems {
		for i, word := range words {
			if len(word) > 3 {
				words[i] = stem(word)
			}
		}
	}
	return words
}

func ngramOverlap(candidate, reference []string, n int) Overlap {
	type ngram [2]string
	key := func(words []string) (k ngram) {
		copy(k[:], words)
		return k
	}
	counts := map[ngram]int{}
	for i := range len(reference) - n + 1 {
		counts[key(reference[i:i+n])]++
	}
	common := 0
	for i := range len(candidate) - n + 1 {
		if k := key(candidate[i : i+n]); counts[k] > 0 {
			counts[k]--
			common++
		}
	}
	return overlap(common, max(0, len(candidate)-n+1), max(0, len(reference)-n+1))
}

// numbers gives each word a number.
func numbers(a, b []string) (x, y []int32) {
	ids := map[string]int32{}
	number := func(words []string) []int32 {
		all := make([]int32, len(words))
		for i, word := range words {
			id, ok := ids[word]
			if !ok {
				id = int32(len(ids))
				ids[word] = id
			}
			all[i] = id
		}
		return all
	}
	return number(a), number(b)
}

// lcsLength is the length of the longest common subsequence.
func lcsLength(a, b []string) int {
	x, y := numbers(a, b)
	row := make([]int, len(y)+1)
	for _, word := range x {
		diagonal := 0
		for j, other := range y {
			above := row[j+1]
			if word == other {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(above, row[j])
			}
			diagonal = above
		}
	}
	return row[len(y)]
}
