package decoding

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/pretrained/pretrainedtest"
)

// repeating is a prompt in which runs of tokens come again.
func repeating(random *rand.Rand, n int) []int32 {
	run := prompt(random.IntN(50), 2+random.IntN(12))
	var ids []int32
	for len(ids) < n {
		ids = append(append(ids, run...), int32(3+random.IntN(40)))
	}
	return ids[:n]
}

// stepsFor is how many steps should write all of a text but its first token, in a cache of so much room.
func stepsFor(prompt, ids []int32, room int) int {
	text := slices.Concat(prompt, ids)
	steps, match := 0, 2
	for read := len(prompt); read < len(text)-1; steps++ {
		last := read
		read++
		at, most := 0, 0
		for i := range last {
			n := 0
			for n < 4 && n <= i && text[i-n] == text[last-n] {
				n++
			}
			if n >= max(match, most) {
				at, most = i, n
			}
		}
		if most == 0 || last+guesses+2 > room {
			continue
		}
		right := 0
		for right < guesses && read < len(text)-1 && text[read] == text[at+1+right%(last-at)] {
			right, read = right+1, read+1
		}
		match = min(match+1, 4)
		if right > 0 {
			match = 2
		}
	}
	return steps
}

// A text is the same whether guesses are looked up or not: whole, ended by a token, with as much room in the cache as it needs and
// no more, and on a board.
func TestLookUp(t *testing.T) {
	g := open(t, devicetest.Open(t, device.CPU), "llama")
	ids := repeating(rand.New(rand.NewPCG(1, 2)), 36)
	whole := Options{MaxNewTokens: 92, MinNewTokens: 1} // 128 together
	g.NoLookup = true
	want := generate(t, g, [][]int32{ids}, whole)[0]
	g.NoLookup = false
	if got := generate(t, g, [][]int32{ids}, whole)[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("wrote\n%v, not\n%v", got, want)
	}
	ended := whole
	ended.EOS = []int{int(want.IDs[60])}
	for _, o := range []Options{whole, ended} {
		want := want
		if end := slices.Index(want.IDs, int32(slices.Max(append(o.EOS, -1)))); end >= 0 {
			want = Text{IDs: want.IDs[:end+1], FinishReason: Stop}
		}
		b := g.NewBoard(3, o.EOS)
		e := join(t, b, ids, o)
		calls := 0
		for ; e.FinishReason == ""; calls++ {
			must(t, b.Write(1))
		}
		if !reflect.DeepEqual(e.Text, want) {
			t.Errorf("wrote\n%v, not\n%v", e.Text, want)
		}
		if want := stepsFor(ids, want.IDs, 128); calls != want || calls >= len(e.IDs)-4 {
			t.Errorf("%d steps, not %d, for %d tokens", calls, want, len(e.IDs))
		}
		b.Close()
	}
}

// A text on a board goes on when another has come beside it and left again.
func TestLookUpBeside(t *testing.T) {
	g := open(t, devicetest.Open(t, device.CPU), "llama")
	ids := repeating(rand.New(rand.NewPCG(3, 4)), 100) // and the room that it needs from the beginning
	o := Options{MaxNewTokens: 100}
	g.NoLookup = true
	want := generate(t, g, [][]int32{ids}, o)[0]
	g.NoLookup = false
	b := g.NewBoard(2, nil)
	defer b.Close()
	e := join(t, b, ids, o)
	must(t, b.Write(3))
	if got := b.Steps(); got < 1 || got > 3 {
		t.Errorf("%d steps, not 1 to 3", got)
	}
	beside := join(t, b, prompt(9, 7), Options{MaxNewTokens: 6})
	for beside.FinishReason == "" {
		must(t, b.Write(2))
	}
	b.Leave(beside)
	left, steps := len(e.IDs), 0
	for ; e.FinishReason == ""; steps++ {
		must(t, b.Write(1))
	}
	if want := stepsFor(slices.Concat(ids, want.IDs[:left-1]), want.IDs[left-1:], 256); steps != want || steps >= len(e.IDs)-left {
		t.Errorf("%d steps, not %d, for the last %d tokens", steps, want, len(e.IDs)-left)
	}
	if !slices.Equal(e.IDs, want.IDs) {
		t.Errorf("wrote\n%v, not\n%v", e.IDs, want.IDs)
	}
}

// Where positions are rotated by how many tokens there are, nothing is guessed: the keys of right guesses would be those of a
// longer text.
func TestLookUpDynamic(t *testing.T) {
	d := devicetest.Open(t, device.CPU)
	g := New(d, pretrainedtest.Load(t, d, "../../models/testdata/llama-dynamic"))
	defer g.Close()
	prompts := [][]int32{repeating(rand.New(rand.NewPCG(5, 6)), 30)}
	o := Options{MaxNewTokens: 80, LogProbs: true} // with which nothing is guessed
	want := generate(t, g, prompts, o)[0].IDs
	o.LogProbs = false
	if got := generate(t, g, prompts, o)[0].IDs; !slices.Equal(got, want) {
		t.Errorf("wrote\n%v, not\n%v", got, want)
	}
}
