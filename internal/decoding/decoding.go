// Package decoding lets a model write: it reads prompts into a cache of keys and values, then adds tokens, many in a call of
// one compiled loop. What chooses them is part of the program, so that only the tokens come back.
package decoding

import (
	"errors"
	"fmt"
	"slices"
	"time"

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
	LogProbs     []LogProb // one an id, with Options.LogProbs
	FinishReason string
}

// LogProb is what the model thought of a token that was chosen: the logarithm of its probability, before penalties and
// temperature, and the likeliest tokens in its place, likeliest first.
type LogProb struct {
	ID      int32
	LogProb float32
	Top     []Alternative
}

// Alternative is a token with the logarithm of its probability.
type Alternative struct {
	ID      int32
	LogProb float32
}

// Alternatives is how many likeliest tokens a LogProb has: as many as OpenAI's interface can ask for.
const Alternatives = 20

const (
	// maxRows is how many texts are written at once at most. With SmolLM2-135M on two cores 64 rows write 2.8 times the tokens a
	// second of 8.
	maxRows = 64
	// maxCall is how many steps a call has at most, and how many tokens of a row it writes, but for the last guesses.
	maxCall = 32
)

// Generator writes with one model. It compiles programs for the shapes that it meets and keeps them.
type Generator struct {
	// NoLookup computes each token in a step of its own, for comparisons: a text that is written alone isn't guessed by what was
	// there before.
	NoLookup bool

	device     *device.Device
	parameters *pretrained.Parameters
	chunk      int               // most tokens of a prompt that are read at once
	rows       int               // most texts that Generate writes at once
	memory     int64             // for keys and values, in bytes; 0 sets no limit
	prefixes   []*prefix         // what was of use last at the end
	programs   map[any]*compiled // by what they are compiled for
	ahead      compiler          // of programs that are asked for
}

// New prepares to write with parameters, which stay the caller's.
func New(d *device.Device, p *pretrained.Parameters) *Generator {
	return &Generator{
		device: d, parameters: p, chunk: chunkOf(d, p), rows: maxRows, memory: memoryFor(d, p), programs: map[any]*compiled{},
	}
}

// Close frees the programs.
func (g *Generator) Close() {
	g.Forget()
	g.ahead.drop(true)
	g.ahead.working.Wait()
	for _, c := range g.programs {
		c.result.Finalize()
	}
}

// Generate writes after each prompt. The text of a prompt doesn't depend on the others: its random numbers come from the
// seed and its place in prompts, counted from Options.First.
func (g *Generator) Generate(prompts [][]int32, o Options) ([]Text, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.PromptLogProbs {
		return nil, errors.New("the probabilities of prompts are told on a board only")
	}
	for i, p := range prompts {
		if err := g.CheckPrompt(fmt.Sprintf("prompt %d", i), p); err != nil {
			return nil, err
		}
	}
	var texts []Text
	rows := g.rowsFor(prompts, o)
	if n := o.Beams.Number; n > 1 {
		for chunk := range slices.Chunk(prompts, max(1, rows/n)) {
			found, err := g.search(chunk, o, g.call())
			if err != nil {
				return nil, err
			}
			texts = append(texts, found...)
		}
		return texts, nil
	}
	for chunk := range slices.Chunk(prompts, rows) {
		written, err := g.writeBatch(chunk, len(texts), o)
		if err != nil {
			return nil, err
		}
		texts = append(texts, written...)
	}
	return texts, nil
}

// CheckPrompt says why nothing can be written after a prompt, which name tells from others.
func (g *Generator) CheckPrompt(name string, prompt []int32) error {
	longest := g.parameters.Config.MaxLength()
	switch {
	case len(prompt) == 0:
		return fmt.Errorf("%s is empty", name)
	case longest > 0 && len(prompt) >= longest:
		return fmt.Errorf("%s has %d tokens; the model reads at most %d, new ones included", name, len(prompt), longest)
	}
	return nil
}

// limit is the most tokens that may follow a prompt.
func (g *Generator) limit(prompt []int32, o Options) int {
	longest := g.parameters.Config.MaxLength()
	if longest == 0 || g.parameters.Config.EncoderDecoder() {
		return o.MaxNewTokens
	}
	return min(o.MaxNewTokens, longest-len(prompt))
}

func (g *Generator) writeBatch(prompts [][]int32, first int, o Options) ([]Text, error) {
	texts := g.begin(prompts, first, o)
	f := o.features()
	s := g.batchSize(len(prompts), longestOf(prompts), o)
	f.lookUp = g.looksUp(s.size, f)
	b, err := g.readAll(texts, s, f)
	if err != nil {
		return nil, err
	}
	defer b.close()
	call := maxCall
	if o.Watch != nil {
		call = 1
	}
	added, err := b.first()
	for {
		if err != nil {
			return nil, err
		}
		left := 0 // most tokens that a text can still get
		for i, t := range texts {
			t.take(added[i])
			stop := o.Watch != nil && len(added[i].IDs) > 0 && o.Watch(first+i, added[i].IDs)
			if stop && t.FinishReason == "" {
				t.FinishReason = Stop
			}
			b.stopped[i] = t.FinishReason != ""
			if !b.stopped[i] {
				left = max(left, t.limit-len(t.IDs))
			}
		}
		if left == 0 {
			break
		}
		start := time.Now()
		added, err = b.write(min(left, call))
		if o.Watch != nil {
			call = NextCall(b.steps, time.Since(start))
		}
	}
	written := make([]Text, len(texts))
	for i, t := range texts {
		written[i] = t.Text
	}
	if t := texts[0]; g.keepsPrefix(texts) {
		n := len(t.IDs) - 1 // the last was never read
		g.addPrefix(slices.Concat(t.prompt, t.IDs[:n]), b.prompted+n, b.cache)
		b.cache = nil
	}
	return written, nil
}

// writing is a text under way, as the host knows it.
type writing struct {
	Text
	prompt  []int32
	options Options
	limit   int    // most tokens
	key     uint32 // of its random numbers
}

// begin are texts of which nothing is written. The first is that of prompt number first.
func (g *Generator) begin(prompts [][]int32, first int, o Options) []*writing {
	texts := make([]*writing, len(prompts))
	for i, p := range prompts {
		texts[i] = &writing{prompt: p, options: o, limit: g.limit(p, o), key: o.Sampling.key(o.First + first + i)}
	}
	return texts
}

// take adds what a call wrote.
func (w *writing) take(added Text) {
	w.IDs = append(w.IDs, added.IDs...)
	if w.options.LogProbs { // others in the rows may have asked for theirs
		w.LogProbs = append(w.LogProbs, added.LogProbs...)
	}
	switch n := len(w.IDs); {
	case n == 0 || w.FinishReason != "":
	case slices.Contains(w.options.EOS, int(w.IDs[n-1])):
		w.FinishReason = Stop
	case n >= w.limit:
		w.FinishReason = Length
	}
}
