package serving

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/batching"
	"github.com/longform-go/longform/internal/decoding"
)

// river is what the fake engine writes, over and over if it may not end.
const river = "The Danube flows into the Black Sea 🙂."

// fake is an engine that writes the same text after every prompt, a token at a time.
type fake struct {
	ids          []int32
	end          int32
	slots        chan struct{}
	queue        int
	gate         chan struct{} // if set, each token takes one of its values
	fails        error         // what comes in the place of the third token
	refuses      error         // what Submit returns
	mu           sync.Mutex
	queued       int
	requests     []batching.Request
	submitsPanic bool
}

func newFake(t *testing.T, slots, queue int) *fake {
	tok := tokenizer(t)
	end, _ := tok.ID("</s>")
	return &fake{ids: tok.Encode(river, false), end: end, slots: make(chan struct{}, slots), queue: queue}
}

var openTokenizer = sync.OnceValues(func() (*data.Tokenizer, error) { return data.OpenTokenizer("../../models/testdata/llama-tiny") })

func tokenizer(t *testing.T) *data.Tokenizer {
	t.Helper()
	tok, err := openTokenizer()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func (f *fake) Stats() batching.Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return batching.Stats{Active: len(f.slots), Queued: f.queued, Slots: cap(f.slots), Queue: f.queue}
}

func (f *fake) Submit(ctx context.Context, r batching.Request) (<-chan batching.Piece, error) {
	if f.submitsPanic {
		panic("out of cheese")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuses != nil {
		return nil, f.refuses
	}
	if f.queued == f.queue {
		return nil, batching.ErrFull
	}
	f.queued++
	f.requests = append(f.requests, r)
	pieces := make(chan batching.Piece)
	go f.write(ctx, r, pieces)
	return pieces, nil
}

func (f *fake) write(ctx context.Context, r batching.Request, pieces chan<- batching.Piece) {
	defer close(pieces)
	unqueue := func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.queued--
	}
	select {
	case f.slots <- struct{}{}:
		unqueue()
		defer func() { <-f.slots }()
	case <-ctx.Done():
		unqueue()
		return
	}
	for i := range r.Options.MaxNewTokens {
		if f.gate != nil {
			select {
			case <-f.gate:
			case <-ctx.Done():
				return
			}
		}
		p := batching.Piece{IDs: []int32{f.ids[i%len(f.ids)]}}
		if i == 0 {
			p.Cached = 2
			if r.Options.PromptLogProbs {
				for k, id := range r.Prompt[1:] {
					p.PromptLogProbs = append(p.PromptLogProbs, decoding.LogProb{ID: id, LogProb: -float32(k), Top: []decoding.Alternative{{ID: id, LogProb: -float32(k)}}})
				}
			}
		}
		switch {
		case f.fails != nil && i == 2:
			p = batching.Piece{Err: f.fails}
		case i >= len(f.ids) && i >= r.Options.MinNewTokens:
			p = batching.Piece{IDs: []int32{f.end}, FinishReason: decoding.Stop}
		case i == r.Options.MaxNewTokens-1:
			p.FinishReason = decoding.Length
		}
		if r.LogProbs >= 0 && p.Err == nil {
			l := decoding.LogProb{ID: p.IDs[0], LogProb: -0.5}
			for j := range r.LogProbs {
				l.Top = append(l.Top, decoding.Alternative{ID: f.ids[j], LogProb: -0.5 - float32(j)})
			}
			p.LogProbs = []decoding.LogProb{l}
		}
		select {
		case pieces <- p:
		case <-ctx.Done():
			return
		}
		if p.FinishReason != "" || p.Err != nil {
			return
		}
	}
}

// config is a server's for tests; they change it.
func config(t *testing.T, e Engine) Config {
	end, _ := tokenizer(t).ID("</s>")
	return Config{
		Engine: e,
		Model:  Model{Name: "tiny", Tokenizer: tokenizer(t), EOS: []int{int(end)}, MaxLength: 200},
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// running is a server that a test talks to.
type running struct {
	*Server
	t     *testing.T
	url   string
	stop  context.CancelFunc // tells it to end
	ended chan error
}

func start(t *testing.T, c Config) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &running{New(c), t, "http://" + l.Addr().String(), stop, make(chan error, 1)}
	go func() { s.ended <- s.Serve(ctx, l); close(s.ended) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// wait lets other goroutines work until a condition holds. What never comes true fails by the deadline of the test.
func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for !holds() {
		select {
		case <-t.Context().Done():
			t.Fatal("waited in vain: " + what)
		case <-time.After(time.Millisecond):
		}
	}
}
