package decoding

import (
	"encoding/binary"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
)

// size is what programs are compiled for: rows, positions of the prompt, and slots of the cache.
type size struct{ rows, prompt, room int }

func (g *Generator) sizeFor(prompts [][]int32, o Options) size {
	s := size{rows: len(prompts), prompt: roundUp(longestOf(prompts)), room: roundUp(longestOf(prompts) + o.MaxNewTokens)}
	if g.parameters.Config.EncoderDecoder() {
		s.room = roundUp(1 + o.MaxNewTokens)
	} else if longest := g.parameters.Config.MaxLength(); longest > 0 {
		s.prompt, s.room = min(s.prompt, longest), min(s.room, longest)
	}
	return s
}

// batch is texts being written, on the device.
type batch struct {
	g       *Generator
	size    size
	f       features
	eos     []int
	stopped []bool           // rows that are to get no more tokens
	logits  *device.Buffer   // after the prompts; nil once the first tokens are chosen
	rows    []*device.Buffer // in the order of rowInputs
	fixed   []*device.Buffer // in the order of fixedInputs
	cache   []*device.Buffer
}

func (b *batch) close() {
	b.logits.Free()
	for _, buffers := range [][]*device.Buffer{b.rows, b.fixed, b.cache} {
		feed.Free(buffers)
	}
}

// read runs the prompts.
func (g *Generator) read(prompts [][]int32, first int, s size, o Options) (b *batch, err error) {
	in := data.Batch{Rows: s.rows, Length: s.prompt, TargetLength: 1, Labels: make([]int32, s.rows)}
	for _, p := range prompts {
		in.Inputs = append(in.Inputs, p...)
		in.Inputs = append(in.Inputs, make([]int32, s.prompt-len(p))...)
		in.Lengths = append(in.Lengths, int32(len(p)))
	}
	inputs, err := feed.Upload(g.device, in)
	if err != nil {
		return nil, err
	}
	defer feed.Free(inputs)
	program, err := g.prefill(s)
	if err != nil {
		return nil, err
	}
	out, err := program.Run(slices.Concat(g.parameters.Values, inputs))
	if err != nil {
		return nil, err
	}
	b = &batch{g: g, size: s, f: o.features(), eos: o.EOS, stopped: make([]bool, s.rows), logits: out[0], cache: out[1:]}
	if err := b.upload(prompts, first, o); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// rowInputs are what rows become from token to token: token, written, done, and what the features need.
func (g *Generator) rowInputs(s size, f features) []device.Input {
	in := []device.Input{
		{Name: "token", Shape: shapes.Make(dtypes.Int32, s.rows)},
		{Name: "written", Shape: shapes.Make(dtypes.Int32, s.rows)},
		{Name: "done", Shape: shapes.Make(dtypes.Bool, s.rows)},
	}
	if f.penalties {
		in = append(in, device.Input{Name: "counts", Shape: shapes.Make(dtypes.Int32, s.rows, g.parameters.Config.Vocabulary())})
	}
	if f.ngram > 0 {
		in = append(in, device.Input{Name: "history", Shape: shapes.Make(dtypes.Int32, s.rows, s.room)})
	}
	return in
}

// fixedInputs are what rows keep: settings, key, and what the features need.
func (g *Generator) fixedInputs(s size, f features) []device.Input {
	in := []device.Input{
		{Name: "settings", Shape: shapes.Make(dtypes.Float32, s.rows, settings)},
		{Name: "key", Shape: shapes.Make(dtypes.Uint32, s.rows)},
	}
	if f.penalties {
		in = append(in, device.Input{Name: "seen", Shape: shapes.Make(dtypes.Bool, s.rows, g.parameters.Config.Vocabulary())})
	}
	return in
}

// upload begins the rows.
func (b *batch) upload(prompts [][]int32, first int, o Options) error {
	g, s := b.g, b.size
	vocab := g.parameters.Config.Vocabulary()
	var values []float32
	var keys []uint32
	var history []int32
	seen := make([]byte, s.rows*vocab)
	for i, p := range prompts {
		values = append(values, o.row(g.limit(p, o))...)
		keys = append(keys, o.Sampling.key(o.First+first+i))
		if g.parameters.Config.EncoderDecoder() {
			p = []int32{int32(g.parameters.Config.Tokens().DecoderStart)}
		}
		for _, id := range p {
			seen[i*vocab+int(id)] = 1
		}
		row := make([]int32, s.room)
		copy(row[b.prompted()-len(p):], p)
		history = append(history, row...)
	}
	for _, in := range g.rowInputs(s, b.f) {
		raw := make([]byte, in.Shape.ByteSize())
		if in.Name == "history" {
			raw = littleEndian(history)
		}
		if err := b.add(&b.rows, in, raw); err != nil {
			return err
		}
	}
	for i, raw := range [][]byte{littleEndian(values), littleEndian(keys), seen}[:len(g.fixedInputs(s, b.f))] {
		if err := b.add(&b.fixed, g.fixedInputs(s, b.f)[i], raw); err != nil {
			return err
		}
	}
	return nil
}

// prompted is how many slots of the cache the prompts took.
func (b *batch) prompted() int {
	if b.g.parameters.Config.EncoderDecoder() {
		return 1
	}
	return b.size.prompt
}

func (b *batch) add(to *[]*device.Buffer, in device.Input, raw []byte) error {
	buffer, err := b.g.device.Upload(in.Shape, raw)
	if err == nil {
		*to = append(*to, buffer)
	}
	return err
}

// first chooses the first token of each row.
func (b *batch) first() ([][]int32, error) {
	program, err := b.g.chooser(b)
	if err != nil {
		return nil, err
	}
	out, err := program.Run(slices.Concat(b.rows, b.fixed, b.cache[:2], []*device.Buffer{b.logits}))
	if err != nil {
		return nil, err
	}
	b.logits.Free()
	b.logits = nil
	b.rows = out[1:]
	return b.tokens(out[0], 1)
}

// write adds at most n tokens to each row that isn't stopped; what it returns has -1 after those of a row.
func (b *batch) write(n int) ([][]int32, error) {
	program, err := b.g.writer(b)
	if err != nil {
		return nil, err
	}
	stopped := make([]byte, len(b.stopped))
	for i, s := range b.stopped {
		if s {
			stopped[i] = 1
		}
	}
	var at []*device.Buffer
	defer func() { feed.Free(at) }()
	if err := b.add(&at, stoppedInput(b.size), stopped); err != nil {
		return nil, err
	}
	n = min(n, b.g.call())
	if err := b.add(&at, limitInput, littleEndian([]int32{int32(n)})); err != nil {
		return nil, err
	}
	out, err := program.Run(slices.Concat(b.g.parameters.Values, b.fixed, at, b.rows, b.cache))
	if err != nil {
		return nil, err
	}
	k := 1 + len(b.rows)
	b.rows, b.cache = out[1:k], out[k:]
	return b.tokens(out[0], n)
}

// littleEndian are the bytes of numbers.
func littleEndian(numbers any) []byte {
	raw, err := binary.Append(nil, binary.LittleEndian, numbers)
	if err != nil {
		panic(err) // of a type without a size
	}
	return raw
}

// tokens downloads the first n of each row, and frees them.
func (b *batch) tokens(buffer *device.Buffer, n int) ([][]int32, error) {
	defer buffer.Free()
	ids, err := buffer.Int32s()
	if err != nil {
		return nil, err
	}
	var rows [][]int32
	for row := range slices.Chunk(ids, len(ids)/b.size.rows) {
		rows = append(rows, row[:n])
	}
	return rows, nil
}
