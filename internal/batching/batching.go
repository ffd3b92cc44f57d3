// Package batching writes the texts of many requests at once on one board: they join and leave between the calls of its loop.
package batching

import (
	"context"
	"errors"
	"slices"

	"github.com/longform-go/longform/internal/decoding"
)

var (
	// ErrFull is what a request gets that finds no place in the queue.
	ErrFull = errors.New("the queue is full")
	// ErrClosed is what requests get when the engine ends.
	ErrClosed = errors.New("the engine has ended")
)

// Request is one text to write.
type Request struct {
	Client string // who asks: no client's texts have to wait for all of another's
	Prompt []int32
	// Options say how to write; Beams, EOS and Watch aren't used. First is the number by which the text draws its random
	// numbers.
	Options decoding.Options
	// LogProbs is how many of the likeliest tokens to tell beside each chosen one; -1: not even the chosen one's.
	LogProbs int
}

// Piece is what a call added to a text.
type Piece struct {
	IDs          []int32
	LogProbs     []decoding.LogProb // one an id, where asked for
	Cached       int                // in the first piece, how many tokens of the prompt were read for earlier ones
	FinishReason string             // decoding.Stop or decoding.Length in the last piece
	// PromptLogProbs are, in the first piece, those of each token of the prompt but the first, where asked for.
	PromptLogProbs []decoding.LogProb
	Err            error // in the last piece, if writing failed
}

// Stats is what an engine does at a moment, in texts.
type Stats struct {
	Active, Queued int
	Slots, Queue   int // how many can be active, and how many can wait
}

// waiting is a request with where its pieces go.
type waiting struct {
	Request
	ctx    context.Context
	pieces chan Piece
	told   int // tokens in the pieces so far
}

// unread is how many pieces may wait for their reader. One that is further behind gets longer ones.
const unread = 16

// offer sends a piece unless its reader is behind.
func (w *waiting) offer(p Piece) (sent bool) {
	select {
	case w.pieces <- p:
		return true
	default:
		return false
	}
}

// add sends what is new of a text.
func (w *waiting) add(t *decoding.Entry) {
	p := Piece{IDs: slices.Clone(t.IDs[w.told:]), FinishReason: t.FinishReason}
	if w.told == 0 {
		p.Cached, p.PromptLogProbs = t.Cached, w.withTop(t.PromptLogProbs)
	}
	if w.LogProbs >= 0 {
		p.LogProbs = w.withTop(t.LogProbs[w.told:])
	}
	switch {
	case t.FinishReason != "":
		w.end(p)
	case w.offer(p):
		w.told = len(t.IDs)
	}
}

// withTop are probabilities with as many of the likeliest tokens as were asked for.
func (w *waiting) withTop(all []decoding.LogProb) []decoding.LogProb {
	all = slices.Clone(all)
	for i := range all {
		all[i].Top = all[i].Top[:max(0, min(w.LogProbs, len(all[i].Top)))]
	}
	return all
}

// end sends the last piece. A reader who is behind is waited for elsewhere, so that it holds up nobody.
func (w *waiting) end(p Piece) {
	if w.offer(p) {
		close(w.pieces)
		return
	}
	go func() {
		defer close(w.pieces)
		select {
		case w.pieces <- p:
		case <-w.ctx.Done():
		}
	}()
}
