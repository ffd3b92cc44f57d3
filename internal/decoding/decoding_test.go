package decoding

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/pretrained/pretrainedtest"
)

// open prepares to write with a family's tiny model.
func open(t *testing.T, d *device.Device, family string) *Generator {
	t.Helper()
	p := pretrainedtest.Load(t, d, filepath.Join("../../models/testdata", family+"-tiny"))
	g := New(d, p)
	t.Cleanup(g.Close)
	return g
}

func generate(t *testing.T, g *Generator, prompts [][]int32, o Options) []Text {
	t.Helper()
	texts, err := g.Generate(prompts, o)
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// prompt is n ids that depend on first.
func prompt(first, n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((first + 37*i) % 500)
	}
	return ids
}

// onBoth runs test for all families on the Go backend, which has nothing to compile, and for one on XLA.
func onBoth(t *testing.T, test func(t *testing.T, g *Generator)) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, family := range []string{"opt", "llama", "t5"} {
			t.Run(family, func(t *testing.T) { test(t, open(t, d, family)) })
			if d.Kind() == device.CPU {
				break
			}
		}
	})
}

// The text of a prompt depends on the prompt, the seed and its place, whatever the other prompts are.
func TestPromptsDontMix(t *testing.T) {
	onBoth(t, func(t *testing.T, g *Generator) {
		for _, s := range []Sampling{{}, {Temperature: 1.5, TopP: 0.9, Seed: 3}} {
			o := Options{MaxNewTokens: 6, Sampling: s}
			mine := prompt(5, 7)
			want := generate(t, g, [][]int32{prompt(9, 3), mine}, o)[1]
			if len(want.IDs) != 6 || want.FinishReason != Length {
				t.Errorf("%+v: wrote %+v, want six tokens", s, want)
			}
			if got := generate(t, g, [][]int32{prompt(100, 40), mine, prompt(4, 12)}, o)[1]; !reflect.DeepEqual(got, want) {
				t.Errorf("%+v: wrote %+v among other prompts, not %+v", s, got, want)
			}
		}
	})
}

// More prompts than are written after at once come back in their order.
func TestManyPrompts(t *testing.T) {
	g := open(t, devicetest.Open(t, device.Go), "opt")
	g.rows = 4
	o := Options{MaxNewTokens: 2, Sampling: Sampling{Temperature: 1, Seed: 1}}
	var prompts [][]int32
	for i := range 2*g.rows + 1 {
		prompts = append(prompts, prompt(i, 4))
	}
	texts := generate(t, g, prompts, o)
	if len(texts) != len(prompts) {
		t.Fatalf("%d texts for %d prompts", len(texts), len(prompts))
	}
	first := generate(t, g, prompts[:g.rows], o)
	if !reflect.DeepEqual(texts[:g.rows], first) {
		t.Error("the first prompts' texts depend on those that follow")
	}
	// The place of a prompt counts on through the batches.
	same := slices.Repeat([][]int32{prompts[0]}, 2*g.rows)
	if texts := generate(t, g, same, o); reflect.DeepEqual(texts[:g.rows], texts[g.rows:]) {
		t.Error("two batches of one prompt drew the same random numbers")
	}
}

// As many prompts are written after at once as there is memory for, and at least one.
func TestMemory(t *testing.T) {
	for _, family := range []string{"llama", "t5"} {
		g := open(t, devicetest.Open(t, device.Go), family)
		prompts, o := slices.Repeat([][]int32{prompt(5, 7)}, 12), Options{MaxNewTokens: 4}
		row := g.cacheBytes(g.batchSize(1, 7, o).size)
		for _, c := range []struct {
			memory int64
			beams  int
			rows   int
		}{{0, 1, 12}, {12 * (row - 4), 1, 6}, {6 * row, 1, 6}, {5 * row, 1, 3}, {1, 1, 1}, {0, 8, 64}, {5 * row, 8, 4}} {
			g.memory, o.Beams.Number = c.memory, c.beams
			if rows := g.rowsFor(prompts, o); rows != c.rows {
				t.Errorf("%s, %d beams, memory for %d rows: %d rows, want %d", family, c.beams, c.memory/row, rows, c.rows)
			}
		}
	}
}

// Prompts that are a part of more get the texts that they get among all.
func TestFirst(t *testing.T) {
	g := open(t, devicetest.Open(t, device.Go), "opt")
	g.rows = 4
	o := Options{MaxNewTokens: 4, Sampling: Sampling{Temperature: 1.5, Seed: 2}}
	prompts := slices.Repeat([][]int32{prompt(5, 7)}, g.rows+3)
	all := generate(t, g, prompts, o)
	for _, o.First = range []int{2, g.rows} {
		if part := generate(t, g, prompts[o.First:], o); !reflect.DeepEqual(part, all[o.First:]) {
			t.Errorf("from prompt %d on it wrote %+v, not %+v", o.First, part, all[o.First:])
		}
	}
}

// A text ends with the first end token, which is part of it, or with the last token that it may have.
func TestEnds(t *testing.T) {
	onBoth(t, func(t *testing.T, g *Generator) {
		prompts := [][]int32{prompt(5, 7), prompt(50, 5)}
		free := generate(t, g, prompts, Options{MaxNewTokens: 8})
		eos := free[0].IDs[3]
		at := slices.Index(free[0].IDs, eos)
		ended := generate(t, g, prompts, Options{MaxNewTokens: 8, EOS: []int{-1, int(eos)}})
		if want := (Text{IDs: free[0].IDs[:at+1], FinishReason: Stop}); !reflect.DeepEqual(ended[0], want) {
			t.Errorf("wrote %+v, want %+v", ended[0], want)
		}
		if !slices.Contains(free[1].IDs, eos) && !reflect.DeepEqual(ended[1], free[1]) {
			t.Errorf("the other text became %+v, not %+v", ended[1], free[1])
		}
		short := generate(t, g, prompts, Options{MaxNewTokens: 2})
		if want := (Text{IDs: free[0].IDs[:2], FinishReason: Length}); !reflect.DeepEqual(short[0], want) {
			t.Errorf("wrote %+v, want %+v", short[0], want)
		}
	})
}

// A text ends where the model's positions do, and the others go on.
func TestLongestSequence(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		g := open(t, d, "opt")
		longest := g.parameters.Config.MaxLength()
		o := Options{MaxNewTokens: 6}
		alone := generate(t, g, [][]int32{prompt(5, 7)}, o)[0]
		texts := generate(t, g, [][]int32{prompt(5, 7), prompt(3, longest-2)}, o)
		if len(texts[1].IDs) != 2 || texts[1].FinishReason != Length {
			t.Errorf("after a prompt of %d tokens of %d it wrote %+v", longest-2, longest, texts[1])
		}
		if !reflect.DeepEqual(texts[0], alone) {
			t.Errorf("beside a long prompt it wrote %+v, alone %+v", texts[0], alone)
		}
		for name, prompts := range map[string][][]int32{
			"prompt 1 is empty":       {prompt(1, 2), nil},
			"prompt 0 has 256 tokens": {prompt(1, longest)},
		} {
			if _, err := g.Generate(prompts, o); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("error %v, want %q", err, name)
			}
		}
	})
}
