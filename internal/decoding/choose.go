package decoding

import (
	"math"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/models/blocks"
)

// choose adds the next token of each row that isn't done, by logits [rows, vocab], float32, and returns what is to be told of
// it: tokens [rows, 1], int32, with -1 for none, and, for their probabilities, the likeliest Alternatives after it, besides the
// logarithms of all their probabilities. The tokens before it are in the cache up to slot newest; length [rows] is how many
// there are.
func (r *rows) choose(logits *Node, f features, eos []int, newest, length *Node) []*Node {
	id := r.pick(r.process(logits, f, eos, newest, length), f)
	active := LogicalNot(r.done)
	if r.counts != nil {
		vocab := Iota(id.Graph(), shapes.Make(dtypes.Int32, logits.Shape().Dimensions...), 1)
		chosen := LogicalAnd(Equal(vocab, over(id, vocab)), over(active, vocab))
		r.counts = Add(r.counts, ConvertDType(chosen, dtypes.Int32))
	}
	r.written = Add(r.written, ConvertDType(active, dtypes.Int32))
	r.token = Where(active, id, r.token)
	r.done = LogicalOr(r.done, GreaterOrEqual(ConvertDType(r.written, dtypes.Float32), Squeeze(r.setting(maxTokens), 1)))
	for _, end := range eos {
		r.done = LogicalOr(r.done, Equal(id, Scalar(id.Graph(), dtypes.Int32, end)))
	}
	ids := ExpandAxes(Where(active, id, AddScalar(ZerosLike(id), -1)), 1)
	if !f.logProbs {
		return []*Node{ids}
	}
	return tell(ids, logits)
}

// tell is what is told of tokens [rows, 1] and their probabilities by logits [rows, vocab], with the likeliest Alternatives in
// their places: all tokens, the logarithms of all their probabilities, [rows, 1+Alternatives] each.
func tell(ids, logits *Node) []*Node {
	vocab := Iota(ids.Graph(), shapes.Make(dtypes.Int32, logits.Shape().Dimensions...), 1)
	own := ReduceAndKeep(Where(Equal(vocab, BroadcastToDims(ids, vocab.Shape().Dimensions...)), logits, ZerosLike(logits)), ReduceSum, -1)
	best, at := likeliest(logits, Alternatives)
	less := func(x, by *Node) *Node { return Sub(x, BroadcastToDims(by, x.Shape().Dimensions...)) }
	largest := SliceAxis(best, 1, AxisElem(0))
	sum := ReduceAndKeep(Exp(less(logits, largest)), ReduceSum, -1)
	scores := less(less(Concatenate([]*Node{own, best}, 1), largest), Log(sum)) // one after the other: they may be nearly 0
	return []*Node{Concatenate([]*Node{ids, at}, 1), scores}
}

// likeliest are the n largest of scores [rows, vocab], largest first and of equal ones the first, and their places, [rows, n]
// each. A vocabulary of fewer ends with -Inf.
func likeliest(scores *Node, n int) (best, at *Node) {
	const width = 256
	rows, vocab := scores.Shape().Dimensions[0], scores.Shape().Dimensions[1]
	if vocab <= 4*n*width {
		return inTurn(scores, n)
	}
	// They are in the n parts with the largest maxima, in these parts' order.
	never := Infinity(scores.Graph(), dtypes.Float32, -1)
	parts := Reshape(Pad(scores, never, compute.PadAxis{}, compute.PadAxis{End: (width - vocab%width) % width}), rows, -1, width)
	_, in := inTurn(MaxScalar(ReduceMax(parts, 2), -math.MaxFloat32), n)
	in = ascending(in)
	best, at = inTurn(Reshape(take(parts, in), rows, n*width), n)
	return best, Add(MulScalar(take(in, DivScalar(at, width)), width), ModScalar(at, width))
}

// inTurn finds them one after the other.
func inTurn(scores *Node, n int) (best, at *Node) {
	place := Iota(scores.Graph(), shapes.Make(dtypes.Int32, scores.Shape().Dimensions...), 1)
	never := BroadcastToDims(Infinity(scores.Graph(), dtypes.Float32, -1), scores.Shape().Dimensions...)
	var bests, places []*Node
	for range n {
		i := ArgMax(scores, -1, dtypes.Int32)
		bests, places = append(bests, ReduceMax(scores, -1)), append(places, i)
		scores = Where(Equal(place, over(i, scores)), never, scores)
	}
	return Stack(bests, 1), Stack(places, 1)
}

