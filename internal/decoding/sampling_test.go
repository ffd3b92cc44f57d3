package decoding

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"
)

// golden are logits and what transformers makes of them (testdata/make_distributions.py).
type golden struct {
	Logits [][]float32
	Cases  []struct {
		Temperature   float64
		TopK          int     `json:"top_k"`
		TopP          float64 `json:"top_p"`
		Probabilities [][]float64
	}
}

func readGolden(t *testing.T) golden {
	t.Helper()
	raw, err := os.ReadFile("testdata/distributions.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// What is left to draw from has the probabilities that transformers gives it.
func TestDistribution(t *testing.T) {
	g := readGolden(t)
	for _, c := range g.Cases {
		s := Sampling{Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP}
		t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
			for row, logits := range g.Logits {
				got := make([]float64, len(logits))
				for _, token := range newDrawer(s, 0).distribution(logits) {
					got[token.id] = token.p
				}
				for id, want := range c.Probabilities[row] {
					if math.Abs(got[id]-want) > 1e-6 || (got[id] == 0) != (want == 0) && want > 1e-12 {
						t.Errorf("row %d: token %d has probability %v, transformers %v", row, id, got[id], want)
					}
				}
			}
		})
	}
}

// Tokens come as often as their probabilities say, the same for the same seed, and others for another seed or text.
func TestDraws(t *testing.T) {
	g := readGolden(t)
	const n = 20000
	for _, c := range g.Cases {
		s := Sampling{Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, Seed: 7}
		for row, logits := range g.Logits {
			d, counts := newDrawer(s, row), make([]float64, len(logits))
			for range n {
				counts[d.next(logits)]++
			}
			for id, want := range c.Probabilities[row] {
				// Five standard deviations.
				if got := counts[id] / n; math.Abs(got-want) > 5*math.Sqrt(want*(1-want)/n)+1e-9 {
					t.Errorf("%+v, row %d: token %d is drawn with frequency %v, its probability is %v", s, row, id, got, want)
				}
			}
		}
	}
	draw := func(seed uint64, text int) string {
		d := newDrawer(Sampling{Temperature: 1, Seed: seed}, text)
		ids := make([]int32, 32)
		for i := range ids {
			ids[i] = d.next(g.Logits[0])
		}
		return fmt.Sprint(ids)
	}
	if first := draw(1, 0); first != draw(1, 0) || first == draw(2, 0) || first == draw(1, 1) {
		t.Error("draws don't follow from seed and text")
	}
}

// Without a temperature the most likely token is taken, the first of equals.
func TestGreedy(t *testing.T) {
	for _, test := range []struct {
		logits []float32
		want   int32
	}{{[]float32{1, 3, 2}, 1}, {[]float32{-5, -7, -5}, 0}, {[]float32{2}, 0}} {
		if got := newDrawer(Sampling{TopK: 2, TopP: 0.1}, 0).next(test.logits); got != test.want {
			t.Errorf("%v: %d, want %d", test.logits, got, test.want)
		}
	}
}
