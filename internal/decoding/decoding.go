// Package decoding lets a model write: it reads prompts into a cache of keys and values and then adds a token at a time,
// each row of a batch at its own position.
package decoding

import (
	"fmt"
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

// Options say how to write.
type Options struct {
	MaxNewTokens int
	EOS          []int // ids that end a text
	Sampling     Sampling
}

// Why a text ended.
const (
	Stop   = "stop"   // the model wrote an end token
	Length = "length" // it reached MaxNewTokens, or the longest sequence it can read
)

// Text is what was written after one prompt, the end token included.
type Text struct {
	IDs          []int32
	FinishReason string
}

// maxRows is how many prompts are read at once.
const maxRows = 8

// Generator writes with one model. It compiles programs for the shapes that it meets and keeps them.
type Generator struct {
	device     *device.Device
	parameters *pretrained.Parameters
	prefills   map[size]*device.Program
	steps      map[size]*device.Program
}

// size is what a program is compiled for: rows, positions of the prompt, and room in the cache.
type size struct{ rows, prompt, room int }

// New prepares to write with parameters, which stay the caller's.
func New(d *device.Device, p *pretrained.Parameters) *Generator {
	return &Generator{device: d, parameters: p, prefills: map[size]*device.Program{}, steps: map[size]*device.Program{}}
}

// Close frees the programs.
func (g *Generator) Close() {
	for _, programs := range []map[size]*device.Program{g.prefills, g.steps} {
		for _, p := range programs {
			p.Finalize()
		}
	}
}

// Generate writes after each prompt. The text of a prompt doesn't depend on the others: its random numbers come from the
// seed and its place in prompts.
func (g *Generator) Generate(prompts [][]int32, o Options) ([]Text, error) {
	longest := g.parameters.Config.MaxLength()
	for i, p := range prompts {
		if len(p) == 0 {
			return nil, fmt.Errorf("prompt %d is empty", i)
		}
		if longest > 0 && len(p) >= longest {
			return nil, fmt.Errorf("prompt %d has %d tokens; the model reads at most %d, new ones included", i, len(p), longest)
		}
	}
	var texts []Text
	for chunk := range slices.Chunk(prompts, maxRows) {
		written, err := g.batch(chunk, len(texts), o)
		if err != nil {
			return nil, err
		}
		texts = append(texts, written...)
	}
	return texts, nil
}

// row is one text being written.
type row struct {
	Text
	draw  *drawer
	limit int // most new tokens
}

func (r *row) done() bool { return r.FinishReason != "" }

// add takes the next token from logits [vocab].
func (r *row) add(logits []float32, o Options) {
	id := r.draw.next(logits)
	r.IDs = append(r.IDs, id)
	switch {
	case slices.Contains(o.EOS, int(id)):
		r.FinishReason = Stop
	case len(r.IDs) >= r.limit:
		r.FinishReason = Length
	}
}

func (g *Generator) batch(prompts [][]int32, first int, o Options) ([]Text, error) {
	config := g.parameters.Config
	s := size{rows: len(prompts), prompt: roundUp(longestOf(prompts))}
	s.room = roundUp(longestOf(prompts) + o.MaxNewTokens)
	if config.EncoderDecoder() {
		s.room = roundUp(1 + o.MaxNewTokens)
	} else if longest := config.MaxLength(); longest > 0 {
		s.prompt, s.room = min(s.prompt, longest), min(s.room, longest)
	}
	rows := make([]row, len(prompts))
	for i, p := range prompts {
		rows[i] = row{draw: newDrawer(o.Sampling, first+i), limit: o.MaxNewTokens}
		if longest := config.MaxLength(); longest > 0 && !config.EncoderDecoder() {
			rows[i].limit = min(rows[i].limit, longest-len(p))
		}
	}
	logits, cache, err := g.read(prompts, s)
	if err != nil {
		return nil, err
	}
	defer func() { feed.Free(cache) }()
	vocab := len(logits) / s.rows
	for {
		tokens := make([]int32, s.rows)
		for i := range rows {
			if !rows[i].done() {
				rows[i].add(logits[i*vocab:(i+1)*vocab], o)
			}
			tokens[i] = rows[i].IDs[len(rows[i].IDs)-1]
		}
		if !slices.ContainsFunc(rows, func(r row) bool { return !r.done() }) {
			break
		}
		if logits, cache, err = g.step(tokens, cache, s); err != nil {
			return nil, err
		}
	}
	texts := make([]Text, len(rows))
	for i, r := range rows {
		texts[i] = r.Text
	}
	return texts, nil
}

// read runs the prompts: the logits of the first new token [rows*vocab], and the cache.
func (g *Generator) read(prompts [][]int32, s size) ([]float32, []*device.Buffer, error) {
	b := data.Batch{Rows: s.rows, Length: s.prompt, TargetLength: 1, Labels: make([]int32, s.rows)}
	for _, p := range prompts {
		b.Inputs = append(b.Inputs, p...)
		b.Inputs = append(b.Inputs, make([]int32, s.prompt-len(p))...)
		b.Lengths = append(b.Lengths, int32(len(p)))
	}
	program, ok := g.prefills[s]
	if !ok {
		var err error
		if program, err = g.compilePrefill(s); err != nil {
			return nil, nil, err
		}
		g.prefills[s] = program
	}
	inputs, err := feed.Upload(g.device, b)
	if err != nil {
		return nil, nil, err
	}
	defer feed.Free(inputs)
	out, err := program.Run(slices.Concat(g.parameters.Values, inputs))
	if err != nil {
		return nil, nil, err
	}
	return split(out)
}

// step reads one token a row. It consumes the cache.
func (g *Generator) step(tokens []int32, cache []*device.Buffer, s size) ([]float32, []*device.Buffer, error) {
	program, ok := g.steps[s]
	if !ok {
		var err error
		if program, err = g.compileStep(cache, s); err != nil {
			return nil, cache, err
		}
		g.steps[s] = program
	}
	input, err := g.device.UploadInt32(tokens, s.rows, 1)
	if err != nil {
		return nil, cache, err
	}
	defer input.Free()
	out, err := program.Run(slices.Concat(g.parameters.Values, []*device.Buffer{input}, cache))
	if err != nil {
		return nil, cache, err
	}
	return split(out)
}

// split takes the logits off the outputs of a program.
func split(out []*device.Buffer) ([]float32, []*device.Buffer, error) {
	defer out[0].Free()
	logits, err := out[0].Float32s()
	return logits, out[1:], err
}

func (g *Generator) compilePrefill(s size) (*device.Program, error) {
	shape := feed.Shape{Rows: s.rows, Length: s.prompt, TargetLength: 1}
	parameters := g.parameters.Inputs()
	return g.device.Compile("prefill "+shape.String(), append(parameters, shape.Inputs()...), nil,
		func(_ *Graph, in []*Node) []*Node {
			m := g.parameters.Model(in[:len(parameters)])
			hidden, cache := m.Prefill(shape.Batch(in[len(parameters):]), s.room)
			return append([]*Node{lastLogits(m, hidden)}, cache.Nodes()...)
		})
}

func (g *Generator) compileStep(cache []*device.Buffer, s size) (*device.Program, error) {
	inputs := g.parameters.Inputs()
	parameters := len(inputs)
	inputs = append(inputs, device.Input{Name: "tokens", Shape: shapes.Make(dtypes.Int32, s.rows, 1)})
	becomes := map[int]int{}
	for i, c := range cache {
		becomes[len(inputs)] = i + 1
		inputs = append(inputs, device.Input{Name: fmt.Sprintf("cache%d", i), Shape: c.Shape()})
	}
	return g.device.Compile(fmt.Sprintf("step %dx%d", s.rows, s.room), inputs, becomes,
		func(_ *Graph, in []*Node) []*Node {
			m := g.parameters.Model(in[:parameters])
			hidden, next := m.Step(in[parameters], m.CacheOf(in[parameters+1:]))
			return append([]*Node{lastLogits(m, hidden)}, next.Nodes()...)
		})
}

// lastLogits maps hidden [batch, 1, embed] to float32 logits [batch, vocab].
func lastLogits(m models.Model, hidden *Node) *Node {
	return Squeeze(blocks.Logits(m.Head(hidden)), 1)
}

func longestOf(prompts [][]int32) int {
	longest := 0
	for _, p := range prompts {
		longest = max(longest, len(p))
	}
	return longest
}

// roundUp keeps the number of shapes, and so of programs, small: multiples of 32.
func roundUp(n int) int { return (n + 31) / 32 * 32 }