// ascending sorts the numbers of each row of x [rows, n], int32, no two of which are the same.
func ascending(x *Node) *Node {
	rows, n := x.Shape().Dimensions[0], x.Shape().Dimensions[1]
	down, across := BroadcastToDims(ExpandAxes(x, 2), rows, n, n), BroadcastToDims(ExpandAxes(x, 1), rows, n, n)
	place := ReduceSum(ConvertDType(LessThan(across, down), dtypes.Int32), 2)
	is := Equal(BroadcastToDims(ExpandAxes(place, 1), rows, n, n), Iota(x.Graph(), across.Shape(), 1))
	return ReduceSum(Where(is, across, ZerosLike(across)), 2)
}

// over gives [rows] the shape of x, [rows, n].
func over(row, x *Node) *Node { return BroadcastToDims(ExpandAxes(row, 1), x.Shape().Dimensions...) }

// process applies penalties and bans, in the order of transformers.
func (r *rows) process(logits *Node, f features, eos []int, newest, length *Node) *Node {
	g, shape := logits.Graph(), logits.Shape()
	wide := func(column int) *Node { return BroadcastToDims(r.setting(column), shape.Dimensions...) }
	never := Infinity(g, dtypes.Float32, -1)
	if f.penalties {
		written := GreaterThan(r.counts, ZerosLike(r.counts))
		penalty := wide(repetition)
		penalized := Where(LessThan(logits, ZerosLike(logits)), Mul(logits, penalty), Div(logits, penalty))
		logits = Where(LogicalOr(r.seen, written), penalized, logits)
		logits = Sub(logits, Mul(wide(presence), ConvertDType(written, dtypes.Float32)))
		logits = Sub(logits, Mul(wide(frequency), ConvertDType(r.counts, dtypes.Float32)))
	}
	if f.ngram > 0 {
		logits = Where(r.repeats(f.ngram, newest, length, shape.Dimensions[1]), BroadcastToDims(never, shape.Dimensions...), logits)
	}
	if f.minimum {
		ends := ZerosLike(logits)
		vocab := Iota(g, shapes.Make(dtypes.Int32, shape.Dimensions...), 1)
		early := over(LessThan(ConvertDType(r.written, dtypes.Float32), Squeeze(r.setting(minTokens), 1)), logits)
		for _, end := range eos {
			is := Equal(vocab, Scalar(g, dtypes.Int32, end))
			ends = Where(LogicalAnd(is, early), BroadcastToDims(never, shape.Dimensions...), ends)
		}
		logits = Add(logits, ends)
	}
	return logits
}

// repeats is true for the tokens [rows, vocab] that would end an n-gram which is there already.
func (r *rows) repeats(n int, newest, length *Node, vocab int) *Node {
	d := r.history.Shape().Dimensions
	batch, room := d[0], d[1]
	g := r.history.Graph()
	// ages[i] is the token i before the newest, [rows, room].
	slots := ModScalar(AddScalar(Sub(newest, Iota(g, shapes.Make(dtypes.Int32, room, 1), 0)), room), room)
	ages := Transpose(Gather(Transpose(r.history, 0, 1), slots), 0, 1)
	index := Iota(g, shapes.Make(dtypes.Int32, batch, room), 1)
	// The token at age i follows n-1 tokens, which are the last n-1.
	match := LessOrEqual(AddScalar(index, n), over(length, index))
	for j := range n - 1 {
		if room-1-j <= 0 {
			return Zeros(g, shapes.Make(dtypes.Bool, batch, vocab))
		}
		older := SliceAxis(ages, 1, AxisRangeToEnd(1+j))
		older = Concatenate([]*Node{older, AddScalar(Zeros(g, shapes.Make(dtypes.Int32, batch, 1+j)), -1)}, 1)
		last := SliceAxis(ages, 1, AxisElem(j))
		match = LogicalAnd(match, Equal(older, BroadcastToDims(last, batch, room)))
	}
	row := Iota(g, shapes.Make(dtypes.Int32, batch, room), 0)
	at := Reshape(Stack([]*Node{row, MaxScalar(MinScalar(ages, vocab-1), 0)}, 2), batch*room, 2)
	hits := ScatterMax(Zeros(g, shapes.Make(dtypes.Float32, batch, vocab)), at, Reshape(ConvertDType(match, dtypes.Float32), -1), false, false)
	return GreaterThan(hits, ZerosLike(hits))
}

