package decoding

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
)

// batch is texts being written, on the device.
type batch struct {
	g        *Generator
	size     size
	prompted int // slots of the cache that the prompts took
	f        features
	eos      []int
	stopped  []bool           // rows that are to get no more tokens
	steps    int              // of the last call
	logits   *device.Buffer   // after the prompts; nil once the first tokens are chosen
	changing []*device.Buffer // what rows become from token to token, in the order of rowInputs; of a search its hypotheses after them
	fixed    []*device.Buffer // what they keep, in the order of fixedInputs
	cache    []*device.Buffer
}

func (b *batch) close() {
	b.logits.Free()
	for _, buffers := range [][]*device.Buffer{b.changing, b.fixed, b.cache} {
		feed.Free(buffers)
	}
}

// readAll reads the prompts of texts that end the same and need no more than f.
func (g *Generator) readAll(texts []*writing, s promptSize, f features) (*batch, error) {
	r := g.newReader(texts, s)
	g.evictForCache(s.size)
	if g.keepsPrefix(texts) {
		if err := g.resume(r); err != nil {
			r.close()
			return nil, err
		}
	}
	for !r.done() {
		if err := r.next(); err != nil {
			r.close()
			return nil, err
		}
	}
	return r.batch(texts, f)
}

// batch is that of texts whose prompts r has read.
func (r *reader) batch(texts []*writing, f features) (*batch, error) {
	b := &batch{g: r.g, size: r.size, prompted: r.positions, f: f, eos: texts[0].options.EOS, stopped: make([]bool, r.rows), logits: r.logits, cache: r.cache}
	if err := b.upload(texts); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// upload tells the device of the texts in the rows; nil is in a row that is free.
func (b *batch) upload(texts []*writing) error {
	feed.Free(b.changing)
	feed.Free(b.fixed)
	b.changing, b.fixed = nil, nil
	vocab, rows := b.g.parameters.Config.Vocabulary(), b.size.rows
	token, written, keys := make([]int32, rows), make([]int32, rows), make([]uint32, rows)
	done, values := make([]byte, rows), make([]float32, rows*settings)
	for i, t := range texts {
		if t == nil {
			done[i] = 1
			continue
		}
		if n := len(t.IDs); n > 0 {
			token[i], written[i] = t.IDs[n-1], int32(n)
		}
		copy(values[i*settings:], t.options.row(t.limit))
		keys[i] = t.key
	}
	raw := map[string][]byte{
		"token": littleEndian(token), "written": littleEndian(written), "done": done, "settings": littleEndian(values), "key": littleEndian(keys),
	}
	if b.f.penalties {
		counts, seen := make([]int32, rows*vocab), make([]byte, rows*vocab)
		for i, t := range texts {
			if t == nil {
				continue
			}
			for _, id := range b.g.before(t.prompt) {
				seen[i*vocab+int(id)] = 1
			}
			for _, id := range t.IDs {
				counts[i*vocab+int(id)]++
			}
		}
		raw["counts"], raw["seen"] = littleEndian(counts), seen
	}
	if b.f.ngram > 0 {
		history := make([]int32, rows*b.size.room)
		for i, t := range texts {
			p := b.g.before(t.prompt)
			copy(history[i*b.size.room+b.prompted-len(p):], p)
		}
		raw["history"] = littleEndian(history)
	}
	if b.f.lookUp {
		text := make([]int32, b.size.room)
		if t := texts[0]; t != nil {
			copy(text, slices.Concat(t.prompt, t.IDs))
		}
		raw["text"], raw["match"] = littleEndian(text), littleEndian([]int32{leastMatch})
	}
	for _, in := range b.g.rowInputs(b.size, b.f) {
		if err := b.add(&b.changing, in, raw[in.Name]); err != nil {
			return err
		}
	}
	for _, in := range b.g.fixedInputs(b.size, b.f) {
		if err := b.add(&b.fixed, in, raw[in.Name]); err != nil {
			return err
		}
	}
	return nil
}

// before is what stands before the first new token: the prompt, or the start token of an encoder-decoder.
func (g *Generator) before(prompt []int32) []int32 {
	if g.parameters.Config.EncoderDecoder() {
		return []int32{int32(g.parameters.Config.Tokens().DecoderStart)}
	}
	return prompt
}

func (b *batch) add(to *[]*device.Buffer, in device.Input, raw []byte) error {
	buffer, err := b.g.device.Upload(in.Shape, raw)
	if err == nil {
		*to = append(*to, buffer)
	}
	return err
}

// first chooses the first token of each row.
func (b *batch) first() ([]Text, error) {
	program, err := b.g.compile(b.g.chooser(b.size, b.f, b.eos))
	if err != nil {
		return nil, err
	}
	out, err := program.Run(slices.Concat(b.changing, b.fixed, b.cache[:2], []*device.Buffer{b.logits}))
	if err != nil {
		return nil, err
	}
	b.logits.Free()
	b.logits = nil
	b.changing = out[b.f.told():]
	return b.download(out[:b.f.told()])
}

// write adds a token to each row that isn't stopped, in each of at most n steps; or more where guesses are looked up.
func (b *batch) write(n int) ([]Text, error) {
	program, err := b.g.compile(b.g.writer(b.size, b.f, b.eos))
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
	if err := b.add(&at, limitInput, littleEndian([]int32{int32(min(n, b.g.call()))})); err != nil {
		return nil, err
	}
	out, err := program.Run(slices.Concat(b.g.parameters.Values, b.fixed, at, b.changing, b.cache))
	if err != nil {
		return nil, err
	}
	told, last := b.f.told(), len(out)-1
	b.changing, b.cache = out[told:told+len(b.changing)], out[told+len(b.changing):last]
	defer out[last].Free()
	texts, err := b.download(out[:told])
	if err != nil {
		return nil, err
	}
	steps, err := out[last].Int32s()
	if err != nil {
		return nil, err
	}
	b.steps = int(steps[0])
	return texts, nil
}

// littleEndian are the bytes of numbers.
func littleEndian(numbers any) []byte {
	raw, err := binary.Append(nil, binary.LittleEndian, numbers)
	if err != nil {
		panic(err) // of a type without a size
	}
	return raw
}

// download reads what was chosen of each row, and frees it.
func (b *batch) download(told []*device.Buffer) ([]Text, error) {
	all, err := logProbs(told)
	if err != nil {
		return nil, err
	}
	texts := make([]Text, b.size.rows)
	for i := range texts {
		t, each := &texts[i], len(all)/b.size.rows
		for _, p := range all[i*each : (i+1)*each] {
			if p.ID < 0 {
				break
			}
			t.IDs = append(t.IDs, p.ID)
			if b.f.logProbs {
				t.LogProbs = append(t.LogProbs, p)
			}
		}
	}
	return texts, nil
}

// logProbs are the tokens that are told of, with their probabilities where told has them, as tell has it. They free it.
func logProbs(told []*device.Buffer) (all []LogProb, err error) {
	defer feed.Free(told)
	ids, err := told[0].Int32s()
	if err != nil {
		return nil, err
	}
	if len(told) == 1 {
		for _, id := range ids {
			all = append(all, LogProb{ID: id})
		}
		return all, nil
	}
	scores, err := told[1].Float32s()
	for width := 1 + Alternatives; len(scores) > 0; ids, scores = ids[width:], scores[width:] {
		all = append(all, logProb(ids[:width], scores[:width]))
	}
	return all, err
}

// logProb is what is told of a token: first itself, then the likeliest.
func logProb(ids []int32, scores []float32) LogProb {
	p := LogProb{ID: ids[0], LogProb: scores[0]}
	for i := 1; i < len(ids) && !math.IsInf(float64(scores[i]), -1); i++ {
		p.Top = append(p.Top, Alternative{ids[i], scores[i]})
	}
	return p
}
