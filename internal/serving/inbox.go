package serving

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/longform-go/longform/internal/batching"
)

// inbox keeps the pieces of a request's texts until the client has been sent those before, so that no client holds up the
// engine.
type inbox struct {
	mu     sync.Mutex
	pieces []arrival
	ready  chan struct{} // has an element when pieces has
}

type arrival struct {
	index int
	piece batching.Piece
}

// errUnfinished is an engine's fault: it closed a channel without a last piece.
var errUnfinished = errors.New("the engine gave a text up")

// collect moves a text's pieces here until there are no more. An engine that ends a text without a last piece was told to by
// the text's context.
func (in *inbox) collect(index int, pieces <-chan batching.Piece) {
	last := false
	for p := range pieces {
		last = p.FinishReason != "" || p.Err != nil
		in.put(arrival{index, p})
	}
	if !last {
		in.put(arrival{index, batching.Piece{Err: errUnfinished}})
	}
}

func (in *inbox) put(a arrival) {
	in.mu.Lock()
	in.pieces = append(in.pieces, a)
	in.mu.Unlock()
	select {
	case in.ready <- struct{}{}:
	default:
	}
}

// take waits for pieces, but not longer than so long. It ends with ctx, and says why that has ended.
func (in *inbox) take(ctx context.Context, most time.Duration) (pieces []arrival, err error) {
	for end := time.After(most); len(pieces) == 0; {
		select {
		case <-in.ready:
		case <-ctx.Done():
		case <-end:
			return nil, nil
		}
		if ctx.Err() != nil { // whatever else there is
			return nil, cmp.Or(context.Cause(ctx), ctx.Err())
		}
		in.mu.Lock()
		pieces, in.pieces = in.pieces, nil
		in.mu.Unlock()
	}
	return pieces, nil
}
