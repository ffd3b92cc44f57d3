package decoding

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// A search finds the texts that transformers finds (testdata/make_beams.py), whatever ends it.
func TestSearch(t *testing.T) {
	raw, err := os.ReadFile("testdata/beams.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Prompts [][]int32
		Cases   []struct {
			Beams         int
			EarlyStopping string  `json:"early_stopping"`
			LengthPenalty float64 `json:"length_penalty"`
			EOS           []int
			IDs           [][]int32
		}
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		g := open(t, d, "llama")
		for _, c := range golden.Cases {
			b := Beams{Number: c.Beams, EarlyStopping: EarlyStopping(c.EarlyStopping), LengthPenalty: c.LengthPenalty}
			t.Run(fmt.Sprintf("%+v %v", b, c.EOS), func(t *testing.T) {
				texts := generate(t, g, golden.Prompts, Options{MaxNewTokens: 12, EOS: c.EOS, Beams: b})
				for i, want := range c.IDs {
					if !slices.Equal(texts[i].IDs, want) {
						t.Errorf("prompt %d: found %v, transformers %v", i, texts[i].IDs, want)
					}
				}
			})
		}
	})
}
