package decoding

import (
	"fmt"
	"iter"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/models"
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

// cacheShapes are those of what a cache of size s consists of, as models.Cache lists it.
func (g *Generator) cacheShapes(s size) []shapes.Shape {
	all := []shapes.Shape{shapes.Make(dtypes.Int32, s.rows), shapes.Make(dtypes.Int32)}
	of := g.parameters.Config.Cache()
	layers := func(slots int) {
		for range of.Layers {
			k := shapes.Make(g.parameters.Compute, s.rows*of.Heads, of.HeadDim, slots)
			v := shapes.Make(g.parameters.Compute, s.rows*of.Heads, slots, of.HeadDim)
			all = append(all, k, v)
		}
	}
	if !g.parameters.Config.EncoderDecoder() {
		layers(s.room)
		return all
	}
	all = append(all, shapes.Make(dtypes.Int32, s.rows))
	layers(s.room)
	layers(s.encoded)
	return all
}

// cacheBytes are those of the keys and values of size s.
func (g *Generator) cacheBytes(s size) int64 {
	of := g.parameters.Config.Cache()
	slot := 2 * of.Layers * of.Heads * of.HeadDim * int(shapes.Make(g.parameters.Compute).ByteSize())
	return int64(slot) * int64(s.rows) * int64(s.room+s.encoded)
}

// empty is a cache of size s in which nothing is.
func (g *Generator) empty(s size) ([]*device.Buffer, error) {
	program, err := g.compile(g.emptier(s))
	if err != nil {
		return nil, err
	}
	return program.Run(nil)
}

// emptier is the program that makes one, on the device, lest gigabytes of zeros go there.
func (g *Generator) emptier(s size) program {
	type key struct {
		size
		empty bool
	}
	return program{key{s, true}, func() (*device.Program, error) {
		return g.device.Compile(fmt.Sprintf("an empty cache %dx%d", s.rows, s.room), nil, nil, func(graph *Graph, _ []*Node) []*Node {
			return zeros(graph, g.cacheShapes(s))
		})
	}}
}

func zeros(g *Graph, all []shapes.Shape) []*Node {
	nodes := make([]*Node, len(all))
	for i, s := range all {
		nodes[i] = Zeros(g, s)
	}
	return nodes
}

// encoder is the program that makes one of which an encoder-decoder's encoder has read inputs, and the decoder nothing: from
// parameters and a batch, of whose inputs it is made.
func (g *Generator) encoder(s size) program {
	type key struct {
		size
		encode bool
	}
	return program{key{s, true}, func() (*device.Program, error) {
		shape, parameters := feed.Shape{Rows: s.rows, Length: s.encoded, TargetLength: 1}, len(g.parameters.Inputs())
		inputs := append(g.parameters.Inputs(), shape.Inputs()...)
		return g.device.Compile(fmt.Sprintf("encode %dx%d", s.rows, s.encoded), inputs, nil, func(graph *Graph, in []*Node) []*Node {
			b := shape.Batch(in[parameters:])
			cross := g.parameters.Model(in[:parameters]).(models.Encoder).Encode(b)
			cache := g.cacheShapes(s)
			nodes := zeros(graph, cache[:len(cache)-2*len(cross)])
			nodes[g.counters()-1] = b.Lengths
			for _, kv := range cross {
				nodes = append(nodes, kv.K, kv.V)
			}
			return nodes
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
