package decoding

// size is what programs are compiled for: rows, slots of the cache, and positions of the encoder's input, if there is one.
type size struct{ rows, room, encoded int }

// promptSize is what programs that read prompts are compiled for: prompts padded to so many positions, which whole chunks fill.
type promptSize struct {
	size
	positions int
}

// batchSize is that of so many prompts of at most longest tokens that are read and written together.
func (g *Generator) batchSize(rows, longest int, o Options) promptSize {
	return g.promptSize(rows, g.positions(rows, longest, roundUp), roundUp(longest+o.MaxNewTokens), roundUp(1+o.MaxNewTokens))
}

// promptSize is a size for prompts padded to prompt positions, with so much room for them and what is written, or, of an
// encoder-decoder, for what is written alone after its first token. None is more than the model can read, but for what fills chunks
// up.
func (g *Generator) promptSize(rows, prompt, room, alone int) promptSize {
	if g.parameters.Config.EncoderDecoder() {
		return promptSize{size{rows, alone, prompt}, 1}
	}
	if longest := g.parameters.Config.MaxLength(); longest > 0 {
		room = min(room, longest)
		if prompt <= g.chunkFor(rows) {
			prompt = min(prompt, longest)
		}
	}
	return promptSize{size{rows, max(room, prompt), 0}, prompt}
}

// chunkFor is how many tokens of each of so many prompts are read at once. Of many it is fewer, so that all together stay bounded.
func (g *Generator) chunkFor(rows int) int { return min(g.chunk, max(32, g.chunk*8/max(1, rows))) }

// positions is how many prompts of at most n tokens are read with: whole chunks, or, if they are shorter than one, padded.
func (g *Generator) positions(rows, n int, padded func(int) int) int {
	chunk := g.chunkFor(rows)
	if n > chunk {
		return (n + chunk - 1) / chunk * chunk
	}
	return min(padded(n), chunk)
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
