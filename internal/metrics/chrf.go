package metrics

import (
	"strings"
	"unicode/utf8"
)

const (
	charOrder = 6 // the longest n-grams of characters
	wordOrder = 2 // and of words in chrF++
)

// CHRFStats counts n-grams of characters, and for chrF++ of words, by n-1, words after
// characters. Those of a corpus are the sums over its texts.
type CHRFStats struct {
	Candidate, Reference, Matches [charOrder + wordOrder]int
}

// CHRF counts for chrF (Popović, "chrF: character n-gram F-score for automatic MT
// evaluation", 2015) as sacrebleu does: up to 6 characters without the space between
// them, in their own case, against the reference that gives the best score.
func CHRF(candidate string, references ...string) CHRFStats {
	return chrf(candidate, references, 0)
}

// CHRFPlusPlus counts for chrF++ (Popović, "chrF++: words helping character n-grams",
// 2017): up to 2 words besides.
func CHRFPlusPlus(candidate string, references ...string) CHRFStats {
	return chrf(candidate, references, wordOrder)
}

func chrf(candidate string, references []string, wordOrder int) CHRFStats {
	var best CHRFStats
	for i, reference := range references {
		var s CHRFStats
		c, r := []rune(strings.Join(fields(candidate), "")), []rune(strings.Join(fields(reference), ""))
		s.count(c, r, 0, charOrder)
		c, r = numbers(chrfWords(candidate), chrfWords(reference))
		s.count(c, r, charOrder, wordOrder)
		if i == 0 || s.Score() > best.Score() {
			best = s
		}
	}
	return best
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

// count adds the n-grams of n up to order, from index first on. An n-gram is known by
// the number of what it is without its last symbol, and that symbol.
func (s *CHRFStats) count(candidate, reference []int32, first, order int) {
	ours, theirs := make([]int32, len(candidate)), make([]int32, len(reference))
	for n := range order {
		known := map[[2]int32]int32{}
		var left []int // of the reference's n-grams, how many have no match
		for i := range len(reference) - n {
			key := [2]int32{theirs[i], reference[i+n]}
			id, ok := known[key]
			if !ok {
				id = int32(len(left))
				known[key] = id
				left = append(left, 0)
			}
			theirs[i] = id
			left[id]++
		}
		if len(left) == 0 {
			break // sacrebleu doesn't count the candidate's then either
		}
		for i := range len(candidate) - n {
			id, ok := known[[2]int32{ours[i], candidate[i+n]}]
			if !ok {
				ours[i] = -1
				continue
			}
			ours[i] = id
			if left[id] > 0 {
				left[id]--
				s.Matches[first+n]++
			}
		}
		s.Candidate[first+n] += max(0, len(candidate)-n)
		s.Reference[first+n] += len(reference) - n
	}
}

// Add adds the counts of another text.
func (s *CHRFStats) Add(other CHRFStats) {
	for i := range s.Matches {
		s.Candidate[i] += other.Candidate[i]
		s.Reference[i] += other.Reference[i]
		s.Matches[i] += other.Matches[i]
	}
}

// Score is the F-score, between 0 and 100, with beta 2 of the mean precision and the
// mean recall over the lengths that both texts have.
func (s CHRFStats) Score() float64 {
	const beta2 = 2 * 2
	precision, recall, orders := 0.0, 0.0, 0.0
	for i, matches := range s.Matches {
		if s.Candidate[i] > 0 && s.Reference[i] > 0 {
			precision += float64(matches) / float64(s.Candidate[i])
			recall += float64(matches) / float64(s.Reference[i])
			orders++
		}
	}
	if precision == 0 {
		return 0
	}
	precision, recall = precision/orders, recall/orders
	return 100 * (1 + beta2) * precision * recall / (beta2*precision + recall)
}

// chrfWords cuts one character of punctuation off each word, at its end or else at its
// beginning.
func chrfWords(text string) []string {
	const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	var words []string
	for _, word := range fields(text) {
		last := len(word) - 1
		switch {
		case utf8.RuneCountInString(word) == 1:
			words = append(words, word)
		case strings.IndexByte(punctuation, word[last]) >= 0:
			words = append(words, word[:last], word[last:])
		case strings.IndexByte(punctuation, word[0]) >= 0:
			words = append(words, word[:1], word[1:])
		default:
			words = append(words, word)
		}
	}
	return words
}
