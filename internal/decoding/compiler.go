package decoding

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/longform-go/longform/internal/device"
)

// program is one that can be compiled: by what it is compiled for, and how.
type program struct {
	key     any
	compile func() (*device.Program, error)
}

// compiled is a program, compiled when it is needed, or before.
type compiled struct {
	program
	urgent bool // before those that aren't
	once   sync.Once
	ready  atomic.Bool
	result *device.Program
	err    error
}

// wait returns when the program is compiled.
func (c *compiled) wait() {
	c.once.Do(func() {
		c.result, c.err = c.compile()
		c.compile = nil // with what it holds
		c.ready.Store(true)
	})
}

// failed says whether it couldn't be compiled.
func (c *compiled) failed() bool { return c.ready.Load() && c.err != nil }

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
	w.insert(c)
	if !w.busy {
		w.busy = true
		w.working.Go(w.work)
	}
}

func (w *compiler) insert(c *compiled) {
	at := len(w.queue)
	if c.urgent {
		at = slices.IndexFunc(append(w.queue, &compiled{}), func(c *compiled) bool { return !c.urgent })
	}
	w.queue = slices.Insert(w.queue, at, c)
}

// urge makes one that waits urgent.
func (w *compiler) urge(c *compiled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at := slices.Index(w.queue, c); at >= 0 && !c.urgent {
		c.urgent = true
		w.queue = slices.Delete(w.queue, at, at+1)
		w.insert(c)
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

// compile returns p compiled. The first time it waits for that.
func (g *Generator) compile(p program) (*device.Program, error) {
	c, ok := g.programs[p.key]
	if !ok || c.failed() { // it may have lacked memory then
		c = &compiled{program: p}
		g.programs[p.key] = c
	}
	if c.wait(); c.err != nil {
		delete(g.programs, p.key)
	}
	return c.result, c.err
}

// ask has programs compiled beside whatever else goes on, if they aren't, before others if they are urgent, and returns at once:
// whether all are settled, compiled or failed, and whether all are usable, compiled.
func (g *Generator) ask(urgent bool, programs []program) (settled, usable bool) {
	settled, usable = true, true
	for _, p := range programs {
		c, ok := g.programs[p.key]
		switch {
		case !ok:
			c = &compiled{program: p, urgent: urgent}
			g.programs[p.key] = c
			g.ahead.add(c)
		case urgent && !c.ready.Load():
			g.ahead.urge(c)
		}
		settled = settled && c.ready.Load()
		usable = usable && c.ready.Load() && c.err == nil
	}
	return settled, usable
}

// cancelQueued takes from the compiler's queue what isn't urgent and isn't begun. What is still wanted is asked for again.
func (g *Generator) cancelQueued() {
	for _, c := range g.ahead.drop(false) {
		delete(g.programs, c.key)
	}
}

// forgetFailed forgets the programs that couldn't be compiled, so that who asks for them next has that tried again.
func (g *Generator) forgetFailed() {
	maps.DeleteFunc(g.programs, func(_ any, c *compiled) bool { return c.failed() })
}
