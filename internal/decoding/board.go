package decoding

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
)

// Board is texts under way that begin and end on their own, while the others go on. It has rows and a ring of slots for
// those that there are, and not many more: there are 1, 8, 16, 32 and so on of rows, and slots come in powers of two, so that there
// are few programs to compile, or, where memory is short, as many rows as texts. The ring grows with the texts, so that a call reads no
// more of it than it must; what memory they may take in the end is set aside from the beginning.
//
// Prompts are read one at a time, beside the board. After an error of Read or Write it is of no more use; that a text can't be read or
// placed, its Entry tells.
type Board struct {
	// Ahead compiles programs before they are needed, beside the texts under way: these don't wait for another that needs programs of
	// its own, which joins them when it has them.
	Ahead bool

	g      *Generator
	eos    []int
	rows   int      // most texts
	batch  *batch   // nil without rows that are taken
	texts  []*Entry // of each row, nil where it is free
	stale  bool     // the device doesn't know of the texts yet
	unread []*Entry // those whose prompts aren't read yet
	reader *reader  // of the first; nil before its first chunk
}

// Entry is a text on a board.
type Entry struct {
	writing
	Cached int // tokens of the prompt that weren't read, as they were for an earlier one
	// PromptLogProbs are of the tokens of the prompt, but for the first, as it is read, with Options.PromptLogProbs.
	PromptLogProbs []LogProb
	// Err is why the text couldn't be read or placed. Then it isn't on the board any more.
	Err error

	waitingSince time.Time // as the first of the unread, for its programs; zero if it doesn't wait
}

// Prompt is what the text stands after.
func (e *Entry) Prompt() []int32 { return e.prompt }

// ErrMemory is what a text gets whose keys and values there is no memory for.
var ErrMemory = errors.New("not enough memory for keys and values")

// ErrPromptLogProbs is what a text gets whose prompt's probabilities the model can't tell.
var ErrPromptLogProbs = errors.New("this model doesn't tell how likely the tokens of a prompt are")

// NewBoard makes a board for so many texts at most, which end with any of eos. Their keys and values take no more than what the
// weights leave of the device's memory.
func (g *Generator) NewBoard(rows int, eos []int) *Board {
	return &Board{g: g, eos: eos, rows: rows}
}

// Close frees what the board holds on the device.
func (b *Board) Close() {
	b.clear()
	b.g.forgetFailed()
	b.reader.close()
	b.reader, b.unread = nil, nil
}

// clear frees the rows.
func (b *Board) clear() {
	if b.batch != nil {
		b.batch.close()
	}
	b.batch, b.texts = nil, nil
}

// Texts is how many are on the board.
func (b *Board) Texts() int { return len(b.all()) }

// Unread is how many of them have prompts that Read has not read to the end.
func (b *Board) Unread() int { return len(b.unread) }

// under are the texts in the rows, and all those with the unread.
func (b *Board) under() []*Entry {
	return slices.DeleteFunc(slices.Clone(b.texts), func(t *Entry) bool { return t == nil })
}

func (b *Board) all() []*Entry { return append(b.under(), b.unread...) }

// Full says whether no more can join.
func (b *Board) Full() bool { return b.Texts() >= b.rows }

// CheckJoin says why a text can't be written on a board.
func (g *Generator) CheckJoin(prompt []int32, o Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	switch {
	case o.Beams.Number > 1:
		return errors.New("a search for the likeliest text can't be written beside other texts")
	case o.Penalties.NoRepeatNGram > 0:
		return errors.New("a limit of n-grams can't be kept beside other texts")
	case o.PromptLogProbs && g.parameters.Config.EncoderDecoder():
		return fmt.Errorf("%w: its encoder reads them all at once", ErrPromptLogProbs)
	case o.PromptLogProbs && g.parameters.Config.ReadsAtOnce():
		return fmt.Errorf("%w: what it makes of one depends on how many follow", ErrPromptLogProbs)
	}
	return g.CheckPrompt("the prompt", prompt)
}

// Fits says whether there is room for a text, and memory.
func (b *Board) Fits(prompt []int32, o Options) bool {
	return !b.Full() && (b.g.memory == 0 || b.bytesAtMost(b.entry(prompt, o)) <= b.g.memory)
}

func (b *Board) entry(prompt []int32, o Options) *Entry {
	o.EOS = b.eos
	return &Entry{writing: *b.g.begin([][]int32{prompt}, 0, o)[0]}
}

// Join puts a text on the board until Leave. Read has to read its prompt. The random numbers are those of prompt Options.First;
// Watch isn't used.
func (b *Board) Join(prompt []int32, o Options) (*Entry, error) {
	if err := b.g.CheckJoin(prompt, o); err != nil {
		return nil, err
	}
	if b.Full() {
		return nil, fmt.Errorf("there are %d texts on the board, as many as it takes", b.rows)
	}
	e := b.entry(prompt, o)
	if want := b.bytesAtMost(e); b.g.memory > 0 && want > b.g.memory {
		return nil, fmt.Errorf("%w: %.1f GB for %d tokens beside %d other texts, and there are %.1f GB; ask for fewer tokens",
			ErrMemory, float64(want)/1e9, len(prompt)+e.limit, b.Texts(), float64(b.g.memory)/1e9)
	}
	b.unread = append(b.unread, e)
	return e, nil
}

