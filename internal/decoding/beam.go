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
	beams, vocab := b.Number, s.logits.Shape().Dimensions[1]
	all := s.process(LogSoftmax(s.logits, -1), f, eos, newest, length)
	all = Add(all, over(Reshape(s.running.scores, -1), all))
	scores, at := likeliest(Reshape(all, -1, beams*vocab), b.candidates(len(eos)))
	parent, token := DivScalar(at, vocab), ModScalar(at, vocab)
	grown := s.running.take(parent)
	end := Equal(Iota(at.Graph(), grown.ids.Shape(), 2), BroadcastToShape(ExpandAxes(grown.lengths, 2), grown.ids.Shape()))
	grown.ids = Where(end, BroadcastToShape(ExpandAxes(token, 2), grown.ids.Shape()), grown.ids)
	grown.lengths = AddScalar(grown.lengths, 1)

	never := AddScalar(ZerosLike(scores), outOfIt)
	lengths := ConvertDType(grown.lengths, dtypes.Float32)
	ends := GreaterOrEqual(lengths, BroadcastToShape(s.prompt(s.setting(maxTokens)), lengths.Shape()))
	for _, id := range eos {
		ends = LogicalOr(ends, Equal(token, Scalar(at.Graph(), dtypes.Int32, id)))
	}
	grown.scores = Where(ends, never, scores)
	var chosen *Node
	s.running, chosen = grown.best(beams)

	// Those beyond the number of beams are known only to go on.
	finish := LogicalAnd(ends, LessThan(Iota(at.Graph(), at.Shape(), 1), Scalar(at.Graph(), dtypes.Int32, beams)))
	finish = LogicalAnd(finish, LogicalNot(BroadcastToShape(s.prompt(s.done), ends.Shape())))
	penalty := BroadcastToShape(s.prompt(s.setting(lengthPenalty)), lengths.Shape())
	grown.scores = Where(finish, Div(scores, Pow(lengths, penalty)), never)
	grown.lengths = Where(finish, grown.lengths, ZerosLike(grown.lengths))
	s.finished, _ = s.finished.and(grown).best(beams)

	done := LogicalOr(s.settled(b.EarlyStopping), ExpandAxes(LogicalAll(ends, 1), 1))
	s.done = LogicalOr(s.done, Reshape(BroadcastToShape(done, shapes.Make(dtypes.Bool, s.running.lengths.Shape().Dimensions...)), -1))
	s.token, s.written = Reshape(take(token, chosen), -1), Reshape(s.running.lengths, -1)
	return rowsIn(take(parent, chosen), beams)
}

// settled says of which prompts, [prompts, 1], the finished texts are as good as they get, by the likeliest running text against
// the worst of them.
func (s *search) settled(early EarlyStopping) *Node {
	first := func(x *Node) *Node { return SliceAxis(x, 1, AxisElem(0)) }
	penalty, length := s.prompt(s.setting(lengthPenalty)), ConvertDType(first(s.running.lengths), dtypes.Float32)
	if early == WhenImpossible {
		length = Where(GreaterThan(penalty, ZerosLike(penalty)), s.prompt(s.setting(maxTokens)), length)
	}
	best := Div(first(s.running.scores), Pow(length, penalty))
	full := ExpandAxes(LogicalAll(GreaterThan(s.finished.lengths, ZerosLike(s.finished.lengths)), 1), 1)
	worst := Where(full, SliceAxis(s.finished.scores, 1, AxisElem(-1)), AddScalar(ZerosLike(best), outOfIt))
	settled := LogicalNot(GreaterThan(best, worst))
	if early == WhenEnough {
		settled = LogicalOr(settled, full)
	}
	return settled
}

// prompt is what is the same for all beams of a prompt, [prompts, 1], of x [rows] or [rows, 1].
func (s *search) prompt(x *Node) *Node {
	return SliceAxis(Reshape(x, s.running.scores.Shape().Dimensions...), 1, AxisElem(0))
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
