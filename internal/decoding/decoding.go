// Package decoding lets a model write: it reads prompts into a cache of keys and values, then adds tokens, many in a call of
// one compiled loop. What chooses them is part of the program, so that only the tokens come back.
package decoding

import (
	"fmt"
	"slices"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/pretrained"
)

// Why a text ended.
const (
	Stop   = "stop"   // the model wrote an end token, or Options.Watch said so
	Length = "length" // it reached MaxNewTokens, or the longest sequence that the model can read
)

// Text is what was written after one prompt, the end token included.
type Text struct {
	IDs          []int32
	FinishReason string
}

const (
	// maxRows is how many prompts are read at once.
	maxRows = 8
	// maxCall is how many tokens of each row a call writes at most.
	maxCall = 32
)

// Generator writes with one model. It compiles programs for the shapes that it meets and keeps them.
type Generator struct {
	device     *device.Device
	parameters *pretrained.Parameters
	programs   map[any]*device.Program // by what they are compiled for
}

// New prepares to write with parameters, which stay the caller's.
func New(d *device.Device, p *pretrained.Parameters) *Generator {
	return &Generator{device: d, parameters: p, programs: map[any]*device.Program{}}
}

// Close frees the programs.
func (g *Generator) Close() {
	for _, p := range g.programs {
		p.Finalize()
	}
}

// Generate writes after each prompt. The text of a prompt doesn't depend on the others: its random numbers come from the
// seed and its place in prompts, counted from Options.First.
func (g *Generator) Generate(prompts [][]int32, o Options) ([]Text, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
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
	if n := o.Beams.Number; n > 1 {
		for chunk := range slices.Chunk(prompts, max(1, maxRows/n)) {
			found, err := g.search(chunk, o)
			if err != nil {
				return nil, err
			}
			texts = append(texts, found...)
		}
		return texts, nil
	}
	for chunk := range slices.Chunk(prompts, maxRows) {
		written, err := g.batch(chunk, len(texts), o)
		if err != nil {
			return nil, err
		}
		texts = append(texts, written...)
	}
	return texts, nil
}

// limit is the most tokens that may follow a prompt.
func (g *Generator) limit(prompt []int32, o Options) int {
	longest := g.parameters.Config.MaxLength()
	if longest == 0 || g.parameters.Config.EncoderDecoder() {
		return o.MaxNewTokens
	}
	return min(o.MaxNewTokens, longest-len(prompt))
}

func (g *Generator) batch(prompts [][]int32, first int, o Options) ([]Text, error) {
	s := g.sizeFor(prompts, o)
	b, err := g.read(prompts, first, s, o)
	if err != nil {
		return nil, err
	}
	defer b.close()
	texts, limits := make([]Text, len(prompts)), make([]int, len(prompts))
	for i, p := range prompts {
		limits[i] = g.limit(p, o)
	}
	ids, err := b.first()
	for {
		if err != nil {
			return nil, err
		}
		left := 0 // most tokens that a text can still get
		for i := range texts {
			t := &texts[i]
			b.stopped[i] = t.take(ids[i], limits[i], o, first+i)
			if !b.stopped[i] {
				left = max(left, limits[i]-len(t.IDs))
			}
		}
		if left == 0 {
			return texts, nil
		}
		ids, err = b.write(left)
	}
}

// take adds ids, of which those from -1 on are none, and says whether the text has ended.
func (t *Text) take(ids []int32, limit int, o Options, prompt int) bool {
	if t.FinishReason != "" {
		return true
	}
	if end := slices.Index(ids, -1); end >= 0 {
		ids = ids[:end]
	}
	t.IDs = append(t.IDs, ids...)
	stop := o.Watch != nil && o.Watch(prompt, ids)
	switch {
	case len(ids) > 0 && slices.Contains(o.EOS, int(ids[len(ids)-1])), stop:
		t.FinishReason = Stop
	case len(t.IDs) >= limit:
		t.FinishReason = Length
	}
	return t.FinishReason != ""
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
