package decoding

import (
	"slices"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained"
)

// memoryFor is how many bytes the weights leave of d for keys and values, when a tenth is kept for everything else; 0 if d doesn't
// tell.
func memoryFor(d *device.Device, p *pretrained.Parameters) int64 {
	limit, known := d.MemoryLimit()
	if !known {
		return 0
	}
	for _, in := range p.Inputs() {
		limit -= in.Shape.ByteSize()
	}
	return max(1, limit*9/10)
}

// enough says whether there is memory for a cache of size s.
func (g *Generator) enough(s size) (bool, error) {
	bytes, err := g.cacheBytes(s)
	return g.memory == 0 || bytes <= g.memory, err
}

// rowsFor is how many rows Generate writes at once for prompts: as many as there is memory for, when all are as long as the longest
// may get.
func (g *Generator) rowsFor(prompts [][]int32, o Options) (int, error) {
	s := g.sizeFor(prompts, o).size
	for s.rows = min(len(prompts)*max(1, o.Beams.Number), g.rows); s.rows > 1; s.rows /= 2 {
		if fits, err := g.enough(s); fits || err != nil {
			return s.rows, err
		}
	}
	return 1, nil
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
