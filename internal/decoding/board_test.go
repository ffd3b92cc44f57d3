package decoding

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/shapes"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// boardOptions are those of text i, of several kinds.
func boardOptions(i int) Options {
	o := Options{MaxNewTokens: 3 + 5*i%13, First: i}
	if i == 1 {
		o.MaxNewTokens = 140 // the ring has to grow while it is written
	}
	switch i % 4 {
	case 1:
		o.Sampling = Sampling{Temperature: 1.3, Seed: uint64(i)}
	case 2:
		o.Sampling = Sampling{Temperature: 0.8, TopP: 0.8, TopK: 40, Seed: 5}
		o.Penalties = Penalties{Repetition: 1.3, Frequency: 0.4}
	case 3:
		o.LogProbs, o.MinNewTokens = true, 2
	}
	return o
}

// join puts a text on a board and reads its prompt.
func join(t *testing.T, b *Board, prompt []int32, o Options) *Entry {
	t.Helper()
	e, err := b.Join(prompt, o)
	must(t, err)
	for b.Unread() > 0 {
		read(t, b)
	}
	return e
}

// read reads a chunk of some prompt.
func read(t *testing.T, b *Board) {
	t.Helper()
	some, err := b.Read()
	if must(t, err); !some {
		t.Fatal("no prompt could be read")
	}
}

// However texts join and leave a board, and whatever the chunks of their prompts, each is what it is alone.
func TestBoard(t *testing.T) {
	onBoth(t, func(t *testing.T, g *Generator) {
		n, checks := 9, 3
		if g.device.Kind() == device.CPU {
			n, checks = 5, 2 // each size is compiled
		}
		// Long ones among short make the board grow and shrink.
		length := func(i int) int { return []int{3, 40, 7, 90, 12, 33}[i%6] }
		eos := []int{7}
		alone := make([]Text, n)
		for i := range alone {
			o := boardOptions(i)
			o.EOS = eos
			alone[i] = generate(t, g, [][]int32{prompt(11*i, length(i))}, o)[0]
		}
		if !g.parameters.Config.ReadsAtOnce() {
			g.chunk = 32
		}
		for seed := range checks {
			random := rand.New(rand.NewPCG(uint64(seed), 0))
			b := g.NewBoard(1+random.IntN(6), eos)
			b.Ahead = seed%2 == 1
			on := map[int]*Entry{}
			for next := 0; next < n || len(on) > 0; {
				for next < n && !b.Full() && (len(on) == 0 || random.IntN(2) == 0) {
					e, err := b.Join(prompt(11*next, length(next)), boardOptions(next))
					if err != nil {
						t.Fatal(err)
					}
					on[next] = e
					next++
				}
				for range 1 + random.IntN(2) {
					_, err := b.Read()
					must(t, err)
				}
				if err := b.Write(1 + random.IntN(40)); err != nil {
					t.Fatal(err)
				}
				for i, e := range on {
					if e.FinishReason == "" {
						continue
					}
					if !reflect.DeepEqual(e.IDs, alone[i].IDs) || e.FinishReason != alone[i].FinishReason {
						t.Fatalf("text %d is %v (%s), alone %v (%s)", i, e.IDs, e.FinishReason, alone[i].IDs, alone[i].FinishReason)
					}
					if len(e.LogProbs) != len(alone[i].LogProbs) && boardOptions(i).LogProbs {
						t.Fatalf("text %d has %d probabilities, alone %d", i, len(e.LogProbs), len(alone[i].LogProbs))
					}
					for k, p := range alone[i].LogProbs {
						if math.Abs(float64(p.LogProb-e.LogProbs[k].LogProb)) > 1e-4 || p.Top[0].ID != e.LogProbs[k].Top[0].ID {
							t.Fatalf("token %d of text %d: %v, alone %v", k, i, e.LogProbs[k], p)
						}
					}
					b.Leave(e)
					delete(on, i)
				}
			}
			b.Close()
		}
	})
}

