package decoding

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/longform-go/longform/internal/device"
)

// compiled is a program, compiled when it is needed, or before.
type compiled struct {
	key     any
	urgent  bool
	compile func() (*device.Program, error)
	once    sync.Once
	ready   atomic.Bool
	program *device.Program
	err     error
}

// wait returns when the program is compiled.
func (c *compiled) wait() {
	c.once.Do(func() {
		c.program, c.err = c.compile()
		c.ready.Store(true)
	})
}

// compiler compiles programs beside whatever else goes on, in the order in which they are asked for, but for those that are urgent. A
// program that is needed at once waits for the one that is being compiled.
type compiler struct {
	mu      sync.Mutex
	queue   []*compiled
	working sync.WaitGroup
	busy    bool
}

func (w *compiler) add(c *compiled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := len(w.queue)
	if c.urgent {
		at = slices.IndexFunc(append(w.queue, &compiled{}), func(c *compiled) bool { return !c.urgent })
	}
	if w.queue = slices.Insert(w.queue, at, c); !w.busy {
		w.busy = true
		w.working.Go(w.work)
	}
}

func (w *compiler) work() {
	for {
		w.mu.Lock()
		if w.busy = len(w.queue) > 0; !w.busy {
			w.mu.Unlock()
			return
		}
		c := w.queue[0]
		w.queue = w.queue[1:]
		w.mu.Unlock()
		c.wait()
	}
}

// drop returns what isn't begun, and won't be: all, or all that isn't urgent.
func (w *compiler) drop(all bool) (dropped []*compiled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = slices.DeleteFunc(w.queue, func(c *compiled) bool {
		drop := all || !c.urgent
		if drop && !c.ready.Load() {
			dropped = append(dropped, c)
		}
		return drop
	})
	return dropped
}

// program returns the one for key, which is compiled the first time. It waits for that, unless the generator only asks for programs:
// then it returns none, and notes whether there is one.
func (g *Generator) program(key any, compile func() (*device.Program, error)) (*device.Program, error) {
	c, ok := g.programs[key]
	if ok && !g.asks && c.ready.Load() && c.err != nil {
		ok = false // it may have lacked memory then
	}
	if !ok {
		c = &compiled{key: key, urgent: g.urgent, compile: compile}
		g.programs[key] = c
		if g.asks {
			g.ahead.add(c)
		}
	}
	if g.asks {
		g.missing = g.missing || !c.ready.Load()
		g.failed = g.failed || c.ready.Load() && c.err != nil
		return nil, nil
	}
	if c.wait(); c.err != nil {
		delete(g.programs, key)
	}
	return c.program, c.err
}

// has says whether all programs that ask asks for are compiled, and whether all could be. Those that aren't are going to be; before
// others, if they are urgent.
func (g *Generator) has(urgent bool, ask func()) (all, work bool) {
	g.asks, g.urgent, g.missing, g.failed = true, urgent, false, false
	ask()
	g.asks = false
	return !g.missing, !g.missing && !g.failed
}

// unask forgets the programs that were asked for, but aren't urgent, and that nobody has begun to compile. Those that are still to be
// had are asked for again.
func (g *Generator) unask() {
	for _, c := range g.ahead.drop(false) {
		delete(g.programs, c.key)
	}
}

// prepared says whether all programs are compiled that e needs to join the texts in the rows. That one can't be, Read tells.
func (b *Board) prepared(e *Entry) bool {
	read, _ := b.g.has(false, func() { b.askToRead(e) })
	return b.joins(e) && read
}

// joins says so of those that e needs when its prompt is read.
func (b *Board) joins(e *Entry) bool {
	if e.limit == 1 {
		return true // it ends with that
	}
	s, err := b.sizeWith(e)
	if err != nil {
		return true // Read tells
	}
	all, _ := b.g.has(false, func() {
		b.askToInsert(e, s)
		b.askToWrite(s, b.writes(s, append(b.under(), e)...))
	})
	return all
}

// Prepare begins to compile what a text needs that is alone on the board.
func (b *Board) Prepare(prompt []int32, o Options) { b.prepared(b.entry(prompt, o)) }

// form is what the board should be like for texts that want so much, when it best had size s. With Ahead it stays as it is while
// programs for another are compiled, if it can.
func (b *Board) form(want, s size) (size, features) {
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
	_, work := b.g.has(true, func() { b.askToWrite(s, f) })
	return work
}

// askGrowth asks for what the board needs as it grows soon.
func (b *Board) askGrowth() {
	want := b.sizeFor(b.under(), func(t *Entry) int { return min(t.limit, len(t.IDs)+b.g.soon()) })
	most := want.room
	for want.room = 2 * b.batch.size.room; want.room < 2*most; want.room *= 2 {
		want.room = min(want.room, most) // which needs no power of two where it is the model's longest
		if s, err := b.fitting(want); err == nil {
			b.canWrite(s, b.writes(s, b.under()...))
		}
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

// askToRead asks for what reads the prompt of e.
func (b *Board) askToRead(e *Entry) {
	g, r := b.g, b.reading(e)
	cache, err := g.cacheShapes(r.size.size)
	if err != nil {
		return // whoever needs the programs is told
	}
	kept, from := g.alike(r)
	if r.tells {
		_, _ = g.emptier(r.size.size)
	}
	if from > 0 {
		for i, of := range g.kinds(len(cache)) {
			_, _ = g.mover(of, g.kept[kept].cache[i].Shape(), r.size.size)
		}
	} else {
		_, _ = r.program()
		from = r.chunk()
	}
	if from < r.size.prompt {
		_, _ = g.advance(r.size.size, g.chunkFor(r.size.rows), cache, r.tells)
	}
	_, _ = g.chooser(r.size.size, b.features(e), b.eos)
}

// askToInsert asks for what puts e, when it is read, into a board of size s.
func (b *Board) askToInsert(e *Entry, s size) {
	text, err := b.g.cacheShapes(b.reading(e).size.size)
	board, again := b.g.cacheShapes(s)
	if err != nil || again != nil {
		return
	}
	for i, of := range b.g.kinds(len(board)) {
		_, _ = b.g.inserter(of, board[i], text[i])
	}
}

// askToWrite asks for what makes the board one of size s, and writes on it.
func (b *Board) askToWrite(s size, f features) {
	cache, err := b.g.cacheShapes(s)
	if err != nil {
		return
	}
	if b.batch != nil && b.batch.size != s {
		for i, of := range b.g.kinds(len(cache)) {
			_, _ = b.g.regrouper(of, b.batch.cache[i].Shape(), b.batch.size.rows, s)
		}
	}
	if b.batch == nil {
		_, _ = b.g.emptier(s)
	}
	_, _ = b.g.writer(s, f, b.eos, cache)
}
