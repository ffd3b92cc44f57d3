package decoding

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// beamCase is a search of transformers (testdata/make_beams.py) with the texts that it found.
type beamCase struct {
	Model             string
	Beams             int
	EarlyStopping     EarlyStopping `json:"early_stopping"`
	LengthPenalty     float64       `json:"length_penalty"`
	MinNewTokens      int           `json:"min_new_tokens"`
	NoRepeatNGram     int           `json:"no_repeat_ngram_size"`
	RepetitionPenalty float64       `json:"repetition_penalty"`
	EOS               []int
	IDs               [][]int32
}

func (c beamCase) options(most int) Options {
	return Options{
		MaxNewTokens: most, MinNewTokens: c.MinNewTokens, EOS: c.EOS,
		Penalties: Penalties{Repetition: c.RepetitionPenalty, NoRepeatNGram: c.NoRepeatNGram},
		Beams:     Beams{Number: max(2, c.Beams), EarlyStopping: c.EarlyStopping, LengthPenalty: c.LengthPenalty},
	}
}

func (c beamCase) check(t *testing.T, g *Generator, prompts [][]int32, most int) {
	t.Helper()
	o := c.options(most)
	for i, text := range generate(t, g, prompts, o) {
		reason := Length
		if slices.Contains(c.EOS, int(c.IDs[i][len(c.IDs[i])-1])) {
			reason = Stop
		}
		if want := (Text{IDs: c.IDs[i], FinishReason: reason}); !reflect.DeepEqual(text, want) {
			t.Errorf("%+v: prompt %d: found %+v, transformers %+v", o, i, text, want)
		}
	}
}

type beamGolden struct {
	Prompts     [][]int32
	Cases, Long []beamCase
}

func readBeams(t *testing.T) (golden beamGolden) {
	raw, err := os.ReadFile("testdata/beams.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	return golden
}

// A search finds the texts that transformers finds for each prompt alone, whatever ends it, and however long those of other
// prompts are.
func TestSearch(t *testing.T) {
	golden := readBeams(t)
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		g := open(t, d, "llama")
		for _, c := range golden.Cases {
			if d.Kind() == device.Go || c.Beams == 2 && len(c.EOS) > 1 { // the others take XLA more programs
				c.check(t, g, golden.Prompts, 12)
			}
		}
	})
}

// So it does longer texts, of all families and with what changes the probabilities; on XLA they take several calls.
func TestLongSearch(t *testing.T) {
	golden := readBeams(t)
	onBoth(t, func(t *testing.T, g *Generator) {
		for _, c := range golden.Long {
			if c.Model == g.parameters.Config.Family() {
				c.check(t, g, golden.Prompts, 48)
			}
		}
	})
}

// It doesn't matter how many tokens a call adds.
func TestSearchCalls(t *testing.T) {
	golden := readBeams(t)
	g := open(t, devicetest.Open(t, device.CPU), "llama")
	c := golden.Long[0]
	for _, call := range []int{1, 5, 100} {
		texts, err := g.search(golden.Prompts, c.options(48), call)
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range texts {
			if !slices.Equal(text.IDs, c.IDs[i]) {
				t.Errorf("%d tokens a call: prompt %d: found %v, transformers %v", call, i, text.IDs, c.IDs[i])
			}
		}
	}
}

// A search ends where the model's positions do, and those for the other prompts go on, around the cache's ring.
func TestLongestSearch(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		g := open(t, d, "opt")
		longest := g.parameters.Config.MaxLength()
		o := Options{MaxNewTokens: 40, Beams: Beams{Number: 3, LengthPenalty: 1, EarlyStopping: WhenImpossible}}
		short, long := prompt(5, 7), prompt(3, longest-2)
		together := generate(t, g, [][]int32{short, long}, o)
		for i, p := range [][]int32{short, long} {
			if alone := generate(t, g, [][]int32{p}, o)[0]; !reflect.DeepEqual(together[i], alone) {
				t.Errorf("prompt %d: found %+v beside the other, %+v alone", i, together[i], alone)
			}
		}
		if n, m := len(together[0].IDs), len(together[1].IDs); n != 40 || m != 2 || together[1].FinishReason != Length {
			t.Errorf("found %d tokens after %d, and %d after %d of %d", n, len(short), m, len(long), longest)
		}
	})
}