// A text that leaves before its end gives its row to another, and nobody notices.
func TestLeave(t *testing.T) {
	g := open(t, devicetest.Open(t, device.Go), "llama")
	o := Options{MaxNewTokens: 20}
	want := generate(t, g, [][]int32{prompt(5, 7)}, o)[0]
	b := g.NewBoard(2, nil)
	defer b.Close()
	stays, leaves := join(t, b, prompt(5, 7), o), join(t, b, prompt(100, 9), o)
	if _, err := b.Join(prompt(1, 2), o); err == nil || !strings.Contains(err.Error(), "2 texts") {
		t.Errorf("a third text of two gave %v", err)
	}
	for range 5 {
		if err := b.Write(3); err != nil {
			t.Fatal(err)
		}
		b.Leave(leaves)
		leaves = join(t, b, prompt(50, 9), o)
	}
	for stays.FinishReason == "" {
		if err := b.Write(32); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(stays.Text, want) {
		t.Errorf("wrote %+v, want %+v", stays.Text, want)
	}
}

// The probabilities that are told are those of the model, and greedy choices are the likeliest.
func TestLogProbs(t *testing.T) {
	onBoth(t, func(t *testing.T, g *Generator) {
		texts := generate(t, g, [][]int32{prompt(5, 7), prompt(9, 3)}, Options{MaxNewTokens: 4, LogProbs: true})
		for _, text := range texts {
			if len(text.LogProbs) != 4 {
				t.Fatalf("%d probabilities of 4 tokens", len(text.LogProbs))
			}
			for i, p := range text.LogProbs {
				sorted := slices.IsSortedFunc(p.Top, func(a, b Alternative) int { return int(math.Copysign(1, float64(b.LogProb-a.LogProb))) })
				if p.ID != text.IDs[i] || (Alternative{p.ID, p.LogProb}) != p.Top[0] || len(p.Top) != Alternatives || !sorted {
					t.Errorf("token %d: %+v", i, p)
				}
				sum := 0.0
				for _, a := range p.Top {
					sum += math.Exp(float64(a.LogProb))
				}
				if sum > 1+1e-5 {
					t.Errorf("token %d: the likeliest have probability %v together", i, sum)
				}
			}
		}
	})
}

// A text waits for memory as for a row: what there is decides how many are on a board. Two texts get all rows, or if there isn't memory
// for so many, theirs; beside them a prompt is read.
func TestBoardMemory(t *testing.T) {
	for _, family := range []string{"llama", "t5"} {
		g := open(t, devicetest.Open(t, device.Go), family)
		o := Options{MaxNewTokens: 100}
		free := g.NewBoard(4, nil)
		for range 2 {
			join(t, free, prompt(5, 7), o)
		}
		held := int64(0)
		for _, shape := range shapesOf(free.batch.cache)[g.counters():] {
			held += shape.ByteSize()
		}
		read := g.cacheBytes(free.newReader(free.entry(prompt(5, 7), o)).size)
		for _, c := range []struct {
			memory int64
			texts  int
		}{{held + read, 2}, {held + read - 1, 2}, {held/2 + read, 2}, {held/2 + read - 1, 1}, {held/4 + read, 1}, {held/4 + read - 1, 0}} {
			g.memory = c.memory
			b := g.NewBoard(4, nil)
			for i := range 2 {
				fits := b.Fits(prompt(5, 7), o)
				_, err := b.Join(prompt(5, 7), o)
				if fits != (i < c.texts) || (err == nil) != (i < c.texts) || err != nil && !errors.Is(err, ErrMemory) {
					t.Errorf("%s: %d of %d bytes, text %d: fits %v, error %v", family, c.memory, held, i, fits, err)
				}
			}
			b.Close()
		}
		free.Close()
	}
}

func TestBoardRefuses(t *testing.T) {
	g := open(t, devicetest.Open(t, device.Go), "opt")
	b := g.NewBoard(1, nil)
	for _, c := range []struct {
		prompt []int32
		o      Options
		want   string
	}{
		{nil, Options{MaxNewTokens: 1}, "empty"},
		{prompt(1, 256), Options{MaxNewTokens: 1}, "at most 256"},
		{prompt(1, 2), Options{}, "max-new-tokens"},
		{prompt(1, 2), Options{MaxNewTokens: 1, Beams: Beams{Number: 2}}, "search"},
		{prompt(1, 2), Options{MaxNewTokens: 1, Penalties: Penalties{NoRepeatNGram: 2}}, "n-grams"},
	} {
		if _, err := b.Join(c.prompt, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", fmt.Sprint(len(c.prompt), c.o), err, c.want)
		}
	}
}

// A text whose prompt can't be read, or that can't be placed, ends no other, and can be written later.
func TestUnreadable(t *testing.T) {
	g := open(t, devicetest.Open(t, device.Go), "llama")
	o := Options{MaxNewTokens: 12}
	prompts := [][]int32{prompt(5, 7), prompt(9, 40)}
	var alone []Text
	for _, p := range prompts {
		alone = append(alone, generate(t, g, [][]int32{p}, o)[0])
	}
	for name, needs := range map[string]func(b *Board, e *Entry) program{
		"to read": func(b *Board, e *Entry) program { return b.newReader(e).program() },
		"to place": func(b *Board, e *Entry) program {
			s := b.sizeWith(e)
			return b.programsToResize(s)[0]
		},
		"to write": func(b *Board, e *Entry) program {
			s := b.sizeWith(e)
			all := b.programsToWrite(s, b.writes(s, append(b.under(), e)...))
			return all[len(all)-1]
		},
	} {
		b := g.NewBoard(2, nil)
		stays := join(t, b, prompts[0], o)
		fails, err := b.Join(prompts[1], o)
		must(t, err)
		broken := &compiled{err: errors.New("out of memory")}
		broken.once.Do(func() {})
		g.programs[needs(b, fails).key] = broken
		read(t, b)
		if fails.Err != broken.err || b.Texts() != 1 || b.Unread() != 0 {
			t.Errorf("%s: error %v, %d texts, %d unread", name, fails.Err, b.Texts(), b.Unread())
		}
		must(t, b.Write(4))
		again := join(t, b, prompts[1], o)
		for stays.FinishReason == "" || again.FinishReason == "" {
			must(t, b.Write(4))
		}
		if got := []Text{stays.Text, again.Text}; !reflect.DeepEqual(got, alone) {
			t.Errorf("%s: wrote %+v, alone %+v", name, got, alone)
		}
		b.Close()
	}
}

// A board that had many rows takes no more memory than is set aside when fewer, longer texts are on it.
func TestBoardShrinksForMemory(t *testing.T) {
	g := open(t, devicetest.Open(t, device.Go), "opt")
	most := g.cacheBytes(size{rows: 8, room: 256})
	g.memory = most + g.cacheBytes(size{rows: 1, room: 256}) // beside which a prompt is read
	b := g.NewBoard(16, nil)
	defer b.Close()
	var texts []*Entry
	for i := range 9 {
		texts = append(texts, join(t, b, prompt(i, 4), Options{MaxNewTokens: 50}))
		must(t, b.Write(1))
	}
	for _, e := range texts[2:] {
		b.Leave(e)
	}
	long := join(t, b, prompt(7, 150), Options{MaxNewTokens: 40})
	for long.FinishReason == "" {
		must(t, b.Write(8))
		held := int64(0)
		for _, shape := range shapesOf(b.batch.cache)[g.counters():] {
			held += shape.ByteSize()
		}
		if held > most {
			t.Fatalf("the board holds %d bytes of %d: %+v", held, most, b.batch.size)
		}
	}
	for i, want := range generate(t, g, [][]int32{prompt(7, 150), prompt(0, 4)}, Options{MaxNewTokens: 40}) {
		if got := []*Entry{long, texts[0]}[i].IDs; !slices.Equal(got[:min(len(got), 40)], want.IDs[:min(len(got), 40)]) {
			t.Errorf("text %d is %v, alone %v", i, got, want.IDs)
		}
	}
}

func shapesOf(buffers []*device.Buffer) []shapes.Shape {
	all := make([]shapes.Shape, len(buffers))
	for i, b := range buffers {
		all[i] = b.Shape()
	}
	return all
}
