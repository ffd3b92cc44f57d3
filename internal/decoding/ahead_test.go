package decoding

import (
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// While programs that a text needs are compiled, those under way go on, and others that need none join them; then it does.
func TestAhead(t *testing.T) {
	g := open(t, devicetest.Open(t, device.Go), "llama")
	o := Options{MaxNewTokens: 30}
	prompts := [][]int32{prompt(5, 7), prompt(9, 90), prompt(70, 9)}
	var alone []Text
	for _, p := range prompts {
		alone = append(alone, generate(t, g, [][]int32{p}, o)[0])
	}
	b := g.NewBoard(3, nil)
	defer b.Close()
	b.Ahead = true
	texts := []*Entry{join(t, b, prompts[0], o)}
	for _, p := range prompts[1:] {
		e, err := b.Join(p, o)
		must(t, err)
		texts = append(texts, e)
	}
	for !b.prepared(texts[2]) {
		time.Sleep(time.Millisecond)
	}
	r := b.newReader(texts[1])
	finish := slow(t, g, r.program())
	for _, some := range []bool{true, false, false} {
		had := len(texts[0].IDs)
		if read, err := b.Read(); err != nil || read != some {
			t.Errorf("read a prompt: %v (%v), not %v", read, err, some)
		}
		must(t, b.Write(2))
		if len(texts[0].IDs) == had {
			t.Errorf("the text under way has %d tokens after a call, before it %d", len(texts[0].IDs), had)
		}
	}
	if len(texts[1].IDs) > 0 || len(texts[2].IDs) == 0 {
		t.Errorf("the text without programs has %d tokens, the other %d", len(texts[1].IDs), len(texts[2].IDs))
	}
	finish()
	for texts[1].FinishReason == "" {
		_, err := b.Read()
		must(t, err)
		must(t, b.Write(1))
	}
	for i, e := range texts {
		if !reflect.DeepEqual(e.Text, alone[i]) {
			t.Errorf("text %d is %+v, alone %+v", i, e.Text, alone[i])
		}
	}
}

// slow makes the compilation of a program last until finish.
func slow(t *testing.T, g *Generator, p program) (finish func()) {
	t.Helper()
	begun, end := make(chan struct{}), make(chan struct{})
	g.ask(true, []program{{p.key, func() (*device.Program, error) { close(begun); <-end; return p.compile() }}})
	<-begun
	finish = sync.OnceFunc(func() { close(end) })
	t.Cleanup(finish) // before that of the generator, which waits
	return finish
}

// Texts under way go on as they are while programs for fewer of them are compiled.
func TestStay(t *testing.T) {
	g := open(t, devicetest.Open(t, device.Go), "llama")
	o := Options{MaxNewTokens: 30}
	want := generate(t, g, [][]int32{prompt(5, 7)}, o)[0]
	b := g.NewBoard(2, nil)
	defer b.Close()
	stays, leaves := join(t, b, prompt(5, 7), o), join(t, b, prompt(9, 8), o)
	must(t, b.Write(2))
	b.Ahead = true
	b.Leave(leaves)
	s := size{rows: 1, room: b.batch.size.room}
	cache := g.cacheShapes(b.batch.size)
	finish := slow(t, g, g.regrouper(g.side(2, len(cache)), cache[2], 2, s))
	had := len(stays.IDs)
	must(t, b.Write(2))
	if len(stays.IDs) == had || b.batch.size.rows != 2 {
		t.Errorf("the text has %d tokens after a call, before it %d; the board has %d rows", len(stays.IDs), had, b.batch.size.rows)
	}
	finish()
	for stays.FinishReason == "" {
		must(t, b.Write(1))
	}
	if !reflect.DeepEqual(stays.Text, want) {
		t.Errorf("wrote %+v, want %+v", stays.Text, want)
	}
}

// A lone text whose tokens are guessed goes on when another joins it, at the very size that was prepared.
func TestJoinGuessed(t *testing.T) {
	g := open(t, devicetest.Open(t, device.CPU), "llama")
	o := Options{MaxNewTokens: 40}
	prompts := [][]int32{prompt(5, 7), prompt(9, 96)} // with 32 tokens more it fills a ring of 128 slots
	g.NoLookup = true
	alone := []Text{generate(t, g, prompts[:1], o)[0], generate(t, g, prompts[1:], o)[0]}
	g.NoLookup = false
	b := g.NewBoard(8, nil)
	defer b.Close()
	b.Ahead = true
	texts := []*Entry{join(t, b, prompts[0], o)}
	must(t, b.Write(1))
	e, err := b.Join(prompts[1], o)
	must(t, err)
	for texts = append(texts, e); !b.prepared(e); {
		time.Sleep(time.Millisecond)
	}
	s := b.sizeWith(e)
	for b.Unread() > 0 {
		read(t, b)
	}
	if b.batch.size != s {
		t.Errorf("prepared %+v, and the board is %+v", s, b.batch.size)
	}
	for e.FinishReason == "" || texts[0].FinishReason == "" {
		must(t, b.Write(3))
	}
	if got := []Text{texts[0].Text, e.Text}; !reflect.DeepEqual(got, alone) {
		t.Errorf("wrote %+v, alone %+v", got, alone)
	}
}
