package decoding

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/models/blocks"
)

// prefix is what was read, for prompts that begin like it: the next turn of a conversation, or another text after the same
// instructions. Of these only what follows is read, and what fills its first chunk.
type prefix struct {
	ids   []int32
	end   int              // the slot after the last, if the ring went on
	cache []*device.Buffer // of one row
}

func (p *prefix) bytes() int64 {
	total := int64(0)
	for _, b := range p.cache {
		total += b.Shape().ByteSize()
	}
	return total
}

// maxPrefixes is how many are kept at most.
const maxPrefixes = 8

// keepsPrefix says whether what is read and written of texts is kept: with Options.Keep, of one text that is read in chunks.
func (g *Generator) keepsPrefix(texts []*writing) bool {
	return len(texts) == 1 && texts[0].options.Keep && !g.parameters.Config.ReadsAtOnce()
}

// addPrefix takes a cache in which are ids, up to the slot before end, in the place of those that have no more than their beginning.
func (g *Generator) addPrefix(ids []int32, end int, cache []*device.Buffer) {
	g.prefixes = slices.DeleteFunc(g.prefixes, func(p *prefix) bool {
		part := len(p.ids) <= len(ids) && slices.Equal(p.ids, ids[:len(p.ids)])
		if part {
			feed.Free(p.cache)
		}
		return part
	})
	g.prefixes = append(g.prefixes, &prefix{ids, end, cache})
	if len(g.prefixes) > maxPrefixes {
		g.evict()
	}
}

// Forget frees what is kept of prompts.
func (g *Generator) Forget() {
	for len(g.prefixes) > 0 {
		g.evict()
	}
}

// evictFor frees prefixes until there is memory for so many bytes.
func (g *Generator) evictFor(bytes int64) {
	for _, p := range g.prefixes {
		bytes += p.bytes()
	}
	for g.memory > 0 && bytes > g.memory && len(g.prefixes) > 0 {
		bytes -= g.prefixes[0].bytes()
		g.evict()
	}
}

// evictForCache does so until there is memory for a cache of size s.
func (g *Generator) evictForCache(s size) {
	g.evictFor(g.cacheBytes(s))
}

// evict frees what has been of no use for longest.
func (g *Generator) evict() {
	feed.Free(g.prefixes[0].cache)
	g.prefixes = slices.Delete(g.prefixes, 0, 1)
}

// longestPrefix is the index of the prefix that shares most with the only prompt of r, and the position from which r can go on behind it;
// that is 0 if none saves a chunk, or r has to read all.
func (g *Generator) longestPrefix(r *reader) (best, from int) {
	if r.tells {
		return 0, 0
	}
	prompt := r.prompts[0]
	for i, p := range g.prefixes {
		same := 0 // but for the last token, which has to be read
		for same < min(len(prompt)-1, len(p.ids)) && prompt[same] == p.ids[same] {
			same++
		}
		if at := r.chunkBefore(r.padding(prompt) + same); at > from {
			best, from = i, at
		}
	}
	return best, from
}

// use is the prefix that r can go on behind, now the last to be evicted, and the position from which r goes on; nil and 0 without one.
func (g *Generator) use(r *reader) (*prefix, int) {
	best, from := g.longestPrefix(r)
	if from == 0 {
		return nil, 0
	}
	p := g.prefixes[best]
	g.prefixes = append(slices.Delete(g.prefixes, best, best+1), p)
	return p, from
}

// resume has r, of one prompt, begin behind what was kept that begins most like it, if that saves a chunk.
func (g *Generator) resume(r *reader) error {
	p, from := g.use(r)
	if p == nil {
		return nil
	}
	padding := r.padding(r.prompts[0])
	r.cache = make([]*device.Buffer, len(p.cache))
	var err error
	if r.cache[0], err = g.device.UploadInt32([]int32{int32(from - padding)}, 1); err != nil {
		return err
	}
	if r.cache[1], err = g.device.UploadInt32([]int32{int32(from)}); err != nil {
		return err
	}
	r.at = from
	return g.move(r.cache, p, r.size, p.end-len(p.ids)-padding)
}

// move sets the keys and values of cache, of size s, to those of p, each as many slots earlier.
func (g *Generator) move(cache []*device.Buffer, p *prefix, s size, earlier int) error {
	by, err := g.device.UploadInt32([]int32{int32(earlier)})
	if err != nil {
		return err
	}
	defer by.Free()
	for i, of := range g.sides(len(p.cache)) {
		program, err := g.compile(g.mover(of, p.cache[i].Shape(), s))
		if err != nil {
			return err
		}
		moved, err := program.Run([]*device.Buffer{p.cache[i], by})
		if err != nil {
			return err
		}
		cache[i] = moved[0]
	}
	return nil
}

// mover is the program that makes kept keys or values those of a cache of size s, each as many slots earlier as its second input says.
func (g *Generator) mover(of side, prefix shapes.Shape, s size) program {
	return g.changer("move what was kept of a prompt", of, s, nil, []shapes.Shape{prefix, number}, func(in []*Node) *Node {
		room := in[0].Shape().Dimensions[of.slots]
		index := Add(Iota(in[0].Graph(), shapes.Make(dtypes.Int32, s.room), 0), in[1])
		index = ModScalar(AddScalar(ModScalar(index, room), room), room) // of no meaning for padding, but a slot
		return blocks.Along(in[0], of.slots, index)
	})
}
