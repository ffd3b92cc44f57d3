package batching

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/pretrained/pretrainedtest"
)

func generator(t *testing.T, family string) *decoding.Generator {
	t.Helper()
	d := devicetest.Open(t, device.Go)
	g := decoding.New(d, pretrainedtest.Load(t, d, filepath.Join("../../models/testdata", family+"-tiny")))
	t.Cleanup(g.Close)
	return g
}

// request is number i of many, all different.
func request(i int) Request {
	r := Request{LogProbs: i%3 - 1, Options: decoding.Options{MaxNewTokens: 2 + 7*i%12, First: i}}
	for k := range 3 + 5*i%40 {
		r.Prompt = append(r.Prompt, int32((i+31*k)%500))
	}
	if i%2 == 1 {
		r.Options.Sampling = decoding.Sampling{Temperature: 1, TopP: 0.9, Seed: 3}
	}
	return r
}

// collect joins the pieces of a text.
func collect(t *testing.T, pieces <-chan Piece) (whole Piece) {
	t.Helper()
	for p := range pieces {
		if p.Err != nil {
			t.Error(p.Err)
		}
		if whole.FinishReason != "" {
			t.Errorf("%+v came after the end", p)
		}
		whole.IDs, whole.LogProbs = append(whole.IDs, p.IDs...), append(whole.LogProbs, p.LogProbs...)
		whole.FinishReason = p.FinishReason
	}
	return whole
}

// Many clients at once, some of which leave: each of the others gets the text that it would get alone.
func TestEngine(t *testing.T) {
	for _, family := range []string{"llama", "t5"} {
		t.Run(family, func(t *testing.T) {
			g := generator(t, family)
			const clients = 24
			alone := make([]decoding.Text, clients)
			for i := range alone {
				r := request(i)
				texts, err := g.Generate([][]int32{r.Prompt}, r.Options)
				if err != nil {
					t.Fatal(err)
				}
				alone[i] = texts[0]
			}
			e := New(g, nil, 5, clients)
			defer e.Close()
			var all sync.WaitGroup
			for i := range clients {
				all.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					r := request(i)
					pieces, err := e.Submit(ctx, r)
					if err != nil {
						t.Error(err)
						return
					}
					if i%4 == 3 {
						for range rand.IntN(3) {
							<-pieces
						}
						return
					}
					got := collect(t, pieces)
					if !slices.Equal(got.IDs, alone[i].IDs) || got.FinishReason != alone[i].FinishReason {
						t.Errorf("text %d is %+v, alone %+v", i, got, alone[i])
					}
					if r.LogProbs >= 0 && (len(got.LogProbs) != len(got.IDs) || len(got.LogProbs[0].Top) != r.LogProbs || got.LogProbs[0].ID != got.IDs[0]) {
						t.Errorf("text %d: asked for %d likeliest tokens, got %+v", i, r.LogProbs, got.LogProbs)
					}
				})
			}
			all.Wait()
		})
	}
}

// What is told of a prompt comes with the first piece, with as many of the likeliest tokens as were asked for.
func TestPromptLogProbs(t *testing.T) {
	e := New(generator(t, "llama"), nil, 1, 1)
	defer e.Close()
	r := Request{Prompt: []int32{1, 5, 9, 5}, LogProbs: 2, Options: decoding.Options{MaxNewTokens: 3, PromptLogProbs: true}}
	pieces, err := e.Submit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	var told []int32
	for p := range pieces {
		for i, l := range p.PromptLogProbs {
			if told = append(told, l.ID); len(l.Top) != 2 || l.LogProb >= 0 || len(p.IDs) == 0 {
				t.Errorf("token %d of the prompt: %+v, with %d written", 1+i, l, len(p.IDs))
			}
		}
	}
	if !slices.Equal(told, r.Prompt[1:]) {
		t.Errorf("told of tokens %v of the prompt, want %v", told, r.Prompt[1:])
	}
}

