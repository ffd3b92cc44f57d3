package batching

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/longform-go/longform/internal/decoding"
)

// Engine writes the texts of requests. One goroutine has the board; requests wait in a queue until there is room on it.
type Engine struct {
	generator   *decoding.Generator
	eos         []int
	slots, most int
	done        sync.WaitGroup

	mu     sync.Mutex
	queue  []*waiting
	active int
	closed bool
	wake   chan struct{} // has one element if there is news
}

// New starts an engine that writes at most slots texts at once, while at most queue others wait.
func New(g *decoding.Generator, eos []int, slots, queue int) *Engine {
	e := &Engine{generator: g, eos: eos, slots: slots, most: queue, wake: make(chan struct{}, 1)}
	e.done.Go(e.run)
	return e
}

// Submit queues a text. It fails with ErrFull if there is no room. The channel is closed after the last piece, or soon after
// ctx ends, which gives the text's place back. It need not be read.
func (e *Engine) Submit(ctx context.Context, r Request) (<-chan Piece, error) {
	r.Options.LogProbs = r.LogProbs >= 0
	if err := e.generator.CheckJoin(r.Prompt, r.Options); err != nil {
		return nil, err
	}
	w := &waiting{Request: r, ctx: ctx, pieces: make(chan Piece, unread)}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, ErrClosed
	case len(e.queue) >= e.most:
		if e.forget(); len(e.queue) >= e.most {
			return nil, ErrFull
		}
	}
	e.queue = append(e.queue, w)
	context.AfterFunc(ctx, e.news)
	e.news()
	return w.pieces, nil
}

// Stats says what the engine does.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return Stats{Active: e.active, Queued: len(e.queue), Slots: e.slots, Queue: e.most}
}

// Close ends all texts, with ErrClosed, and the engine.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.news()
	e.done.Wait()
}

func (e *Engine) board() *decoding.Board {
	board := e.generator.NewBoard(e.slots, e.eos)
	board.Ahead = true
	return board
}

// usual are the options of most requests: programs for one with a short prompt begin to be compiled before the first comes.
var usual = []decoding.Options{{MaxNewTokens: 64, Sampling: decoding.Sampling{Temperature: 1}}, {MaxNewTokens: 64}}

func (e *Engine) news() {
	select {
	case e.wake <- struct{}{}:
	default: // it will look anyhow
	}
}

// run is the loop: texts join, prompts are read, a call adds to all texts that are read, texts leave.
func (e *Engine) run() {
	board := e.board()
	defer func() { board.Close() }()
	for _, o := range usual {
		board.Prepare([]int32{0}, o)
	}
	on := map[*waiting]*decoding.Entry{}
	call := 1
	for {
		for w := e.next(board, on); w != nil; w = e.next(board, on) {
			entry, err := board.Join(w.Prompt, w.Options)
			if err != nil {
				w.end(Piece{Err: err})
				continue
			}
			on[w] = entry
		}
		switch {
		case e.ended():
			e.fail(board, on, ErrClosed)
			return
		case len(on) == 0:
			<-e.wake
			continue
		}
		if err := read(board); err != nil {
			board = e.fail(board, on, err)
			continue
		}
		tell(board, on) // of first tokens, which shouldn't wait for more
		if board.Texts() > board.Unread() {
			start := time.Now()
			if err := board.Write(call); err != nil {
				board = e.fail(board, on, err)
				continue
			}
			call = decoding.NextCall(board.Steps(), time.Since(start))
			tell(board, on)
		}
	}
}

// read goes on with the prompts that aren't read. That holds up the texts under way, so it ends with the chunk in which a pause is
// over.
func read(board *decoding.Board) error {
	for start := time.Now(); board.Unread() > 0 && time.Since(start) < decoding.Pause; {
		if some, err := board.Read(); err != nil || !some {
			return err
		}
	}
	return nil
}

// tell sends what was added to the texts, and takes those off the board that have ended or that nobody waits for.
func tell(board *decoding.Board, on map[*waiting]*decoding.Entry) {
	for w, t := range on {
		left := w.ctx.Err() != nil
		switch {
		case left:
			close(w.pieces)
		case t.Err != nil:
			w.end(Piece{Err: t.Err})
		case len(t.IDs) > w.told || t.FinishReason != "":
			w.add(t)
		}
		if left || t.FinishReason != "" || t.Err != nil {
			board.Leave(t)
			delete(on, w)
		}
	}
}

// next takes a request from the queue that somebody waits for, if it fits on the board. Alone it always does, or is refused. It is
// the first of the client with the fewest texts on the board, and the first of all where several have as few.
func (e *Engine) next(board *decoding.Board, on map[*waiting]*decoding.Entry) *waiting {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.active = board.Texts()
	e.forget()
	if len(e.queue) == 0 || e.closed {
		return nil
	}
	texts := map[string]int{}
	for w := range on {
		texts[w.Client]++
	}
	w := slices.MinFunc(e.queue, func(a, b *waiting) int { return cmp.Compare(texts[a.Client], texts[b.Client]) })
	if e.active > 0 && !board.Fits(w.Prompt, w.Options) {
		return nil
	}
	e.queue = slices.DeleteFunc(e.queue, func(q *waiting) bool { return q == w })
	e.active++
	return w
}

// forget takes those from the queue that nobody waits for any more.
func (e *Engine) forget() {
	e.queue = slices.DeleteFunc(e.queue, func(w *waiting) bool {
		left := w.ctx.Err() != nil
		if left {
			close(w.pieces)
		}
		return left
	})
}

func (e *Engine) ended() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// fail ends the texts that are on a board that failed, and makes another; when the engine ends, those that wait, too.
func (e *Engine) fail(board *decoding.Board, on map[*waiting]*decoding.Entry, err error) *decoding.Board {
	for w := range on {
		w.end(Piece{Err: err})
		delete(on, w)
	}
	board.Close()
	e.generator.Forget() // memory may have been what it lacked
	e.mu.Lock()
	defer e.mu.Unlock()
	e.active = 0
	if e.closed {
		for _, w := range e.queue {
			w.end(Piece{Err: err})
		}
		e.queue = nil
	}
	return e.board()
}