// pick is the most likely token, or, of rows with a temperature, one that is drawn.
func (r *rows) pick(logits *Node, f features) *Node {
	if !f.sample {
		return ArgMax(logits, -1, dtypes.Int32)
	}
	shape := logits.Shape()
	warm := BroadcastToDims(GreaterThan(r.setting(temperature), ZerosLike(r.setting(temperature))), shape.Dimensions...)
	scores := r.filter(logits, f)
	// The largest of the logarithms of probabilities, each with noise of Gumbel's distribution, is a draw from them.
	bits := blocks.RandomRows(r.key, r.written, shape.Dimensions[1])
	// In float32 the least numbers are the most exact, and they decide: those near 0 become the largest noise.
	uniform := MinScalar(MulScalar(AddScalar(ConvertDType(bits, dtypes.Float32), 0.5), 0x1p-32), 1-0x1p-24)
	noise := Neg(Log(Neg(Log1p(Neg(uniform)))))
	return ArgMax(Where(warm, Add(scores, noise), logits), -1, dtypes.Int32)
}

// filter divides the logits by the temperature and leaves -Inf of what isn't to be drawn, in the order of transformers.
func (r *rows) filter(logits *Node, f features) *Node {
	g, shape := logits.Graph(), logits.Shape()
	wide := func(column int) *Node { return BroadcastToDims(r.setting(column), shape.Dimensions...) }
	never := BroadcastToDims(Infinity(g, dtypes.Float32, -1), shape.Dimensions...)
	warmth := wide(temperature)
	scores := Div(logits, Where(GreaterThan(warmth, ZerosLike(warmth)), warmth, OnesLike(warmth)))
	if f.topK {
		scores = Where(best(scores, OnesLike(scores), r.setting(topK)), scores, never)
	}
	if f.topP {
		p := r.setting(topP)
		scores = Where(LogicalOr(GreaterOrEqual(wide(topP), OnesLike(scores)), best(scores, Softmax(scores, -1), p)), scores, never)
	}
	if f.minP {
		largest := ReduceAndKeep(scores, ReduceMax, -1)
		least := Add(largest, Log(r.setting(minP)))
		scores = Where(LessThan(scores, BroadcastToDims(least, shape.Dimensions...)), never, scores)
	}
	if f.typical {
		probability := Softmax(scores, -1)
		possible := GreaterThan(probability, ZerosLike(probability))
		information := Neg(LogSoftmax(scores, -1))
		entropy := ReduceAndKeep(Where(possible, Mul(probability, information), ZerosLike(probability)), ReduceSum, -1)
		distance := Where(possible, Abs(Sub(information, entropy)), Neg(never))
		keep := best(Neg(distance), probability, r.setting(typicalP))
		scores = Where(LogicalOr(GreaterOrEqual(wide(typicalP), OnesLike(scores)), keep), scores, never)
	}
	return scores
}

// best is true for the largest scores [rows, vocab] whose weights together reach mass [rows, 1]: for all that are not less
// than the largest number of which that is so. Equal scores go together. There need be no order for that: the number is
// found bit by bit.
func best(scores, weights, mass *Node) *Node {
	g, shape := scores.Graph(), scores.Shape()
	word := func(x uint32) *Node { return Scalar(g, dtypes.Uint32, x) }
	bits := Bitcast(scores, dtypes.Uint32)
	negative := GreaterOrEqual(bits, word(1<<31))
	// As unsigned numbers in the order of the scores.
	order := Where(negative, BitwiseNot(bits), BitwiseOr(bits, word(1<<31)))
	least := Zeros(g, shapes.Make(dtypes.Uint32, shape.Dimensions[0], 1))
	atLeast := func(x *Node) *Node { return GreaterOrEqual(order, BroadcastToDims(x, shape.Dimensions...)) }
	for bit := 31; bit >= 0; bit-- {
		higher := BitwiseOr(least, word(1<<bit))
		sum := ReduceAndKeep(Where(atLeast(higher), weights, ZerosLike(weights)), ReduceSum, -1)
		least = Where(GreaterOrEqual(sum, mass), higher, least)
	}
	return atLeast(least)
}
