package decoding

import "slices"

// sizeForCall is what the texts in the rows need for another call, with more of them that have at least a token.
func (b *Board) sizeForCall(more ...*Entry) size {
	return b.sizeFor(append(b.under(), more...), b.reading(more...), func(t *Entry) int { return min(t.limit, max(1, len(t.IDs))+maxCall) })
}

// sizeAtMost is what all need, and more of them, when they are as long as they may be.
func (b *Board) sizeAtMost(more ...*Entry) size {
	return b.sizeFor(append(b.all(), more...), b.reading(more...), func(t *Entry) int { return t.limit })
}

// sizeFor is what texts need with so many tokens of each. Where there is no memory for more rows than texts, beside so many bytes, there
// are none.
func (b *Board) sizeFor(texts []*Entry, beside int64, tokens func(*Entry) int) size {
	longest, written, prompt := 0, 0, 0
	for _, t := range texts {
		longest, written = max(longest, len(t.prompt)+tokens(t)), max(written, 1+tokens(t))
		prompt = max(prompt, len(t.prompt))
	}
	s := b.g.promptSize(min(rowsStep(len(texts)), b.rows), padded(prompt), step(longest, 128, 2), step(written, 128, 2)).size
	if !b.g.fitsMemory(s, beside) {
		s.rows = max(1, len(texts))
	}
	return s
}

// reading are the bytes of the largest cache that the unread, and more of them, are read into, one at a time.
func (b *Board) reading(more ...*Entry) int64 {
	bytes := int64(0)
	for _, e := range append(slices.Clone(b.unread), more...) {
		bytes = max(bytes, b.g.cacheBytes(b.newReader(e).size))
	}
	return bytes
}

// bytesAtMost are those of keys and values of all texts, and more of them, when they are as long as they may be, beside the one that
// is being read.
func (b *Board) bytesAtMost(more ...*Entry) int64 {
	return b.g.cacheBytes(b.sizeAtMost(more...)) + b.reading(more...)
}

// rowsStep is how many rows n texts get: 1, 8, 16, 32 and so on.
func rowsStep(n int) int {
	if n <= 1 {
		return 1
	}
	return step(n, 8, 2)
}

// step is the first of least, least*factor and so on that is at least n.
func step(n, least, factor int) int {
	for least < n {
		least *= factor
	}
	return least
}

// padded is how many positions a prompt of n tokens is read with: 32 or 48 times a power of two, so that few are in vain.
func padded(n int) int { return min(step(n, 32, 2), step(n, 48, 2)) }

// size is that of the board now.
func (b *Board) size() size {
	if b.batch == nil {
		return size{}
	}
	return b.batch.size
}

// sizeWith is that of the board once e is in a row of it.
func (b *Board) sizeWith(e *Entry) size {
	want, has := b.sizeForCall(e), b.size()
	return b.affordable(size{max(want.rows, has.rows), max(want.room, has.room), max(want.encoded, has.encoded)}, want)
}

// affordable is s, or, if there is no memory for it, what is needed.
func (b *Board) affordable(s, needed size) size {
	if b.g.fitsMemory(s, b.reading()) {
		return s
	}
	return needed
}

// bestSize is the size that the board best has for texts that want so much.
func (b *Board) bestSize(want size) size {
	atLeast := func(want, has int) int {
		if want > has || 4*want <= has {
			return want
		}
		return has
	}
	has := b.batch.size
	rows := atLeast(want.rows, has.rows)
	if want.rows == 1 {
		rows = 1 // for which guesses are looked up
	}
	return b.affordable(size{rows, atLeast(want.room, has.room), atLeast(want.encoded, has.encoded)}, want)
}
