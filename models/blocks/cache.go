package blocks

import (
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// KV holds the keys, [batch*kvHeads, headDim, room], and values, [batch*kvHeads, room, headDim], that one attention has
// computed: the cache of decoding. They are as XLA's products take them, so that a loop updates them in place and reads them
// without a copy. A nil *KV keeps nothing.
//
// All rows take their next token at the same slot, though they are at positions of their own: slots are a ring, and a row's
// tokens are in the slots before that one, the last in the last. So one update writes them all.
type KV struct {
	K, V *Node
	// Heads are the key/value heads.
	Heads int
	// Slot is where the next tokens' keys and values go, int32.
	Slot *Node
}

// The axes of keys and values that have the slots.
const (
	KeySlots   = 2
	ValueSlots = 1
)

// NewKV has the slots of k and v, [batch, seq, kvHeads, headDim], and no more.
func NewKV(k, v *Node) *KV {
	return &KV{K: keysFirst(k), V: valuesFirst(v), Heads: k.Shape().Dimensions[2]}
}

// Attend is blocks.Attend to what q's rows have read, with k and v [batch, n, kvHeads, headDim] that they have just computed, whose
// slots may not go beyond the last; nil adds none.
func (c *KV) Attend(q, k, v *Node, a Attention, t *Training) *Node {
	switch {
	case c == nil:
		return Attend(q, k, v, a, t)
	case k != nil:
		c.K, c.V = WriteSlot(c.K, keysFirst(k), KeySlots, c.Slot), WriteSlot(c.V, valuesFirst(v), ValueSlots, c.Slot)
	}
	return c.attend(q, a)
}

// attend is that of n queries a row, [batch, n, heads, headDim]. It leaves batch and heads in one axis: where they come apart,
// XLA on the CPU copies the whole cache.
func (c *KV) attend(q *Node, a Attention) *Node {
	dims := q.Shape().Dimensions
	batch, n, heads, headDim := dims[0], dims[1], dims[2], dims[3]
	group, room := heads/c.Heads, c.V.Shape().Dimensions[ValueSlots]
	q = Reshape(TransposeAllAxes(q, 0, 2, 1, 3), batch*c.Heads, group*n, headDim)
	scores := dot32(q, c.K).General([]int{2}, []int{0}, []int{1}, []int{0}) // [batch*kvHeads, group*n, room]
	scores = MulScalar(scores, a.Scale)
	wide := func(x *Node) *Node { // [batch or 1, heads or 1, n or 1, room] as the scores
		return Reshape(BroadcastToDims(x, batch, heads, n, room), batch*c.Heads, group*n, room)
	}
	if a.Bias != nil {
		scores = Add(scores, ConvertDType(wide(a.Bias), dtypes.Float32))
	}
	if a.Mask != nil {
		scores = Where(wide(a.Mask), scores, FillScalar(scores.Graph(), scores.Shape(), masked))
	}
	weights := ConvertDType(Softmax(scores, -1), c.V.DType())
	out := dot32(weights, c.V).General([]int{2}, []int{0}, []int{1}, []int{0}) // [batch*kvHeads, group*n, headDim]
	out = ConvertDType(out, c.V.DType())
	return Reshape(TransposeAllAxes(Reshape(out, batch, heads, n, headDim), 0, 2, 1, 3), batch, n, heads*headDim)
}

// Follow gives each row the keys and values of the row in parents, [batch] int32, in n slots of the ring from slot first on.
// They are read and written once more where n is less than the room, in place; all of them would become another array. The Go
// backend, which has no DynamicUpdateSlice, takes all slots.
func (c *KV) Follow(parents *Node, first, n int) {
	room := c.V.Shape().Dimensions[ValueSlots]
	if !parents.Graph().Backend().Capabilities().Operations[compute.OpTypeDynamicUpdateSlice] {
		c.K, c.V = c.of(c.K, parents), c.of(c.V, parents)
		return
	}
	follow := func(x *Node, axis, first, n int) *Node {
		of := c.of(SliceAxis(x, axis, AxisRange(first, first+n)), parents)
		return WriteSlot(x, of, axis, Scalar(x.Graph(), dtypes.Int32, first))
	}
	for first %= room; n > 0; first = 0 {
		here := min(n, room-first)
		c.K, c.V = follow(c.K, KeySlots, first, here), follow(c.V, ValueSlots, first, here)
		n -= here
	}
}

// of are the rows of keys or values x.
func (c *KV) of(x, rows *Node) *Node {
	d := x.Shape().Dimensions
	return Reshape(Gather(Reshape(x, d[0]/c.Heads, c.Heads, d[1], d[2]), ExpandAxes(rows, 1)), d...)
}

// keysFirst and valuesFirst map [batch, seq, kvHeads, headDim] to the order of K and V.
func keysFirst(x *Node) *Node {
	d := x.Shape().Dimensions
	return Reshape(TransposeAllAxes(x, 0, 2, 3, 1), d[0]*d[2], d[3], d[1])
}

func valuesFirst(x *Node) *Node {
	d := x.Shape().Dimensions
	return Reshape(TransposeAllAxes(x, 0, 2, 1, 3), d[0]*d[2], d[1], d[3])
}

// AfterSlot is the one after n tokens from slot on.
func AfterSlot(slot *Node, n, room int) *Node { return ModScalar(AddScalar(slot, n), room) }

// BeforeSlot is the one before slot.
func BeforeSlot(slot *Node, room int) *Node { return ModScalar(AddScalar(slot, room-1), room) }

// Ages is how many tokens before each of n that are written from slot on each slot was written, [n, room] int32: 0 for its own.
func Ages(slot *Node, n, room int) *Node {
	index := func(axis int) *Node { return Iota(slot.Graph(), shapes.Make(dtypes.Int32, n, room), axis) }
	return ModScalar(AddScalar(Sub(Add(slot, index(0)), index(1)), room), room)
}

// Positions are those of n tokens of each row, [batch, n] int32, the first of which are at first, [batch].
func Positions(first *Node, n int) *Node {
	index := Iota(first.Graph(), shapes.Make(dtypes.Int32, first.Shape().Dimensions[0], n), 1)
	return Add(ExpandAxes(first, 1), index)
}

// Seen is the mask [batch, 1, n, room] of the slots that tokens at positions [batch, n] see, which are written from slot on: their
// own and as many before it as their positions say. Those at negative positions are padding, and see nothing.
func Seen(positions, slot *Node, room int) *Node {
	batch, n := positions.Shape().Dimensions[0], positions.Shape().Dimensions[1]
	age := BroadcastToDims(Reshape(Ages(slot, n, room), 1, 1, n, room), batch, 1, n, room)
	return LessOrEqual(age, BroadcastToDims(ExpandAxes(positions, 1, 3), batch, 1, n, room))
}

// Along picks elements of an axis of x in the order of index [n].
func Along(x *Node, axis int, index *Node) *Node {
	return Transpose(Gather(Transpose(x, 0, axis), ExpandAxes(index, 1)), 0, axis)
}

// WriteSlot replaces slots of ring's axis, from slot on, by those of new, which don't go beyond the last. On the Go backend, which
// has no DynamicUpdateSlice, it selects among all slots.
func WriteSlot(ring, new *Node, axis int, slot *Node) *Node {
	g, d := ring.Graph(), ring.Shape().Dimensions
	if g.Backend().Capabilities().Operations[compute.OpTypeDynamicUpdateSlice] {
		start := make([]*Node, len(d))
		for i := range start {
			start[i] = ScalarZero(g, slot.DType())
		}
		start[axis] = slot
		return DynamicUpdateSlice(ring, new, start)
	}
	index := Sub(Iota(g, shapes.Make(slot.DType(), d[axis]), 0), slot)
	within := MaxScalar(MinScalar(index, new.Shape().Dimensions[axis]-1), 0)
	line := slices.Repeat([]int{1}, len(d))
	line[axis] = d[axis]
	return Where(BroadcastToDims(Reshape(Equal(index, within), line...), d...), Along(new, axis, within), ring)
}
