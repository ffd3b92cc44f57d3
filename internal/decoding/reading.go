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
	"github.com/longform-go/longform/models/blocks"
)

// reader reads prompts into a cache, a chunk at a time: texts under way wait for no more than that, and the scores of attention
// take memory for the queries of one. The prompts end together, in the last of the positions.
type reader struct {
	promptSize
	g       *Generator
	prompts [][]int32
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
		r.prompts = append(r.prompts, t.prompt)
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

// chunk is how many positions are read next.
func (r *reader) chunk() int {
	if r.at > 0 {
		return r.g.chunkFor(r.rows)
	}
	return r.firstChunk()
}

// firstChunk is so many positions that all chunks that follow are whole.
func (r *reader) firstChunk() int { return (r.positions-1)%r.g.chunkFor(r.rows) + 1 }

// padding is how many positions are before a prompt.
func (r *reader) padding(prompt []int32) int { return r.positions - len(prompt) }

// last says whether the next chunk is the last.
func (r *reader) last() bool { return r.at+r.chunk() >= r.positions }

// chunkBefore is the last of the positions before which whole chunks end, so that the reader may go on there, that is at most n; 0
// if there is none.
func (r *reader) chunkBefore(n int) int {
	chunk, first := r.g.chunkFor(r.rows), r.firstChunk()
	if n < first {
		return 0
	}
	return first + (n-first)/chunk*chunk
}

// program is the one that reads the next chunk into such a cache.
func (r *reader) program(cache []shapes.Shape) program {
	if r.prefills() {
		return r.g.prefill(promptSize{r.size, r.chunk()})
	}
	return r.g.advance(r.size, r.chunk(), cache, r.tells)
}

// prefills says whether the next chunk is the first, and read by prefill. That doesn't tell of all tokens: a reader that does begins
// with an empty cache.
func (r *reader) prefills() bool { return r.at == 0 && !r.tells }

// next reads another chunk.
func (r *reader) next() error {
	if r.tells && r.at == 0 {
		if err := r.begin(); err != nil {
			return err
		}
	}
	program, err := r.g.compile(r.program(shapesOf(r.cache)))
	if err != nil {
		return err
	}
	inputs, err := r.inputs()
	if err != nil {
		return err
	}
	defer feed.Free(inputs)
	out, err := program.Run(slices.Concat(r.g.parameters.Values, inputs, r.cache))
	if err != nil {
		return err
	}
	r.logits.Free()
	chunk, cached := r.chunk(), 1+len(r.cache)
	if r.prefills() {
		cached = len(out)
	}
	from := r.at
	r.at, r.logits, r.cache = r.at+chunk, out[0], out[1:cached]
	if r.tells {
		return r.take(from, out[cached:])
	}
	return nil
}

// begin makes an empty cache, of a prompt that is padded on the left.
func (r *reader) begin() (err error) {
	if r.cache, err = r.g.empty(r.size); err != nil {
		return err
	}
	r.cache[0].Free()
	r.cache[0], err = r.g.device.UploadInt32([]int32{int32(-r.padding(r.prompts[0]))}, 1)
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

// inputs are the tokens of the next chunk, as its program takes them: padded on the right by prefill, and otherwise on the left. A row
// may have none. A reader that tells has those that follow, too.
func (r *reader) inputs() ([]*device.Buffer, error) {
	n := r.chunk()
	if r.tells {
		return r.pairs(n)
	}
	var tokens, lengths []int32
	for _, p := range r.prompts {
		row := make([]int32, n)
		from := r.at - r.padding(p) // where the chunk begins in the prompt
		if r.prefills() {
			copy(row, p[:max(0, from+n)])
		} else if from+n > 0 {
			copy(row[max(0, -from):], p[max(0, from):])
		}
		tokens, lengths = append(tokens, row...), append(lengths, int32(from+n))
	}
	if r.prefills() {
		return feed.Upload(r.g.device, data.Batch{Rows: len(lengths), Length: n, TargetLength: 1, Inputs: tokens, Lengths: lengths, Labels: make([]int32, len(lengths))})
	}
	buffer, err := r.g.device.UploadInt32(tokens, len(lengths), n)
	return []*device.Buffer{buffer}, err
}

// pairs are the next n tokens of the only prompt and those that follow each of them, [1, n].
func (r *reader) pairs(n int) ([]*device.Buffer, error) {
	rest := slices.Concat(make([]int32, r.padding(r.prompts[0])), r.prompts[0], []int32{0})[r.at:]
	tokens, err := r.g.device.UploadInt32(rest[:n], 1, n)
	if err != nil {
		return nil, err
	}
	following, err := r.g.device.UploadInt32(rest[1:1+n], 1, n)
	if err != nil {
		tokens.Free()
		return nil, err
	}
	return []*device.Buffer{tokens, following}, nil
}

// prefill is the program that begins to read prompts: logits [rows, vocab] after them, and the cache.
func (g *Generator) prefill(s promptSize) program {
	return program{s, func() (*device.Program, error) {
		shape := feed.Shape{Rows: s.rows, Length: s.positions, TargetLength: 1}
		parameters := g.parameters.Inputs()
		return g.device.Compile("prefill "+shape.String(), append(parameters, shape.Inputs()...), nil,
			func(_ *Graph, in []*Node) []*Node {
				m := g.parameters.Model(in[:len(parameters)])
				hidden, cache := m.Prefill(shape.Batch(in[len(parameters):]), s.room)
				return append([]*Node{lastLogits(m, hidden)}, cache.Nodes()...)
			})
	}}
}

// advance is the program that reads n more tokens of each row into a cache: logits [rows, vocab] after them, and the cache. One that
// tells, of one row, takes the tokens that follow each of them, too, and tells of them in the end.
func (g *Generator) advance(s size, n int, cache []shapes.Shape, tells bool) program {
	type key struct {
		size
		more  int
		tells bool
	}
	return program{key{s, n, tells}, func() (*device.Program, error) {
		inputs, parameters := g.parameters.Inputs(), len(g.parameters.Inputs())
		inputs = append(inputs, device.Input{Name: "tokens", Shape: shapes.Make(dtypes.Int32, s.rows, n)})
		if tells {
			inputs = append(inputs, device.Input{Name: "following", Shape: shapes.Make(dtypes.Int32, s.rows, n)})
		}
		at := len(inputs)
		becomes := map[int]int{}
		for i, shape := range cache {
			inputs = append(inputs, device.Input{Name: fmt.Sprintf("cache%d", i), Shape: shape})
			becomes[at+i] = 1 + i
		}
		return g.device.Compile(fmt.Sprintf("read %dx%d into %d", s.rows, n, s.room), inputs, becomes, func(_ *Graph, in []*Node) []*Node {
			m := g.parameters.Model(in[:parameters])
			hidden, cache := m.Step(in[parameters], m.CacheOf(in[at:]))
			if !tells {
				return append([]*Node{lastLogits(m, hidden)}, cache.Nodes()...)
			}
			logits := Squeeze(blocks.Logits(m.Head(hidden)), 0)
			out := append([]*Node{SliceAxis(logits, 0, AxisElem(-1))}, cache.Nodes()...)
			return append(out, tell(Reshape(in[parameters+1], n, 1), logits)...)
		})
	}}
}
