package metrics

import (
	"math"
	"strings"
)

const bleuOrder = 4 // the longest n-grams

// BLEUStats counts n-grams of words for BLEU (Papineni et al., 2002). Those of a corpus
// are the sums over its texts.
type BLEUStats struct {
	Candidate, Reference int            // words; of several references' lengths the closest counts
	Matches, Total       [bleuOrder]int // n-grams of the candidate, by n-1
}

// BLEU counts a candidate's n-grams against its references as sacrebleu does, with
// its default tokenizer 13a and in the text's own case.
func BLEU(candidate string, references ...string) BLEUStats {
	// Words are numbered, so that an n-gram is a small key.
	ids := map[string]int32{}
	number := func(text string) []int32 {
		words := words13a(text)
		all := make([]int32, len(words))
		for i, word := range words {
			if ids[word] == 0 {
				ids[word] = int32(len(ids) + 1)
			}
			all[i] = ids[word]
		}
		return all
	}
	type ngram [bleuOrder]int32
	count := func(words []int32) map[ngram]int {
		counts := make(map[ngram]int, bleuOrder*len(words))
		for i := range words {
			var g ngram
			for n := 0; n < bleuOrder && i+n < len(words); n++ {
				g[n] = words[i+n]
				counts[g]++
			}
		}
		return counts
	}
	ours := number(candidate)
	s := BLEUStats{Candidate: len(ours)}
	most := map[ngram]int{}
	for i, reference := range references {
		theirs := number(reference)
		for g, n := range count(theirs) {
			most[g] = max(most[g], n)
		}
		now, before := abs(len(theirs)-len(ours)), abs(s.Reference-len(ours))
		if i == 0 || now < before || now == before && len(theirs) < s.Reference {
			s.Reference = len(theirs)
		}
	}
	for g, n := range count(ours) {
		order := 0
		for order+1 < bleuOrder && g[order+1] != 0 {
			order++
		}
		s.Matches[order] += min(n, most[g])
		s.Total[order] += n
	}
	return s
}

// Add adds the counts of another text.
func (s *BLEUStats) Add(other BLEUStats) {
	s.Candidate += other.Candidate
	s.Reference += other.Reference
	for i := range bleuOrder {
		s.Matches[i] += other.Matches[i]
		s.Total[i] += other.Total[i]
	}
}

// Corpus is sacrebleu's corpus BLEU, between 0 and 100, with its exponential smoothing
// (method 3 of Chen and Cherry, 2014).
func (s BLEUStats) Corpus() float64 { return s.score(false) }

// Sentence is sacrebleu's sentence BLEU with effective order: n-grams longer than the
// candidate don't count.
func (s BLEUStats) Sentence() float64 { return s.score(true) }

func (s BLEUStats) score(effectiveOrder bool) float64 {
	if s.Matches == [bleuOrder]int{} {
		return 0
	}
	brevity := 1.0
	if s.Candidate < s.Reference {
		brevity = math.Exp(1 - float64(s.Reference)/float64(s.Candidate))
	}
	sum, order, smooth := 0.0, bleuOrder, 1.0
	for i, total := range s.Total {
		if total == 0 {
			if !effectiveOrder {
				return 0
			}
			order = i
			break
		}
		precision := float64(s.Matches[i])
		if precision == 0 {
			smooth *= 2
			precision = 1 / smooth
		}
		sum += math.Log(100 * precision / float64(total))
	}
	return brevity * math.Exp(sum/float64(order))
}

// words13a is the tokenizer of the WMT's mteval-v13a.pl as sacrebleu has it: it cuts
// off all punctuation of ASCII but apostrophes and hyphens, and of periods and commas
// those that aren't between digits.
func words13a(text string) []string {
	text = strings.TrimRightFunc(text, isSpace)
	for _, r := range [][2]string{{"<skipped>", ""}, {"-\n", ""}, {"\n", " "}, {"&quot;", `"`}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}} {
		text = strings.ReplaceAll(text, r[0], r[1])
	}
	var padded []byte
	padded = append(padded, ' ')
	for i := range len(text) {
		if c := text[i]; c < 0x80 && c >= ' ' && !isAlnum(rune(c)) && !strings.ContainsRune("'-.,", rune(c)) || c == '_' {
			padded = append(padded, ' ', c, ' ')
		} else {
			padded = append(padded, c)
		}
	}
	padded = append(padded, ' ')
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	point := func(c byte) bool { return c == '.' || c == ',' }
	padded = space(padded, "a b ", func(a, b byte) bool { return !digit(a) && point(b) })
	padded = space(padded, " a b", func(a, b byte) bool { return point(a) && !digit(b) })
	padded = space(padded, "a b ", func(a, b byte) bool { return digit(a) && b == '-' })
	return fields(string(padded))
}

// space puts spaces about two bytes that belong apart, from left to right: before and
// between them, or between and after them, as the pattern shows.
func space(text []byte, pattern string, apart func(a, b byte) bool) []byte {
	out := make([]byte, 0, len(text)+len(text)/4)
	for i := 0; i < len(text); i++ {
		if i+1 == len(text) || !apart(text[i], text[i+1]) {
			out = append(out, text[i])
			continue
		}
		for _, c := range []byte(pattern) {
			switch c {
			case 'a':
				c = text[i]
			case 'b':
				c = text[i+1]
			}
			out = append(out, c)
		}
		i++
	}
	return out
}

func abs(n int) int { return max(n, -n) }