// A queue takes what it has room for, and a place is free again as soon as its client has left.
func TestQueue(t *testing.T) {
	e := New(generator(t, "llama"), nil, 1, 2)
	defer e.Close()
	long := request(0)
	long.Options = decoding.Options{MaxNewTokens: 100}
	ctx, leave := context.WithCancel(t.Context())
	first, err := e.Submit(ctx, long)
	if err != nil {
		t.Fatal(err)
	}
	<-first // it is on the board now
	waitingCtx, stopWaiting := context.WithCancel(t.Context())
	second, err := e.Submit(waitingCtx, long)
	if err != nil {
		t.Fatal(err)
	}
	short := request(2)
	third, err := e.Submit(t.Context(), short)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Submit(t.Context(), short); !errors.Is(err, ErrFull) {
		t.Errorf("a fourth text gave %v", err)
	}
	if s := e.Stats(); s != (Stats{Active: 1, Queued: 2, Slots: 1, Queue: 2}) {
		t.Errorf("stats are %+v", s)
	}
	stopWaiting()
	fourth, err := e.Submit(t.Context(), short)
	if err != nil {
		t.Errorf("after one has left: %v", err)
	}
	leave()
	for range first {
	}
	for range second {
	}
	for _, pieces := range []<-chan Piece{third, fourth} {
		if got := collect(t, pieces); len(got.IDs) != short.Options.MaxNewTokens {
			t.Errorf("wrote %+v", got)
		}
	}
}

// A client that comes later has its turn before another's next text, if it has fewer on the board. The texts of one client, and
// those of clients with as many, join in the order in which they came.
func TestTurns(t *testing.T) {
	g := generator(t, "llama")
	for _, test := range []struct {
		name, on, queue string // a letter is a client's text
		want            []int  // places in the queue
	}{
		{"one client", "", "aaaa", []int{0, 1, 2, 3}},
		{"one client with texts", "aa", "aaa", []int{0, 1, 2}},
		{"all as many", "", "abcd", []int{0, 1, 2, 3}},
		{"one text beside many", "aaa", "aaab", []int{3, 0, 1, 2}},
		{"others come with many", "aaa", "aabbcbbb", []int{2, 4, 3, 5, 0, 6, 1, 7}},
		{"in turn", "", "aabb", []int{0, 2, 1, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &Engine{generator: g, slots: 16, most: 16} // that nobody runs
			board := e.board()
			defer board.Close()
			on := map[*waiting]*decoding.Entry{}
			join := func() (r Request) {
				w := e.next(board, on)
				entry, err := board.Join(w.Prompt, w.Options)
				if err != nil {
					t.Fatal(err)
				}
				on[w] = entry
				return w.Request
			}
			submit := func(clients string) {
				for i, client := range clients {
					r := request(0)
					r.Client, r.Options.First = string(client), i
					if _, err := e.Submit(t.Context(), r); err != nil {
						t.Fatal(err)
					}
				}
			}
			submit(test.on)
			for range test.on {
				join()
			}
			submit(test.queue)
			var got []int
			for range test.queue {
				got = append(got, join().Options.First)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("joined in the order %v, want %v", got, test.want)
			}
		})
	}
}

// What the model can't do is refused at once; the end of the engine ends all texts.
func TestEnd(t *testing.T) {
	e := New(generator(t, "opt"), nil, 1, 4)
	bad := request(0)
	bad.Options.Beams.Number = 4
	if _, err := e.Submit(t.Context(), bad); err == nil {
		t.Error("a search was taken")
	}
	long := request(0)
	long.Options = decoding.Options{MaxNewTokens: 100}
	var texts []<-chan Piece
	for range 3 {
		pieces, err := e.Submit(t.Context(), long)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, pieces)
	}
	<-texts[0]
	e.Close()
	for i, pieces := range texts {
		var last Piece
		for last = range pieces {
		}
		if !errors.Is(last.Err, ErrClosed) {
			t.Errorf("text %d ended with %+v", i, last)
		}
	}
	if _, err := e.Submit(t.Context(), long); !errors.Is(err, ErrClosed) {
		t.Errorf("a text after the end gave %v", err)
	}
}
