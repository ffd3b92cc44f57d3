package blocks

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// KV holds the keys and values that one attention has computed, [batch, room, kvHeads, headDim] each: the cache of
// decoding. A nil *KV keeps nothing.
//
// All rows take their next token at the same slot, though they are at positions of their own: slots are a ring, and a row's
// tokens are in the slots before that one, the last in the last. So one update writes them all.
type KV struct {
	K, V *Node
	// Room is the number of slots of an empty cache that a prompt is about to fill.
	Room int
	// Lengths are the tokens of each row of that prompt, [batch] int32. Nil keeps them where they are, in the first slots.
	Lengths *Node
	// Slot is where the next tokens' keys and values go, int32.
	Slot *Node
}

// Append stores k and v [batch, seq, kvHeads, headDim] and returns what the queries are to attend to. An empty cache takes
// whole prompts, with what pads them on the right, and goes on at the slot after seq (NextSlot). A filled one takes one token
// a row.
func (c *KV) Append(k, v *Node) (*Node, *Node) {
	if c == nil {
		return k, v
	}
	if c.K == nil {
		c.K, c.V = padTo(alignRight(k, c.Lengths), c.Room), padTo(alignRight(v, c.Lengths), c.Room)
		return k, v
	}
	c.K, c.V = WriteSlot(c.K, k, c.Slot), WriteSlot(c.V, v, c.Slot)
	return c.K, c.V
}

// NextSlot is the one after prompts of seq tokens, padding included, in a ring of so much room.
func NextSlot(g *Graph, seq, room int) *Node { return Scalar(g, dtypes.Int32, seq%room) }

// AfterSlot is the one after slot.
func AfterSlot(slot *Node, room int) *Node { return ModScalar(AddScalar(slot, 1), room) }

// BeforeSlot is the one before slot.
func BeforeSlot(slot *Node, room int) *Node { return ModScalar(AddScalar(slot, room-1), room) }

// Ages is how many tokens ago each slot was written, [room] int32, when slot is being written: 0 for that one.
func Ages(slot *Node, room int) *Node {
	return ModScalar(AddScalar(Sub(slot, Iota(slot.Graph(), shapes.Make(dtypes.Int32, room), 0)), room), room)
}

// Youngest is the mask [batch, 1, 1, room] of the slots that are at most ages[b] old. ages is [batch] int32.
func Youngest(ages, slot *Node, room int) *Node {
	batch := ages.Shape().Dimensions[0]
	age := BroadcastToDims(Reshape(Ages(slot, room), 1, 1, 1, room), batch, 1, 1, room)
	return LessOrEqual(age, BroadcastToDims(ExpandAxes(ages, 1, 2, 3), batch, 1, 1, room))
}

// alignRight moves the first lengths[b] of the elements of row b of x [batch, seq, ...] to its end. What comes before them
// is of no meaning.
func alignRight(x, lengths *Node) *Node {
	if lengths == nil {
		return x
	}
	g, batch, seq := x.Graph(), x.Shape().Dimensions[0], x.Shape().Dimensions[1]
	index := func(axis int) *Node { return Iota(g, shapes.Make(dtypes.Int32, batch, seq), axis) }
	from := Sub(index(1), BroadcastToDims(ExpandAxes(AddScalar(Neg(lengths), seq), 1), batch, seq))
	return Gather(x, Stack([]*Node{index(0), MaxScalar(from, 0)}, 2))
}

func padTo(x *Node, room int) *Node {
	more := room - x.Shape().Dimensions[1]
	if more == 0 {
		return x
	}
	axes := make([]compute.PadAxis, x.Rank())
	axes[1].End = more
	return Pad(x, ScalarZero(x.Graph(), x.DType()), axes...)
}

// WriteSlot replaces slot of ring [batch, room, ...] by new [batch, 1, ...]. On the Go backend, which has no
// DynamicUpdateSlice, it selects among all slots.
func WriteSlot(ring, new, slot *Node) *Node {
	g, d := ring.Graph(), ring.Shape().Dimensions
	if g.Backend().Capabilities().Operations[compute.OpTypeDynamicUpdateSlice] {
		start := make([]*Node, len(d))
		for i := range start {
			start[i] = ScalarZero(g, slot.DType())
		}
		start[1] = slot
		return DynamicUpdateSlice(ring, new, start)
	}
	index := Iota(g, shapes.Make(slot.DType(), d...), 1)
	return Where(Equal(index, BroadcastToDims(slot, d...)), BroadcastToDims(new, d...), ring)
}
