package decoding

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
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

// candidates is how many continuations of a prompt's beams are looked at: enough to go on if the likeliest all end.
func (b Beams) candidates(eos int) int { return max(2, 1+eos) * b.Number }

// outOfIt is the score of what can't be chosen. It isn't -Inf, so that likeliest takes each only once.
const outOfIt = -math.MaxFloat32

// hypotheses are texts after each prompt, as nodes of a program: n for each, best first.
type hypotheses struct {
	scores  *Node // [prompts, n] float32
	ids     *Node // [prompts, n, room] int32
	lengths *Node // [prompts, n] int32; 0 is none
}

// search is what is known of the searches for the texts after some prompts, as nodes of a program. The beams of a prompt are
// rows side by side. It follows transformers 5's _beam_search, for each prompt by itself.
type search struct {
	rows                // done for all beams of a prompt together
	running  hypotheses // by the logarithms of their probabilities
	finished hypotheses // by these and the length penalty
	logits   *Node      // [rows, vocab] float32, after the running texts
}

// advance adds a token to the running texts, and returns the rows that they go on from, [rows]. The tokens before it are in the
// cache up to slot newest; length [rows] is how many there are.
func (s *search) advance(b Beams, f features, eos []int, newest, length *Node) (parents *Node) {
	g, dims := s.logits.Graph(), s.running.scores.Shape().Dimensions
	prompts, beams, vocab := dims[0], dims[1], s.logits.Shape().Dimensions[1]
	first := func(x *Node) *Node { return SliceAxis(Reshape(x, prompts, beams), 1, AxisElem(0)) } // of a prompt's rows
	penalty, limit := first(s.setting(lengthPenalty)), first(s.setting(maxTokens))

	all := s.process(LogSoftmax(s.logits, -1), f, eos, newest, length)
	all = Add(all, over(Reshape(s.running.scores, -1), all))
	scores, at := likeliest(Reshape(all, prompts, beams*vocab), b.candidates(len(eos)))
	parent, token := DivScalar(at, vocab), ModScalar(at, vocab)
	grown := s.running.take(parent)
	end := Equal(Iota(g, grown.ids.Shape(), 2), BroadcastToShape(ExpandAxes(grown.lengths, 2), grown.ids.Shape()))
	grown.ids = Where(end, BroadcastToShape(ExpandAxes(token, 2), grown.ids.Shape()), grown.ids)
	grown.lengths = AddScalar(grown.lengths, 1)
	lengths := ConvertDType(grown.lengths, dtypes.Float32)
	never := AddScalar(ZerosLike(scores), outOfIt)

	ends := GreaterOrEqual(lengths, BroadcastToShape(limit, lengths.Shape()))
	for _, id := range eos {
		ends = LogicalOr(ends, Equal(token, Scalar(g, dtypes.Int32, id)))
	}
	grown.scores = Where(ends, never, scores)
	running, chosen := grown.best(beams)
	parents, s.token, s.written = rowsIn(take(parent, chosen), beams), Reshape(take(token, chosen), -1), Reshape(running.lengths, -1)

	// Those beyond the number of beams are known only to go on.
	finish := LogicalAnd(ends, LessThan(Iota(g, token.Shape(), 1), Scalar(g, dtypes.Int32, beams)))
	finish = LogicalAnd(finish, LogicalNot(BroadcastToShape(first(s.done), ends.Shape())))
	grown.scores = Where(finish, Div(scores, Pow(lengths, BroadcastToShape(penalty, lengths.Shape()))), never)
	grown.lengths = Where(finish, grown.lengths, ZerosLike(grown.lengths))
	finished, _ := s.finished.and(grown).best(beams)

	// The likeliest running text against the worst of the best.
	reach := SliceAxis(lengths, 1, AxisElem(0))
	if b.EarlyStopping == WhenImpossible {
		reach = Where(GreaterThan(penalty, ZerosLike(penalty)), limit, reach)
	}
	best := Div(SliceAxis(running.scores, 1, AxisElem(0)), Pow(reach, penalty))
	full := LogicalAll(GreaterThan(finished.lengths, ZerosLike(finished.lengths)), 1)
	worst := Where(ExpandAxes(full, 1), SliceAxis(finished.scores, 1, AxisElem(-1)), AddScalar(ZerosLike(best), outOfIt))
	done := LogicalOr(LogicalNot(Squeeze(GreaterThan(best, worst), 1)), LogicalAll(ends, 1))
	if b.EarlyStopping == WhenEnough {
		done = LogicalOr(done, full)
	}
	s.done = LogicalOr(s.done, Reshape(BroadcastToDims(ExpandAxes(done, 1), prompts, beams), -1))
	s.running, s.finished = running, finished
	return parents
}

// best are the n with the largest scores, and their places, [prompts, n].
func (h hypotheses) best(n int) (best hypotheses, at *Node) {
	scores, at := likeliest(h.scores, n)
	best = h.take(at)
	best.scores = scores
	return best, at
}

func (h hypotheses) take(at *Node) hypotheses {
	return hypotheses{take(h.scores, at), take(h.ids, at), take(h.lengths, at)}
}

func (h hypotheses) and(more hypotheses) hypotheses {
	with := func(x, y *Node) *Node { return Concatenate([]*Node{x, y}, 1) }
	return hypotheses{with(h.scores, more.scores), with(h.ids, more.ids), with(h.lengths, more.lengths)}
}

// take are the elements of x [prompts, m, ...] in the places at [prompts, n] of each prompt: [prompts, n, ...].
func take(x, at *Node) *Node {
	d := x.Shape().Dimensions
	flat := Reshape(x, append([]int{d[0] * d[1]}, d[2:]...)...)
	taken := Gather(flat, ExpandAxes(rowsIn(at, d[1]), 1))
	return Reshape(taken, append(append([]int{}, at.Shape().Dimensions...), d[2:]...)...)
}

// rowsIn are places [prompts, n] among each prompt's rows as places among the rows of all, [prompts*n].
func rowsIn(at *Node, each int) *Node {
	prompt := Iota(at.Graph(), shapes.Make(dtypes.Int32, at.Shape().Dimensions...), 0)
	return Reshape(Add(MulScalar(prompt, each), at), -1)
}
