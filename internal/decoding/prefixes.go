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

// maxPrefixes is how much is kept, if there is memory for it.
const maxPrefixes = 8

// keepsPrefix says whether Options.Keep has a meaning for texts.
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
	for _, k := range g.prefixes {
		bytes += k.bytes()
	}
	for g.memory > 0 && bytes > g.memory && len(g.prefixes) > 0 {
		bytes -= g.prefixes[0].bytes()
		g.evict()
	}
}

// evictForCache does so until there is memory for a cache of size s.
func (g *Generator) evictForCache(s size) error {
	bytes, err := g.cacheBytes(s)
	if err == nil {
		g.evictFor(bytes)
	}
	return err
}

// evict frees what has been of no use for longest.
func (g *Generator) evict() {
	feed.Free(g.prefixes[0].cache)
	g.prefixes = slices.Delete(g.prefixes, 0, 1)
}

// longestPrefix is the number of the one that begins most like the prompt of r, its only one, and behind which position r can begin;
// 0 if that saves no chunk, or r has to read all.
func (g *Generator) longestPrefix(r *reader) (best, from int) {
	if r.tells {
		return 0, 0
	}
	prompt := r.prompts[0]
	for i, k := range g.prefixes {
		same := 0 // but for the last token, which has to be read
		for same < min(len(prompt)-1, len(k.ids)) && prompt[same] == k.ids[same] {
			same++
		}
		if at := r.chunkBefore(r.padding(prompt) + same); at > from {
			best, from = i, at
		}
	}
	return best, from
}

// use notes that the prefix that r may go on behind is of use, and returns it with where that is, or nil.
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
	k, from := g.use(r)
	if k == nil {
		return nil
	}
	padding := r.padding(r.prompts[0])
	r.cache = make([]*device.Buffer, len(k.cache))
	var err error
	if r.cache[0], err = g.device.UploadInt32([]int32{int32(from - padding)}, 1); err != nil {
		return err
	}
	if r.cache[1], err = g.device.UploadInt32([]int32{int32(from % r.room)}); err != nil {
		return err
	}
	r.at = from
	return g.move(r.cache, k, r.size, k.end-len(k.ids)-padding)
}

// move sets the keys and values of cache, of size s, to those of k, each as many slots earlier.
func (g *Generator) move(cache []*device.Buffer, k *prefix, s size, earlier int) error {
	by, err := g.device.UploadInt32([]int32{int32(earlier)})
	if err != nil {
		return err
	}
	defer by.Free()
	for i, of := range g.sides(len(k.cache)) {
		program, err := g.compile(g.mover(of, k.cache[i].Shape(), s))
		if err != nil {
			return err
		}
		moved, err := program.Run([]*device.Buffer{k.cache[i], by})
		if err != nil {
			return err
		}
		cache[i] = moved[0]
	}
	return nil
}

// mover is the program that makes kept keys or values those of a cache of size s, each as many slots earlier as its second input says.
func (g *Generator) mover(of side, kept shapes.Shape, s size) program {
	return g.changer("move what was kept of a prompt", of, s, nil, []shapes.Shape{kept, number}, func(in []*Node) *Node {
		room := in[0].Shape().Dimensions[of.slots]
		index := Add(Iota(in[0].Graph(), shapes.Make(dtypes.Int32, s.room), 0), in[1])
		index = ModScalar(AddScalar(ModScalar(index, room), room), room) // of no meaning for padding, but a slot
		return blocks.Along(in[0], of.slots, index)
	})
}
