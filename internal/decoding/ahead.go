package decoding

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/longform-go/longform/internal/device"
)

// compiled is a program, compiled the first time that it is needed, or before.
type compiled struct {
	compile func() (*device.Program, error)
	once    sync.Once
	is      atomic.Bool
	program *device.Program
	err     error
}

// wait returns when the program is compiled.
func (c *compiled) wait() {
	c.once.Do(func() {
		c.program, c.err = c.compile()
		c.is.Store(true)
	})
}

// compiler compiles programs beside whatever else goes on, in the order in which they are asked for. What is needed at once overtakes
// all but the one that is being compiled.
type compiler struct {
	mu      sync.Mutex
	queue   []*compiled
	working sync.WaitGroup
	busy    bool
}

func (w *compiler) add(c *compiled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queue = append(w.queue, c); !w.busy {
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

// close forgets what isn't begun, and waits for the rest.
func (w *compiler) close() {
	w.mu.Lock()
	w.queue = nil
	w.mu.Unlock()
	w.working.Wait()
}

// errCompiling is what program says while it only asks.
var errCompiling = errors.New("the program is being compiled")

// program returns the one for key, which is compiled the first time. It waits for that, unless the generator only asks.
func (g *Generator) program(key any, compile func() (*device.Program, error)) (*device.Program, error) {
	c, ok := g.programs[key]
	if !ok {
		c = &compiled{compile: compile}
		g.programs[key] = c
		if g.asks {
			g.ahead.add(c)
		}
	}
	if g.asks && !c.is.Load() {
		return nil, errCompiling
	}
	if c.wait(); c.err != nil {
		delete(g.programs, key)
	}
	return c.program, c.err
}

// takes is what programs go to that are needed.
type takes func(*device.Program, error)

// has says whether all programs that need takes are compiled. Those that aren't are going to be. That one can't be is found when it is
// to run.
func (g *Generator) has(need func(take takes)) bool {
	g.asks = true
	defer func() { g.asks = false }()
	all := true
	need(func(_ *device.Program, err error) { all = all && !errors.Is(err, errCompiling) })
	return all
}

// prepared says whether all programs are compiled that e needs to join the texts in the rows.
func (b *Board) prepared(e *Entry) bool {
	s, err := b.sizeWith(e)
	if err != nil {
		return true // Read tells of the error
	}
	return b.g.has(func(take takes) {
		r := b.reading(e)
		b.g.toRead(r, b.features(e), b.eos, take)
		b.g.toInsert(r.size.size, s, take)
		b.toWrite(s, b.writes(s, append(b.under(), e)...), take)
	})
}

// Prepare begins to compile what a text needs that is alone on the board.
func (b *Board) Prepare(prompt []int32, o Options) { b.prepared(b.entry(prompt, o)) }

// does says whether the board as it is can write texts that want so much.
func (b *Board) does(want size, f features) bool {
	has, can := b.batch.size, b.batch.f
	can.lookUp = false
	return has.rows >= want.rows && has.room >= want.room && has.encoded >= want.encoded && can.with(f) == can
}

// toRead takes what r, of one prompt, is read with.
func (g *Generator) toRead(r *reader, f features, eos []int, take takes) {
	cache, err := g.cacheShapes(r.size.size)
	if err != nil {
		return // whoever needs the programs is told
	}
	kept, from := g.alike(r)
	if from > 0 {
		for i, of := range g.sides(len(cache)) {
			take(g.mover(of, g.kept[kept].cache[i].Shape(), r.size.size))
		}
	} else {
		take(g.prefill(reading{r.size.size, r.chunk()}))
		from = r.chunk()
	}
	if from < r.size.prompt {
		take(g.advance(r.size.size, g.chunkFor(r.size.rows), cache))
	}
	take(g.chooser(r.size.size, f, eos))
}

// toInsert takes what puts a text that was read with size read into a board of size s.
func (g *Generator) toInsert(read, s size, take takes) {
	text, err := g.cacheShapes(read)
	board, again := g.cacheShapes(s)
	if err != nil || again != nil {
		return
	}
	for i, of := range g.sides(len(board)) {
		take(g.inserter(of, board[i], text[i]))
	}
}

// toWrite takes what makes the board one of size s, and writes on it.
func (b *Board) toWrite(s size, f features, take takes) {
	cache, err := b.g.cacheShapes(s)
	if err != nil {
		return
	}
	if b.batch != nil && b.batch.size != s {
		for i, of := range b.g.sides(len(cache)) {
			take(b.g.regrouper(of, b.batch.cache[i].Shape(), b.batch.size.rows, s))
		}
	}
	take(b.g.writer(s, f, b.eos, cache))
}

// soon is how many tokens before the board has to grow the programs for that are asked for: so many take longer to write than the
// programs to compile on a CPU.
const soon = 256

// prepareGrowth begins to compile what the board needs when it has grown once, if that will be soon.
func (b *Board) prepareGrowth() {
	has := b.batch.size
	s := b.sizeFor(b.under(), func(t *Entry) int { return min(t.limit, len(t.IDs)+soon) })
	s = size{has.rows, min(2*has.room, s.room), has.encoded}
	if fits, err := b.g.enough(s); err == nil && fits && s.room > has.room {
		b.g.has(func(take takes) { b.toWrite(s, b.writes(s, b.under()...), take) })
	}
}
