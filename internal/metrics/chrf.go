package metrics

import "strings"

const charOrder = 6 // the longest n-grams of characters

// CHRFStats counts n-grams of characters, by n-1. Those of a corpus are the sums over its
// texts.
type CHRFStats struct {
	Candidate, Reference, Matches [charOrder]int
}

// CHRF counts for chrF (Popović, "chrF: character n-gram F-score for automatic MT
// evaluation", 2015) as sacrebleu does: up to 6 characters without the space between
// them, in their own case, against the reference that gives the best score.
func CHRF(candidate string, references ...string) CHRFStats {
	var best CHRFStats
	c := []rune(strings.Join(fields(candidate), ""))
	for i, reference := range references {
		var s CHRFStats
		s.count(c, []rune(strings.Join(fields(reference), "")))
		if i == 0 || s.Score() > best.Score() {
			best = s
		}
	}
	return best
}

// count adds the n-grams. One is known by the number of what it is without its last
// character, and that character.
func (s *CHRFStats) count(candidate, reference []rune) {
	ours, theirs := make([]int32, len(candidate)), make([]int32, len(reference))
	for n := range charOrder {
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
				s.Matches[n]++
			}
		}
		s.Candidate[n] += max(0, len(candidate)-n)
		s.Reference[n] += len(reference) - n
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
