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

// A ROUGEScore is rouge1, rouge2, rougeL and rougeLsum of the package rouge-score
// (Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004): words, pairs
// of words, the longest common subsequence of the texts, and the union of those of
// their lines.
type ROUGEScore struct{ ROUGE1, ROUGE2, ROUGEL, ROUGELsum Overlap }

// ROUGE returns for each kind the score with the best F1 among a candidate's
// references, of equal ones the first's; zeros without references. Words are runs of
// a-z and 0-9 in lower case: other letters end them. With stems, those of more than
// three letters are reduced to their stems.
func ROUGE(candidate string, references []string, stems bool) ROUGEScore {
	var best ROUGEScore
	ours := rougeLines(candidate, stems)
	for i, reference := range references {
		theirs := rougeLines(reference, stems)
		c, r := ours.joined(), theirs.joined()
		for _, s := range []struct {
			best  *Overlap
			score Overlap
		}{
			{&best.ROUGE1, ngramOverlap(c, r, 1)},
			{&best.ROUGE2, ngramOverlap(c, r, 2)},
			{&best.ROUGEL, overlap(lcsLength(c, r), len(c), len(r))},
			{&best.ROUGELsum, overlap(unionLCS(ours, theirs), len(c), len(r))},
		} {
			if i == 0 || s.score.F1 > s.best.F1 {
				*s.best = s.score
			}
		}
	}
	return best
}

// rougeText is a text's words line by line.
type rougeText [][]string

func (t rougeText) joined() []string {
	var all []string
	for _, line := range t {
		all = append(all, line...)
	}
	return all
}

func rougeLines(text string, stems bool) rougeText {
	var lines rougeText
	for line := range strings.SplitSeq(text, "\n") {
		words := strings.FieldsFunc(lower(line), func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9')
		})
		if stems {
			for i, word := range words {
				if len(word) > 3 {
					words[i] = stem(word)
				}
			}
		}
		lines = append(lines, words)
	}
	return lines
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

// unionLCS counts the words of the reference's lines that are in a longest common
// subsequence with any of the candidate's lines, each as often as the candidate has it.
func unionLCS(candidate, reference rougeText) int {
	counts := map[string]int{}
	for _, word := range candidate.joined() {
		counts[word]++
	}
	hits := 0
	for _, line := range reference {
		common := make([]bool, len(line))
		for _, other := range candidate {
			markLCS(common, line, other)
		}
		for i, word := range line {
			if common[i] && counts[word] > 0 {
				counts[word]--
				hits++
			}
		}
	}
	return hits
}

// markLCS marks the words of a in the one longest common subsequence with b that
// rouge-score finds.
func markLCS(marks []bool, a, b []string) {
	width := len(b) + 1
	table := make([]int32, (len(a)+1)*width)
	for i, word := range a {
		row, next := table[i*width:], table[(i+1)*width:]
		for j, other := range b {
			if word == other {
				next[j+1] = row[j] + 1
			} else {
				next[j+1] = max(row[j+1], next[j])
			}
		}
	}
	for i, j := len(a), len(b); i > 0 && j > 0; {
		switch {
		case a[i-1] == b[j-1]:
			marks[i-1] = true
			i, j = i-1, j-1
		case table[i*width+j-1] > table[(i-1)*width+j]:
			j--
		default:
			i--
		}
	}
}
