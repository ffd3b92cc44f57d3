package decoding

import (
	"reflect"
	"slices"
	"testing"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// Of a prompt that begins like one before, only what follows is read, and the text is what it is when all is.
func TestPrefixes(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, family := range []string{"llama", "opt"} {
			g := open(t, d, family)
			g.chunk = 8
			o := Options{MaxNewTokens: 4}
			long := prompt(5, 60)
			for _, memory := range []int64{0, 1} { // no limit, and too little to keep anything
				b := g.NewBoard(2, nil)
				for i, c := range []struct {
					prompt []int32
					read   int // positions of it, with memory: whole chunks
				}{
					{long[:30], 32},
					{long[:50], 24}, // goes on after it: from token 22, six of padding before
					{long[:50], 8},  // the same again
					{append(slices.Clone(long[:37]), 1, 2, 3), 8},  // turns off from a longer one
					{slices.Concat(long[:9], prompt(100, 12)), 16}, // after little of them
					{prompt(70, 20), 24},                           // like none
					{long[:7], 8},                                  // shorter than a chunk
				} {
					g.memory = 0
					want := generate(t, g, [][]int32{c.prompt}, o)[0]
					e, err := b.Join(c.prompt, o)
					must(t, err)
					if g.memory = memory; memory > 0 {
						c.read = (len(c.prompt) + 7) / 8 * 8
					}
					chunks := 0
					for ; b.Unread() > 0; chunks++ {
						read(t, b)
					}
					for e.FinishReason == "" {
						must(t, b.Write(2))
					}
					b.Leave(e)
					if !reflect.DeepEqual(e.Text, want) {
						t.Errorf("%s, prompt %d: %+v, want %+v", family, i, e.Text, want)
					}
					if cached := max(0, len(c.prompt)-c.read); e.Cached != cached {
						t.Errorf("%s, memory %d, prompt %d: %d of %d tokens weren't read, want %d", family, memory, i, e.Cached, len(c.prompt), cached)
					}
					if 8*chunks != c.read && len(c.prompt) > 8 {
						t.Errorf("%s, memory %d, prompt %d: read %d positions, want %d", family, memory, i, 8*chunks, c.read)
					}
				}
				b.Close()
				g.memory = 0
				g.Forget()
			}
		}
	})
}

// A conversation goes on behind what was read and written, to the texts that it has when all of it is read again, until it fills the
// model's positions and the ring of slots has gone round.
func TestConversation(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, family := range []string{"llama", "opt", "t5"} {
			g := open(t, d, family)
			g.chunk = 8
			longest := g.parameters.Config.MaxLength()
			if longest == 0 {
				longest = 60
			}
			all := prompt(5, 11)
			for turn := 0; len(all) < min(longest, 300); turn++ {
				o := Options{MaxNewTokens: 17, Sampling: Sampling{Temperature: 1, Seed: uint64(turn)}}
				want := generate(t, g, [][]int32{all}, o)[0]
				o.Keep = true
				if got := generate(t, g, [][]int32{all}, o)[0]; !reflect.DeepEqual(got, want) {
					t.Fatalf("%s, turn %d: %+v, want %+v", family, turn, got, want)
				}
				all = slices.Concat(all, want.IDs, prompt(30*turn, 9))
			}
			if len(g.prefixes) == 0 && !g.parameters.Config.ReadsAtOnce() {
				t.Errorf("%s: nothing is kept", family)
			}
		}
	})
}
