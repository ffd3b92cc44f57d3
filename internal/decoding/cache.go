package decoding

import (
	"fmt"
	"iter"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/models/blocks"
)

// counters is how many arrays of a cache come before keys and values: position, slot, and lengths of an encoder-decoder.
func (g *Generator) counters() int {
	if g.parameters.Config.EncoderDecoder() {
		return 3
	}
	return 2
}

// side is keys or values of all layers.
type side struct {
	slots int  // the axis of them
	cross bool // of the encoder's input, in order and not in a ring
}

// side tells what array number i of a cache is. Those of a decoder come first, then as many of the attention to an encoder;
// keys and values take turns.
func (g *Generator) side(i, arrays int) side {
	i, arrays = i-g.counters(), arrays-g.counters()
	s := side{slots: blocks.KeySlots}
	if i%2 == 1 {
		s.slots = blocks.ValueSlots
	}
	s.cross = g.parameters.Config.EncoderDecoder() && i >= arrays/2
	return s
}

// sides are those of a cache of so many arrays, with their numbers.
func (g *Generator) sides(arrays int) iter.Seq2[int, side] {
	return func(yield func(int, side) bool) {
		for i := g.counters(); i < arrays && yield(i, g.side(i, arrays)); i++ {
		}
	}
}

// kinds are the first of sides of each kind, as all layers' are alike.
func (g *Generator) kinds(arrays int) iter.Seq2[int, side] {
	return func(yield func(int, side) bool) {
		seen := map[side]bool{}
		for i, s := range g.sides(arrays) {
			if !seen[s] && !yield(i, s) {
				return
			}
			seen[s] = true
		}
	}
}

// shape is that of keys or values for a board of size s, where one text has shape alone.
func (s side) shape(alone shapes.Shape, of size) shapes.Shape {
	dims := append([]int{}, alone.Dimensions...)
	dims[0] *= of.rows
	dims[s.slots] = of.room
	if s.cross {
		dims[s.slots] = of.encoded
	}
	return shapes.Make(alone.DType, dims...)
}

// cacheShapes are those of what a cache of size s consists of.
func (g *Generator) cacheShapes(s size) ([]shapes.Shape, error) {
	if g.cache == nil {
		const any = 32
		shape, inputs := feed.Shape{Rows: 1, Length: any, TargetLength: 1}, g.parameters.Inputs()
		out, err := g.device.Outputs("cache", append(inputs, shape.Inputs()...), func(_ *Graph, in []*Node) []*Node {
			_, cache := g.parameters.Model(in[:len(inputs)]).Prefill(shape.Batch(in[len(inputs):]), any)
			return cache.Nodes()
		})
		if err != nil {
			return nil, err
		}
		g.cache = out
	}
	all := slices.Clone(g.cache)
	for i, alone := range all {
		switch {
		case i == 1: // the slot is that of all rows
		case i < g.counters():
			all[i] = shapes.Make(alone.DType, s.rows)
		default:
			all[i] = g.side(i, len(all)).shape(alone, s)
		}
	}
	return all, nil
}

// cacheBytes are those of the keys and values of size s.
func (g *Generator) cacheBytes(s size) (int64, error) {
	cache, err := g.cacheShapes(s)
	total := int64(0)
	for i := range g.sides(len(cache)) {
		total += cache[i].ByteSize()
	}
	return total, err
}

func shapesOf(buffers []*device.Buffer) []shapes.Shape {
	all := make([]shapes.Shape, len(buffers))
	for i, b := range buffers {
		all[i] = b.Shape()
	}
	return all
}

// empty is a cache of size s in which nothing is.
func (g *Generator) empty(s size) ([]*device.Buffer, error) {
	cache, err := g.cacheShapes(s)
	if err != nil {
		return nil, err
	}
	program, err := g.compile(g.emptier(s, cache))
	if err != nil {
		return nil, err
	}
	return program.Run(nil)
}

// emptier is the program that makes one, on the device, lest gigabytes of zeros go there.
func (g *Generator) emptier(s size, cache []shapes.Shape) program {
	type key struct {
		size
		empty bool
	}
	return program{key{s, true}, func() (*device.Program, error) {
		return g.device.Compile(fmt.Sprintf("an empty cache %dx%d", s.rows, s.room), nil, nil, func(graph *Graph, _ []*Node) []*Node {
			zeros := make([]*Node, len(cache))
			for i, shape := range cache {
				zeros[i] = Zeros(graph, shape)
			}
			return zeros
		})
	}}
}

// changer is a program for keys or values, the first of in, and what else it takes: build says what they become for a size to,
// which with in tells programs of the same name apart. becomes is that of device.Compile.
func (g *Generator) changer(name string, of side, to size, becomes map[int]int, in []shapes.Shape, build func(in []*Node) *Node) program {
	type key struct {
		name string
		side
		to     size
		shapes string
	}
	return program{key{name, of, to, fmt.Sprint(in)}, func() (*device.Program, error) {
		var inputs []device.Input
		for i, s := range in {
			inputs = append(inputs, device.Input{Name: fmt.Sprintf("in%d", i), Shape: s})
		}
		return g.device.Compile(name, inputs, becomes, func(_ *Graph, in []*Node) []*Node { return []*Node{build(in)} })
	}}
}

// number is the shape of a row or a slot.
var number = shapes.Make(dtypes.Int32)
