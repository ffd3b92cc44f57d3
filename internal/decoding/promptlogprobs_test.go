package decoding

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// The probabilities of prompts are those that transformers computes its loss from, whatever the chunks, and also if a text that was
// read before begins like them.
func TestPromptLogProbs(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, family := range []string{"llama", "opt"} {
			raw, err := os.ReadFile("../../models/testdata/" + family + "-tiny/expected.json")
			must(t, err)
			var expected struct {
				Score []struct {
					InputIDs []int32 `json:"input_ids"`
					MeanNLL  float64 `json:"mean_nll"`
				}
			}
			must(t, json.Unmarshal(raw, &expected))
			g := open(t, d, family)
			for _, g.chunk = range []int{128, 32} {
				for i, record := range expected.Score {
					p := promptLogProbs(t, g, record.InputIDs)
					sum := 0.0
					for k, l := range p {
						if l.ID != record.InputIDs[1+k] {
							t.Fatalf("%s, record %d: token %d is %d, not %d", family, i, 1+k, l.ID, record.InputIDs[1+k])
						}
						sum -= float64(l.LogProb)
					}
					if mean := sum / float64(len(p)); len(p) != len(record.InputIDs)-1 || math.Abs(mean-record.MeanNLL) > 2e-5 {
						t.Errorf("%s in chunks of %d, record %d: mean %v of %d tokens, want %v of %d", family, g.chunk, i, mean, len(p), record.MeanNLL, len(record.InputIDs)-1)
					}
				}
			}
		}
	})
}

// promptLogProbs are those that a board tells of a prompt.
func promptLogProbs(t *testing.T, g *Generator, prompt []int32) []LogProb {
	t.Helper()
	b := g.NewBoard(1, nil)
	defer b.Close()
	return join(t, b, prompt, Options{MaxNewTokens: 1, PromptLogProbs: true}).PromptLogProbs
}

// What is told of a text when it is read is what was told when it was written, and the text beside it doesn't change.
func TestReadAsWritten(t *testing.T) {
	onBoth(t, func(t *testing.T, g *Generator) {
		if g.parameters.Config.EncoderDecoder() {
			if _, err := g.NewBoard(1, nil).Join(prompt(5, 7), Options{MaxNewTokens: 1, PromptLogProbs: true}); !errors.Is(err, ErrPromptLogProbs) {
				t.Errorf("a prompt that an encoder reads: error %v", err)
			}
			return
		}
		o := Options{MaxNewTokens: 24, LogProbs: true, Sampling: Sampling{Temperature: 2, Seed: 3}}
		for _, n := range []int{1, 8, 20} {
			before := prompt(5, n)
			written := generate(t, g, [][]int32{before}, o)[0]
			b := g.NewBoard(2, nil)
			beside := join(t, b, before, o)
			must(t, b.Write(3))
			text := slices.Concat(before, written.IDs)
			read := join(t, b, text, Options{MaxNewTokens: 1, PromptLogProbs: true}).PromptLogProbs
			if len(read) != len(text)-1 {
				t.Fatalf("%d probabilities of %d tokens", len(read), len(text))
			}
			for i, want := range written.LogProbs {
				got := read[n-1+i]
				same := slices.EqualFunc(got.Top, want.Top, func(a, b Alternative) bool {
					return math.Abs(float64(a.LogProb-b.LogProb)) < 1e-4
				})
				if got.ID != want.ID || math.Abs(float64(got.LogProb-want.LogProb)) > 1e-4 || got.Top[0].ID != want.Top[0].ID || !same {
					t.Errorf("after %d tokens, token %d: read %+v, written %+v", n, i, got, want)
				}
			}
			for beside.FinishReason == "" {
				must(t, b.Write(8))
			}
			if !slices.Equal(beside.IDs, written.IDs) {
				t.Errorf("after %d tokens, beside another: %v, alone %v", n, beside.IDs, written.IDs)
			}
			b.Close()
		}
	})
}
