package decoding

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// reader reads prompts into a cache, a chunk at a time: texts under way wait for no more than that, and the scores of attention
// take memory for the queries of one. The prompts end together, in the last of the positions; what is before them is padding.
type reader struct {
	promptSize
	g       *Generator
	prompts [][]int32
	inputs  [][]int32      // of an encoder
	tells   bool           // of the tokens of its only prompt
	told    []LogProb      // of those that were read, but for the first
	at      int            // positions that were read
	logits  *device.Buffer // after what was read
	cache   []*device.Buffer
}

// chunkOf is how many tokens of a prompt are read at once: about as few as multiply at full speed. With SmolLM2-135M on two busy
// cores 128 took 0.9 to 1.2 times the CPU time of all at once, 1.05 on average, and 64 took 1.2. For a GPU it is a calculation, and
// not measured: an H100 reads 14 GB of weights in 4 ms, and multiplies them by 512 tokens in some 10.
func chunkOf(d *device.Device, p *pretrained.Parameters) int {
	switch {
	case p.Config.ReadsAtOnce():
		return math.MaxInt32
	case d.Kind() == device.CUDA:
		return 512
	}
	return 128
}

// newReader is about to read the prompts of texts.
func (g *Generator) newReader(texts []*writing, s promptSize) *reader {
	r := &reader{promptSize: s, g: g}
	for _, t := range texts {
		r.prompts = append(r.prompts, g.before(t.prompt))
		if g.parameters.Config.EncoderDecoder() {
			r.inputs = append(r.inputs, t.prompt)
		}
	}
	return r
}

func (r *reader) close() {
	if r != nil {
		r.logits.Free()
		feed.Free(r.cache)
	}
}

// done says whether all is read.
func (r *reader) done() bool { return r.at == r.positions }

// chunk is how many positions are read at once: of a short prompt all.
func (r *reader) chunk() int { return min(r.positions, r.g.chunkFor(r.rows)) }

// padding is how many positions are before a prompt.
func (r *reader) padding(prompt []int32) int { return r.positions - len(prompt) }

// last says whether the next chunk is the last.
func (r *reader) last() bool { return r.at+r.chunk() >= r.positions }

// chunkBefore is the last of the positions before which whole chunks end, so that the reader may go on there, that is at most n.
func (r *reader) chunkBefore(n int) int { return n / r.chunk() * r.chunk() }

// program is the one that reads a chunk.
func (r *reader) program() program { return r.g.advance(r.size, r.chunk(), r.tells) }

// beginner is the one that makes the cache to read into.
func (r *reader) beginner() program {
	if len(r.inputs) > 0 {
		return r.g.encoder(r.size)
	}
	return r.g.emptier(r.size)
}

// next reads another chunk.
func (r *reader) next() error {
	if r.cache == nil {
		if err := r.begin(); err != nil {
			return err
		}
	}
	program, err := r.g.compile(r.program())
	if err != nil {
		return err
	}
	tokens, err := r.upload()
	if err != nil {
		return err
	}
	defer tokens.Free()
	out, err := program.Run(slices.Concat(r.g.parameters.Values, []*device.Buffer{tokens}, r.cache))
	if err != nil {
		return err
	}
	r.logits.Free()
	from, cached := r.at, 1+len(r.cache)
	r.at, r.logits, r.cache = r.at+r.chunk(), out[0], out[1:cached]
	if r.tells {
		return r.take(from, out[cached:])
	}
	return nil
}

// begin makes the cache.
func (r *reader) begin() error {
	program, err := r.g.compile(r.beginner())
	if err != nil {
		return err
	}
	in, err := r.uploadInputs()
	if err != nil {
		return err
	}
	defer feed.Free(in)
	if len(in) > 0 {
		in = slices.Concat(r.g.parameters.Values, in)
	}
	if r.cache, err = program.Run(in); err != nil {
		return err
	}
	positions := make([]int32, r.rows)
	for i, p := range r.prompts {
		positions[i] = int32(-r.padding(p))
	}
	r.cache[0].Free()
	r.cache[0], err = r.g.device.UploadInt32(positions, r.rows)
	return err
}

// take reads what the chunk that begins at from tells of the tokens that follow its own, which are those of the prompt but for
// padding and for what follows the last.
func (r *reader) take(from int, told []*device.Buffer) error {
	all, err := logProbs(told)
	if err != nil {
		return err
	}
	padding, end := r.padding(r.prompts[0]), r.positions-1
	r.told = append(r.told, all[max(0, padding-from):min(len(all), end-from)]...)
	return nil
}

// wait returns when the device has read what it was told to.
func (r *reader) wait() error {
	_, err := r.cache[1].Int32s() // the slot, least of what comes of it
	return err
}

// upload puts the tokens of the next chunk on the device; of a reader that tells, with the one that follows them.
func (r *reader) upload() (*device.Buffer, error) {
	n := r.chunk()
	if r.tells {
		n++
	}
	var tokens []int32
	for _, p := range r.prompts {
		rest := slices.Concat(make([]int32, r.padding(p)), p, []int32{0})
		tokens = append(tokens, rest[r.at:r.at+n]...)
	}
	return r.g.device.UploadInt32(tokens, r.rows, n)
}

// uploadInputs puts those of an encoder there, if there is one.
func (r *reader) uploadInputs() ([]*device.Buffer, error) {
	if len(r.inputs) == 0 {
		return nil, nil
	}
	b := data.Batch{Rows: r.rows, Length: r.encoded, TargetLength: 1, Labels: make([]int32, r.rows)}
	for _, in := range r.inputs {
		b.Inputs = append(append(b.Inputs, in...), make([]int32, r.encoded-len(in))...)
		b.Lengths = append(b.Lengths, int32(len(in)))
	}
	return feed.Upload(r.g.device, b)
}

// advance is the program that reads n more tokens of each row into a cache: logits [rows, vocab] after them, and the cache. One that
// tells, of one row, takes the token that follows, too, and tells of all but the first in the end.
func (g *Generator) advance(s size, n int, tells bool) program {
	type key struct {
		size
		more  int
		tells bool
	}
	return program{key{s, n, tells}, func() (*device.Program, error) {
		tokens := shapes.Make(dtypes.Int32, s.rows, n)
		if tells {
			tokens = shapes.Make(dtypes.Int32, s.rows, n+1)
		}
		parameters := len(g.parameters.Inputs())
		inputs := append(g.parameters.Inputs(), device.Input{Name: "tokens", Shape: tokens})
		becomes := map[int]int{}
		for i, shape := range g.cacheShapes(s) {
			becomes[len(inputs)] = 1 + i
			inputs = append(inputs, device.Input{Name: fmt.Sprintf("cache%d", i), Shape: shape})
		}
		return g.device.Compile(fmt.Sprintf("read %dx%d into %d", s.rows, n, s.room), inputs, becomes, func(_ *Graph, in []*Node) []*Node {
			m, tokens := g.parameters.Model(in[:parameters]), in[parameters]
			hidden, cache := m.Step(SliceAxis(tokens, 1, AxisRange(0, n)), models.CacheOf(g.parameters.Config, in[parameters+1:]))
			if !tells {
				return append([]*Node{lastLogits(m, hidden)}, cache.Nodes()...)
			}
			logits := Squeeze(blocks.Logits(m.Head(hidden)), 0)
			out := append([]*Node{SliceAxis(logits, 0, AxisElem(-1))}, cache.Nodes()...)
			return append(out, tell(Reshape(SliceAxis(tokens, 1, AxisRange(1, n+1)), n, 1), logits)...)
		})
	}}
}
