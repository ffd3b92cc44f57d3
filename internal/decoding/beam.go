package decoding

import (
	"math"
	"slices"
)

// Beams say how to search for the most likely text instead of drawing one, with the meaning that transformers gives to these
// settings.
type Beams struct {
	// Number is how many texts are kept under way; up to 1 is no search.
	Number int
	// LengthPenalty is the power of a text's length that the logarithm of its probability is divided by: above 0 for longer
	// texts, below 0 for shorter ones.
	LengthPenalty float64
	EarlyStopping EarlyStopping
}

// EarlyStopping says when a search ends before its texts are as long as they may be.
type EarlyStopping string

// Ways to end a search.
const (
	WhenUnlikely   EarlyStopping = "false" // when no text under way, if it ended now, would be among the best
	WhenEnough     EarlyStopping = "true"  // when there are as many texts as beams
	WhenImpossible EarlyStopping = "never" // when no text under way can get among the best
)

// candidate is a text under way with one more token.
type candidate struct {
	beam  int
	id    int32
	score float32 // logarithm of its probability
}

// hypothesis is a text of a search with its score.
type hypothesis struct {
	ids   []int32
	score float32
	ended bool
}

// outOfIt is added to the score of what can't be chosen, as in transformers.
const outOfIt = -1e9

// search is the search for the text after one prompt. It follows transformers 5's _beam_search.
type search struct {
	Beams
	limit    int // most tokens
	eos      []int
	running  []hypothesis // most likely first
	finished []hypothesis // best first; there are always as many as beams
	open     bool         // the texts under way may still get among the best
	done     bool
}

func newSearch(b Beams, limit int, eos []int) *search {
	s := &search{Beams: b, limit: limit, eos: eos, open: true}
	for i := range b.Number {
		start := float32(outOfIt) // all beams are the same at first, so that only one counts
		if i == 0 {
			start = 0
		}
		s.running = append(s.running, hypothesis{score: start})
		s.finished = append(s.finished, hypothesis{score: outOfIt})
	}
	return s
}

// candidates is how many continuations a step has to know for n beams: enough to go on if the likeliest all end.
func (b Beams) candidates(eos int) int { return max(2, 1+eos) * b.Number }

// advance takes the likeliest continuations, likeliest first, and says which beams go on and with which tokens.
func (s *search) advance(next []candidate) (parents []int, tokens []int32) {
	length := len(s.running[0].ids) + 1
	grown := make([]hypothesis, len(next))
	on := make([]float32, len(next)) // scores of those that go on
	ends := true
	for i, c := range next {
		ids := append(slices.Clone(s.running[c.beam].ids), c.id)
		end := slices.Contains(s.eos, int(c.id)) || length >= s.limit
		grown[i], on[i] = hypothesis{ids: ids, score: c.score, ended: end}, c.score
		if end {
			on[i] += outOfIt
		}
		ends = ends && end
	}
	s.finish(grown, length)
	s.running = nil
	for _, i := range order(on)[:s.Number] {
		s.running = append(s.running, hypothesis{ids: grown[i].ids, score: on[i]})
		parents, tokens = append(parents, next[i].beam), append(tokens, next[i].id)
	}
	s.look(length)
	s.done = s.done || !s.open || ends || s.full() && s.EarlyStopping == WhenEnough
	return parents, tokens
}

// finish takes those of the likeliest texts that have ended among the best.
func (s *search) finish(grown []hypothesis, length int) {
	if s.done {
		return
	}
	merged := slices.Clone(s.finished)
	for i, h := range grown {
		h.score /= float32(math.Pow(float64(length), s.LengthPenalty))
		h.ended = h.ended && i < s.Number // the others are known only to go on
		if !h.ended {
			h.score += outOfIt
		}
		merged = append(merged, h)
	}
	scores := make([]float32, len(merged))
	for i, h := range merged {
		scores[i] = h.score
	}
	s.finished = nil
	for _, i := range order(scores)[:s.Number] {
		s.finished = append(s.finished, merged[i])
	}
}

// full says whether there are as many ended texts as beams.
func (s *search) full() bool {
	return !slices.ContainsFunc(s.finished, func(h hypothesis) bool { return !h.ended })
}

// look compares the likeliest text under way with the worst of the best.
func (s *search) look(length int) {
	if s.EarlyStopping == WhenImpossible && s.LengthPenalty > 0 {
		length = s.limit
	}
	best := s.running[0].score / float32(math.Pow(float64(length), s.LengthPenalty))
	worst := float32(outOfIt)
	if s.full() {
		worst = s.finished[s.Number-1].score
	}
	s.open = s.open && best > worst
}

// best is the text that was found.
func (s *search) best() Text {
	h := s.finished[0]
	if slices.Contains(s.eos, int(h.ids[len(h.ids)-1])) {
		return Text{IDs: h.ids, FinishReason: Stop}
	}
	return Text{IDs: h.ids, FinishReason: Length}
}

// order are the places of scores, largest first.
func order(scores []float32) []int {
	places := make([]int, len(scores))
	for i := range places {
		places[i] = i
	}
	slices.SortStableFunc(places, func(a, b int) int {
		switch {
		case scores[a] > scores[b]:
			return -1
		case scores[a] < scores[b]:
			return 1
		}
		return 0
	})
	return places
}
