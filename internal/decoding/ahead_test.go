package decoding

import (
	"reflect"
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
	// The second text's compilation ends when it is told to.
	r := b.reading(texts[1])
	program, err := g.prefill(reading{r.size.size, r.chunk()})
	must(t, err)
	end := make(chan struct{})
	slow := &compiled{compile: func() (*device.Program, error) { <-end; return program, nil }}
	g.programs[reading{r.size.size, r.chunk()}] = slow
	g.ahead.add(slow)
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
	close(end)
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
