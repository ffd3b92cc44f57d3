package decoding

import "github.com/longform-go/longform/internal/device"

// prepared asks for the programs that e needs to be read and to join the texts in the rows, and says whether all are settled. Where one
// couldn't be compiled, Read tries again and tells why.
func (b *Board) prepared(e *Entry) bool {
	read, _ := b.g.ask(false, b.programsToRead(e))
	return b.readyToPlace(e) && read
}

// readyToPlace asks for those that put e on the board once it is read, and write there, and says whether they are settled.
func (b *Board) readyToPlace(e *Entry) bool {
	if e.limit == 1 {
		return true // it ends before that
	}
	s := b.sizeWith(e)
	insert, _ := b.g.ask(false, b.programsToInsert(e, s))
	write, _ := b.g.ask(false, b.programsToWrite(s, b.writes(s, append(b.under(), e)...)))
	return insert && write
}

// Prepare begins to compile what a text needs that is alone on the board.
func (b *Board) Prepare(prompt []int32, o Options) { b.prepared(b.entry(prompt, o)) }

// sizeToWrite is what the board should be like for texts that want so much, when it best had size s. With Ahead it stays as it is while
// programs for another are compiled, if it can.
func (b *Board) sizeToWrite(want, s size) (size, features) {
	f, has := b.writes(s, b.under()...), b.batch.size
	if !b.Ahead || has.rows < want.rows || has.room < want.room || has.encoded < want.encoded || b.canWrite(s, f) {
		return s, f
	}
	can := b.batch.f
	if can.lookUp = false; can.with(f) == can {
		return has, b.batch.f
	}
	if here := b.writes(has, b.under()...); b.canWrite(has, here) {
		return has, here
	}
	return s, f
}

// canWrite says whether the board can have size s and write with f at once. Texts under way may soon need it.
func (b *Board) canWrite(s size, f features) bool {
	_, usable := b.g.ask(true, b.programsToWrite(s, f))
	return usable
}

// askGrowth asks for what the board needs as it grows soon.
func (b *Board) askGrowth() {
	want := b.sizeFor(b.under(), b.reading(), func(t *Entry) int { return min(t.limit, len(t.IDs)+b.g.soon()) })
	most := want.room
	for want.room = 2 * b.batch.size.room; want.room < 2*most; want.room *= 2 {
		want.room = min(want.room, most) // which needs no power of two where it is the model's longest
		s := b.bestSize(want)
		b.canWrite(s, b.writes(s, b.under()...))
	}
}

// soon is how many tokens before the board has to grow the programs for that are asked for: about as many as are written while
// they are compiled on two cores; those of a GPU, which weren't counted, at 5 ms a token.
func (g *Generator) soon() int {
	if g.device.Kind() == device.CUDA {
		return 2048
	}
	return 256
}

// programsToRead are those that read the prompt of e.
func (b *Board) programsToRead(e *Entry) []program {
	g, r := b.g, b.newReader(e)
	all := []program{r.program(), g.chooser(r.size, featuresOf(e), b.eos)}
	best, from := g.longestPrefix(r)
	if from == 0 {
		return append(all, r.beginner())
	}
	for i, of := range g.kinds(len(g.prefixes[best].cache)) {
		all = append(all, g.mover(of, g.prefixes[best].cache[i].Shape(), r.size))
	}
	return all
}

// programsToInsert are those that put e, when it is read, into a board of size s.
func (b *Board) programsToInsert(e *Entry, s size) (all []program) {
	text, board := b.g.cacheShapes(b.newReader(e).size), b.g.cacheShapes(s)
	for i, of := range b.g.kinds(len(board)) {
		all = append(all, b.g.inserter(of, board[i], text[i]))
	}
	return all
}

// programsToResize are those that make the board one of size s.
func (b *Board) programsToResize(s size) (all []program) {
	switch {
	case b.batch == nil:
		all = append(all, b.g.emptier(s))
	case b.batch.size != s:
		for i, of := range b.g.kinds(len(b.batch.cache)) {
			all = append(all, b.g.regrouper(of, b.batch.cache[i].Shape(), b.batch.size.rows, s))
		}
	}
	return all
}

// programsToWrite are those of programsToResize, and the one that writes with f on a board of size s.
func (b *Board) programsToWrite(s size, f features) []program {
	return append(b.programsToResize(s), b.g.writer(s, f, b.eos))
}