// Leave takes a text off the board, wherever it is.
func (b *Board) Leave(e *Entry) {
	if i := slices.Index(b.unread, e); i >= 0 {
		if i == 0 {
			b.reader.close()
			b.reader = nil
		}
		b.unread = slices.Delete(b.unread, i, i+1)
		b.g.cancelQueued()
	}
	if i := slices.Index(b.texts, e); i >= 0 {
		b.texts[i] = nil
		b.batch.stopped[i] = true
		b.g.forgetFailed() // for which there may be memory now
		if len(b.under()) == 0 {
			b.clear()
		}
	}
}

// Write adds a token to each text whose prompt is read, in each of at most n steps; to one that is alone it may be more. Those that
// have ended are still on the board.
func (b *Board) Write(n int) error {
	if b.batch == nil {
		return nil
	}
	if err := b.adapt(); err != nil {
		return err
	}
	left := 0
	for i, t := range b.texts {
		b.batch.stopped[i] = t == nil || t.FinishReason != ""
		if !b.batch.stopped[i] {
			left = max(left, t.limit-len(t.IDs))
		}
	}
	if left == 0 {
		return nil
	}
	added, err := b.batch.write(min(n, left))
	if err != nil {
		return err
	}
	for i, t := range b.texts {
		if t != nil {
			t.take(added[i])
		}
	}
	if b.Ahead {
		b.askGrowth()
	}
	return nil
}

// Steps is how many the last Write had.
func (b *Board) Steps() int {
	if b.batch == nil {
		return 0
	}
	return b.batch.steps
}

// place puts a text that was read alone into a free row of a board of size s.
func (b *Board) place(e *Entry, read *batch, s size) error {
	if b.batch == nil {
		b.batch, b.texts = &batch{g: b.g, eos: b.eos}, nil
	}
	if err := b.resize(s); err != nil {
		return err
	}
	row := slices.Index(b.texts, nil)
	if err := b.insert(read, row); err != nil {
		return err
	}
	b.texts[row] = e
	b.stale = true
	return nil
}

// adapt makes the board larger as texts grow, smaller where that saves much, and tells the device of the texts where they have
// changed.
func (b *Board) adapt() error {
	want := b.sizeForCall()
	s, f := b.sizeToWrite(want, b.bestSize(want))
	if err := b.resize(s); err != nil {
		return err
	}
	if !b.stale && f == b.batch.f {
		return nil
	}
	texts := make([]*writing, len(b.texts))
	for i, t := range b.texts {
		if t != nil {
			texts[i] = &t.writing
		}
	}
	b.batch.f, b.stale = f, false
	if err := b.batch.upload(texts); err != nil {
		return err
	}
	return b.uploadPositions()
}

// uploadPositions tells the device how many tokens were read of each text, and of an encoder's input.
func (b *Board) uploadPositions() error {
	positions, lengths := make([]int32, len(b.texts)), make([]int32, len(b.texts))
	for i, t := range b.texts {
		if t != nil {
			positions[i], lengths[i] = int32(len(b.g.before(t.prompt))+len(t.IDs)-1), int32(len(t.prompt))
		}
	}
	for i, values := range map[int][]int32{0: positions, 2: lengths} {
		if i >= b.g.counters() {
			continue
		}
		buffer, err := b.g.device.UploadInt32(values, len(values))
		if err != nil {
			return err
		}
		b.batch.cache[i].Free()
		b.batch.cache[i] = buffer
	}
	return nil
}

// featuresOf are what texts need together on a board.
func featuresOf(texts ...*Entry) features {
	var f features
	for _, t := range texts {
		f = f.with(t.options.features())
	}
	return f.common()
}

// writes are those with which a board of size s writes texts.
func (b *Board) writes(s size, texts ...*Entry) features {
	f := featuresOf(texts...)
	f.lookUp = b.g.looksUp(s, f)
	return f
}

// resize makes a board of size s, if it isn't, its texts in the first rows.
func (b *Board) resize(s size) error {
	if s == b.batch.size {
		return nil
	}
	b.g.evictForCache(s)
	old := b.batch
	var texts []*Entry
	from := make([]int32, s.rows)
	for i, t := range b.texts {
		if t != nil {
			from[len(texts)] = int32(i)
			texts = append(texts, t)
		}
	}
	texts = append(texts, make([]*Entry, s.rows-len(texts))...)
	if len(old.cache) > 0 {
		if err := b.regroup(s, from); err != nil {
			return err
		}
	} else {
		empty, err := b.g.empty(s)
		if err != nil {
			return err
		}
		old.cache = empty
	}
	old.size, old.stopped, old.f = s, make([]bool, s.rows), features{} // with which nobody writes
	b.texts, b.stale = texts, true
	return nil
}

// replace sets array number i of the cache.
func (b *Board) replace(i int, by *device.Buffer) {
	feed.Free(b.batch.cache[i : i+1]) // if what made the new one left it
	b.batch.cache[i] = by
}
