package decoding

import (
	"github.com/longform-go/longform/internal/device"
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

// fitsMemory says whether there is memory for a cache of size s beside so many bytes.
func (g *Generator) fitsMemory(s size, beside int64) bool {
	return g.memory == 0 || g.cacheBytes(s)+beside <= g.memory
}

// rowsFor is how many rows Generate writes at once for prompts: as many as there is memory for, when all are as long as the longest
// may get.
func (g *Generator) rowsFor(prompts [][]int32, o Options) int {
	rows, longest := min(len(prompts)*max(1, o.Beams.Number), g.rows), longestOf(prompts)
	for rows > 1 && !g.fitsMemory(g.batchSize(rows, longest, o).size, 0) {
		rows /= 2
	}
	return max(1, rows)
}
