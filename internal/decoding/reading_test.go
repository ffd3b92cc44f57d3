package decoding

import (
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/pretrained/pretrainedtest"
)

// In chunks of any size, prompts of several lengths are read as at once: also if chunks go beyond the model's last position.
func TestChunks(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, name := range []string{"llama-gqa-headdim-tied", "opt-pre"} {
			t.Run(name, func(t *testing.T) {
				p := pretrainedtest.Load(t, d, filepath.Join("../../models/testdata", name))
				var prompts [][]int32
				for i, n := range []int{3, 45, 33} { // of 48 positions
					ids := prompt(7*i, n)
					for k := range ids {
						ids[k] %= int32(p.Config.Vocabulary())
					}
					prompts = append(prompts, ids)
				}
				g := New(d, p)
				defer g.Close()
				o := Options{MaxNewTokens: 3, LogProbs: true}
				want := generate(t, g, prompts, o)
				for _, g.chunk = range []int{8, 20, 32} {
					for i, got := range generate(t, g, prompts, o) {
						if !slices.Equal(got.IDs, want[i].IDs) {
							t.Fatalf("chunks of %d, prompt %d: wrote %v, not %v", g.chunk, i, got.IDs, want[i].IDs)
						}
						for k, p := range got.LogProbs {
							if math.Abs(float64(p.LogProb-want[i].LogProbs[k].LogProb)) > 1e-4 {
								t.Errorf("chunks of %d, prompt %d, token %d: %v, not %v", g.chunk, i, k, p.LogProb, want[i].LogProbs[k].LogProb)
							}
						}
					}
				}
			})
		}
	})
}

// Models that have to read a prompt at once do.
func TestReadsAtOnce(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	for name, want := range map[string]int{"t5-tiny": 102400, "llama-dynamic": 102400, "opt-tiny": 128} {
		g := New(d, pretrainedtest.Load(t, d, filepath.Join("../../models/testdata", name)))
		if got := g.newReader(nil, promptSize{positions: 102400}).chunk(); got != want {
			t.Errorf("%s reads %d of 102400 positions at first, want %d", name, got, want)
		}
		g.Close()
	}
}

// Of many prompts at once a chunk has fewer tokens, and each is read as it is alone.
func TestChunksOfMany(t *testing.T) {
	g := open(t, devicetest.Open(t, device.Go), "opt")
	g.chunk = 40
	if few, many := g.chunkFor(8), g.chunkFor(16); few != 40 || many != 32 {
		t.Fatalf("chunks of 8 prompts have %d tokens, of 16 %d", few, many)
	}
	var prompts [][]int32
	for i := range 16 {
		prompts = append(prompts, prompt(3*i, 1+6*i))
	}
	o := Options{MaxNewTokens: 2}
	for i, got := range generate(t, g, prompts, o) {
		if want := generate(t, g, prompts[i:i+1], o)[0]; !reflect.DeepEqual(got, want) {
			t.Errorf("prompt %d: wrote %+v beside 15 others, alone %+v", i, got, want)
		}
	}
}

// Texts get tokens between the chunks of a prompt that joins them, and become what they are alone; so does the one that joined.
func TestReadBeside(t *testing.T) {
	g := open(t, devicetest.Open(t, device.Go), "llama")
	o := Options{MaxNewTokens: 30}
	prompts := [][]int32{prompt(5, 7), prompt(9, 90)}
	alone := generate(t, g, prompts, o)
	g.chunk = 16
	b := g.NewBoard(2, nil)
	defer b.Close()
	short := join(t, b, prompts[0], o)
	long, err := b.Join(prompts[1], o)
	must(t, err)
	chunks := 0
	for ; b.Unread() > 0; chunks++ {
		if len(long.IDs) > 0 || b.Texts() != 2 {
			t.Fatalf("after %d chunks the text is %v, one of %d", chunks, long.IDs, b.Texts())
		}
		had := len(short.IDs)
		read(t, b)
		must(t, b.Write(3))
		if len(short.IDs) == had {
			t.Errorf("after chunk %d the text under way has %d tokens, before it %d", chunks, len(short.IDs), had)
		}
	}
	if chunks != 6 {
		t.Errorf("read 90 tokens in %d chunks of 16, not 6", chunks)
	}
	for short.FinishReason == "" || long.FinishReason == "" {
		must(t, b.Write(7))
	}
	if got := []Text{short.Text, long.Text}; !reflect.DeepEqual(got, alone) {
		t.Errorf("wrote %+v, alone %+v", got, alone)
	}
}

// A text that leaves while its prompt is read leaves nothing on the device, and the next is read from its beginning.
func TestLeaveUnread(t *testing.T) {
	g := open(t, devicetest.Open(t, device.Go), "llama")
	o := Options{MaxNewTokens: 5}
	prompts := [][]int32{prompt(100, 60), prompt(50, 40), prompt(9, 70)}
	alone := generate(t, g, prompts, o)
	g.chunk = 16
	for _, leaves := range []int{0, 1} {
		t.Run(fmt.Sprint(leaves), func(t *testing.T) {
			b := g.NewBoard(3, nil)
			defer b.Close()
			var texts []*Entry
			for _, p := range prompts {
				e, err := b.Join(p, o)
				must(t, err)
				texts = append(texts, e)
			}
			for range 2 {
				read(t, b)
			}
			cache := b.reader.cache
			b.Leave(texts[leaves])
			if _, err := cache[2].Float32s(); (err != nil) != (leaves == 0) {
				t.Errorf("the cache of text 0, when text %d has left: %v", leaves, err)
			}
			for b.Unread() > 0 {
				read(t, b)
			}
			if b.Texts() != 2 {
				t.Errorf("%d texts are on the board, not 2", b.Texts())
			}
			for texts[2].FinishReason == "" {
				must(t, b.Write(5))
			}
			for i, e := range texts {
				if i != leaves && !reflect.DeepEqual(e.Text, alone[i]) {
					t.Errorf("text %d is %+v, alone %+v", i, e.Text, alone[i])
				}
			}
			b.Leave(texts[2])
			b.Leave(texts[1-leaves])
			if b.Texts() > 0 || b.batch != nil || b.reader != nil {
				t.Error("an empty board holds something")
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
