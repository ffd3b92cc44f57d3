package decoding

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// guesses is how many tokens are looked up. Where memory decides, reading eight tokens costs as much as one; of SmolLM2-135M on two
// cores it is 1.3 times as much.
const guesses = 7

// How many of the last tokens have to stand where guesses are taken from: two, one more after each time that none of the guesses was
// right, up to four, and two again when one was. So a list whose numbers come again, and never what follows, costs little. Of the
// texts that this was simulated on, where eight tokens cost 1.6 times one, the one that gained least took 1.05 times as long as
// without guesses, and with two always 1.14.
const leastMatch, mostMatch = 2, 4

// looksUp says whether guesses are looked up for texts that need f (prompt lookup decoding; Saxena, 2023): what followed the last
// tokens where they stood in the text before may follow again. The model reads the guesses at once, and those count that it
// would have written itself, so that the text is the same, but for what is rounded otherwise. That is for one row only, as rows
// share the slots of a cache; for the likeliest tokens, as of drawn ones few were there before; and not for positions that are
// rotated by how many tokens there are.
func (g *Generator) looksUp(s size, f features) bool {
	plain := !f.sample && !f.penalties && !f.logProbs && f.ngram == 0
	return !g.NoLookup && s.rows == 1 && s.room >= guesses+2 && plain && g.device.Loops() && !g.parameters.Config.ReadsAtOnce()
}

// note puts tokens [1, n] into the text, if there is one, the first at position [1].
func (r *rows) note(tokens, position *Node) {
	if r.text != nil {
		r.text = blocks.WriteSlot(r.text, tokens, 1, Squeeze(position, 0))
	}
}

// lookUp finds what followed the last tokens where most of them, and at least as many as have to match, stood before, latest: guesses
// [1, guesses], and whether there are any and room for them: an update that would go beyond the end of an array is moved, and
// overwrites what is before. A place so near that the guesses go beyond the end repeats what is between.
func (r *rows) lookUp(c models.Cache) (found, tokens *Node) {
	g, room := r.text.Graph(), r.text.Shape().Dimensions[1]
	text, last := Squeeze(r.text, 0), Squeeze(c.Position, 0)
	place := Iota(g, text.Shape(), 0)
	same, length := LessThan(place, BroadcastToDims(last, room)), ZerosLike(place)
	for n := range mostMatch { // tokens earlier
		earlier := text
		if n > 0 {
			none := AddScalar(Zeros(g, shapes.Make(dtypes.Int32, n)), -1)
			earlier = Concatenate([]*Node{none, SliceAxis(text, 0, AxisRange(0, room-n))}, 0)
		}
		same = LogicalAnd(same, Equal(earlier, BroadcastToDims(element(text, MaxScalar(AddScalar(last, -n), 0)), room)))
		length = Add(length, ConvertDType(same, dtypes.Int32))
	}
	rank := Add(MulScalar(length, room), place)
	rank = ReduceAllMax(Where(GreaterOrEqual(length, BroadcastToDims(r.match, room)), rank, ZerosLike(rank)))
	at := ModScalar(rank, room)
	next := Iota(g, shapes.Make(dtypes.Int32, guesses), 0)
	next = Mod(next, BroadcastToDims(MaxScalar(Sub(last, at), 1), guesses))
	tokens = element(text, Add(BroadcastToDims(AddScalar(at, 1), guesses), next))
	enough := LogicalAnd(LessOrEqual(last, Scalar(g, dtypes.Int32, room-guesses-2)), LessOrEqual(c.Slot, Scalar(g, dtypes.Int32, room-guesses-1)))
	return LogicalAnd(GreaterThan(rank, ZerosLike(rank)), enough), ExpandAxes(tokens, 0)
}

// element is x[i], of x [n], for each of i.
func element(x, i *Node) *Node { return Gather(x, ExpandAxes(i, -1)) }

// guess adds the tokens that the model would have written one by one: those of the guesses, as far as they are right, and one more.
// It tells of them, [1, 1+guesses, 1], with -1 for none, and returns how many there are.
func (r *rows) guess(m models.Model, c models.Cache, f features, eos []int) (told, n *Node, _ models.Cache) {
	g := r.token.Graph()
	const most = 1 + guesses
	_, tokens := r.lookUp(c)
	position, slot := c.Position, c.Slot
	hidden, c := m.Step(Concatenate([]*Node{ExpandAxes(r.token, 1), tokens}, 1), c)
	logits := Squeeze(blocks.Logits(m.Head(hidden)), 0)

	// Each is chosen as if those before it were right.
	index := Iota(g, shapes.Make(dtypes.Int32, most), 0)
	each := rows{
		token: BroadcastToDims(r.token, most), written: Add(BroadcastToDims(r.written, most), index), done: Zeros(g, shapes.Make(dtypes.Bool, most)),
		settings: BroadcastToDims(r.settings, most, settings), key: BroadcastToDims(r.key, most),
	}
	each.choose(logits, f, eos, nil, nil)
	right := LogicalAnd(Equal(SliceAxis(each.token, 0, AxisRange(0, guesses)), Squeeze(tokens, 0)), LogicalNot(SliceAxis(each.done, 0, AxisRange(0, guesses))))
	right = Concatenate([]*Node{right, Zeros(g, shapes.Make(dtypes.Bool, 1))}, 0)
	last := ReduceAllMin(Where(right, AddScalar(ZerosLike(index), most), index)) // that counts
	n = AddScalar(last, 1)

	r.note(ExpandAxes(each.token, 0), AddScalar(position, 1))
	more := MinScalar(AddScalar(r.match, 1), mostMatch)
	r.match = Where(ExpandAxes(Equal(n, OnesLike(n)), 0), more, AddScalar(ZerosLike(more), leastMatch))
	at := ExpandAxes(last, 0)
	r.token, r.written, r.done = element(each.token, at), element(each.written, at), element(each.done, at)
	c.Position, c.Slot = Add(position, ExpandAxes(n, 0)), ModScalar(Add(slot, n), c.Room())
	counts := LessOrEqual(index, BroadcastToDims(last, most))
	return ExpandAxes(Where(counts, each.token, AddScalar(ZerosLike(index), -1)), 0, 2), n, c
}
