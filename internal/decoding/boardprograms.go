package decoding

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/models/blocks"
)

// insert puts the keys and values of a text that was read alone into a row.
func (b *Board) insert(read *batch, row int) error {
	g := b.g
	at, err := g.device.UploadInt32([]int32{int32(row)})
	if err != nil {
		return err
	}
	defer at.Free()
	for i, of := range g.sides(len(read.cache)) {
		program, err := g.compile(g.inserter(of, b.batch.cache[i].Shape(), read.cache[i].Shape()))
		if err != nil {
			return err
		}
		placed, err := program.Run([]*device.Buffer{b.batch.cache[i], read.cache[i], at, b.batch.cache[1], read.cache[1]})
		if err != nil {
			return err
		}
		b.replace(i, placed[0])
	}
	return nil
}

// inserter is the program that puts keys or values of a text into those of a board: from both, the row, and the slots of both.
func (g *Generator) inserter(of side, board, text shapes.Shape) program {
	in := []shapes.Shape{board, text, number, number, number}
	return g.changer("place a text", of, size{}, map[int]int{0: 0}, in, func(in []*Node) *Node {
		to, text, row, slot, end := in[0], in[1], in[2], in[3], in[4]
		room, heads, has := to.Shape().Dimensions[of.slots], text.Shape().Dimensions[0], text.Shape().Dimensions[of.slots]
		// What lies before slot end of the text goes before slot, and what was before it, before that.
		index := Iota(to.Graph(), shapes.Make(dtypes.Int32, room), 0)
		if !of.cross {
			ages := Squeeze(blocks.Ages(blocks.BeforeSlot(slot, room), 1, room), 0)
			index = Sub(blocks.BeforeSlot(end, has), ages)
		}
		text = blocks.Along(text, of.slots, MaxScalar(MinScalar(index, has-1), 0))
		return byRow(blocks.WriteSlot(byRow(to, heads), byRow(text, heads), 0, row), 0)
	})
}

// byRow splits rows from heads, [batch*heads, ...] to [batch, heads, ...], or with 0 heads joins them.
func byRow(x *Node, heads int) *Node {
	d := x.Shape().Dimensions
	if heads == 0 {
		return Reshape(x, d[0]*d[1], d[2], d[3])
	}
	return Reshape(x, d[0]/heads, heads, d[1], d[2])
}

// regroup changes the size of the board: row i becomes what row from[i] was. The newest slots become the last of the ring.
func (b *Board) regroup(s size, from []int32) error {
	g, was := b.g, b.batch.size
	rows, err := g.device.UploadInt32(from, len(from))
	if err != nil {
		return err
	}
	defer rows.Free()
	for i, of := range g.sides(len(b.batch.cache)) {
		program, err := g.compile(g.regrouper(of, b.batch.cache[i].Shape(), was.rows, s))
		if err != nil {
			return err
		}
		resized, err := program.Run([]*device.Buffer{b.batch.cache[i], rows, b.batch.cache[1]})
		if err != nil {
			return err
		}
		b.replace(i, resized[0])
	}
	slot, err := g.device.UploadInt32([]int32{0})
	if err != nil {
		return err
	}
	b.replace(1, slot)
	return nil
}

// regrouper is the program that makes keys or values of so many rows those of a board of size s: from them, the rows that s gets, and
// the slot.
func (g *Generator) regrouper(of side, board shapes.Shape, rows int, s size) program {
	in := []shapes.Shape{board, shapes.Make(dtypes.Int32, s.rows), number}
	return g.changer("resize a board", of, s, nil, in, func(in []*Node) *Node {
		x, from, slot := in[0], in[1], in[2]
		old, room := x.Shape().Dimensions[of.slots], s.room
		x = byRow(Gather(byRow(x, x.Shape().Dimensions[0]/rows), ExpandAxes(from, 1)), 0)
		if of.cross {
			room = s.encoded
		}
		index := Iota(x.Graph(), shapes.Make(dtypes.Int32, room), 0)
		if of.cross {
			index = MinScalar(index, old-1)
		} else {
			// The slot that is k before the end gets what is k before slot, as far as there is so much.
			index = ModScalar(AddScalar(Add(index, slot), (room/old+1)*old-room), old)
		}
		return blocks.Along(x, of.slots, index)
	})
}
