package decoding

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// golden are logits after tokens and what transformers makes of them (testdata/make_distributions.py).
type golden struct {
	Logits  [][]float32
	Tokens  [][]int32
	Written int
	EOS     int
	Cases   []goldenCase
}

type goldenCase struct {
	Temperature   float64
	TopK          int     `json:"top_k"`
	TopP          float64 `json:"top_p"`
	MinP          float64 `json:"min_p"`
	TypicalP      float64 `json:"typical_p"`
	Repetition    float64 `json:"repetition_penalty"`
	NGram         int     `json:"no_repeat_ngram_size"`
	Minimum       int     `json:"min_new_tokens"`
	Probabilities [][]float64
}

func (c goldenCase) options() Options {
	return Options{
		MaxNewTokens: 10, MinNewTokens: c.Minimum,
		Sampling:  Sampling{Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, MinP: c.MinP, TypicalP: c.TypicalP},
		Penalties: Penalties{Repetition: c.Repetition, NoRepeatNGram: c.NGram},
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

// choice runs what choose does on logits after tokens, of which some were written, with a key for each row.
func choice(t *testing.T, d *device.Device, g golden, o Options, keys []uint32, do func(r *rows, logits *Node, f features, newest, length *Node) *Node) *device.Buffer {
	t.Helper()
	n, vocab, f := len(g.Logits), len(g.Logits[0]), o.features()
	length := len(g.Tokens[0])
	room := length + 4
	const start = 7 // slot of the oldest token, so that the ring is closed among them
	var settingsOf, logits []float32
	counts, history := make([]int32, n*vocab), make([]int32, n*room)
	seen := make([]bool, n*vocab)
	for i, tokens := range g.Tokens {
		settingsOf, logits = append(settingsOf, o.row(o.MaxNewTokens)...), append(logits, g.Logits[i]...)
		for j, id := range tokens {
			history[i*room+(start+j)%room] = id
			if j < length-g.Written {
				seen[i*vocab+int(id)] = true
			} else {
				counts[i*vocab+int(id)]++
			}
		}
	}
	var inputs []device.Input
	var buffers []*device.Buffer
	add := func(name string, values any, dtype dtypes.DType, dims ...int) {
		shape := shapes.Make(dtype, dims...)
		b, err := d.Upload(shape, littleEndian(values))
		if err != nil {
			t.Fatal(err)
		}
		inputs, buffers = append(inputs, device.Input{Name: name, Shape: shape}), append(buffers, b)
	}
	written := slices.Repeat([]int32{int32(g.Written)}, n)
	add("logits", logits, dtypes.Float32, n, vocab)
	add("settings", settingsOf, dtypes.Float32, n, settings)
	add("key", keys, dtypes.Uint32, n)
	add("written", written, dtypes.Int32, n)
	add("counts", counts, dtypes.Int32, n, vocab)
	add("history", history, dtypes.Int32, n, room)
	add("seen", seen, dtypes.Bool, n, vocab)
	add("newest", int32((start+length-1)%room), dtypes.Int32)
	add("length", slices.Repeat([]int32{int32(length)}, n), dtypes.Int32, n)
	p, err := d.Compile("choice", inputs, nil, func(_ *Graph, in []*Node) []*Node {
		r := &rows{settings: in[1], key: in[2], written: in[3], counts: in[4], history: in[5], seen: in[6]}
		return []*Node{do(r, in[0], f, in[7], in[8])}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Finalize()
	out, err := p.Run(buffers)
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

// What is left to draw from has the probabilities that transformers gives it.
func TestDistributions(t *testing.T) {
	g := readGolden(t)
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, c := range g.Cases {
			o := c.options()
			t.Run(fmt.Sprintf("%+v%+v", o.Sampling, o.Penalties), func(t *testing.T) {
				out := choice(t, d, g, o, make([]uint32, len(g.Logits)), func(r *rows, logits *Node, f features, newest, length *Node) *Node {
					return Softmax(r.filter(r.process(logits, f, []int{g.EOS}, newest, length), f), -1)
				})
				probabilities, err := out.Float32s()
				if err != nil {
					t.Fatal(err)
				}
				for row, want := range c.Probabilities {
					for id, p := range want {
						if got := float64(probabilities[row*len(want)+id]); math.Abs(got-p) > 1e-6 || (got == 0) != (p == 0) && p > 1e-12 {
							t.Errorf("row %d: token %d has probability %v, transformers %v", row, id, got, p)
						}
					}
				}
			})
		}
	})
}

// Presence and frequency count what was written, and not the prompt.
func TestOpenAIPenalties(t *testing.T) {
	g := readGolden(t)
	o := Options{MaxNewTokens: 10, Penalties: Penalties{Presence: 0.5, Frequency: 0.25}}
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		got, err := choice(t, d, g, o, make([]uint32, len(g.Logits)), func(r *rows, logits *Node, f features, newest, length *Node) *Node {
			return r.process(logits, f, nil, newest, length)
		}).Float32s()
		if err != nil {
			t.Fatal(err)
		}
		for row, logits := range g.Logits {
			counts := map[int32]float32{}
			for _, id := range g.Tokens[row][len(g.Tokens[row])-g.Written:] {
				counts[id]++
			}
			for id, want := range logits {
				if n := counts[int32(id)]; n > 0 {
					want -= 0.5 + 0.25*n
				}
				if x := got[row*len(logits)+id]; math.Abs(float64(x-want)) > 1e-6 {
					t.Errorf("row %d: token %d has the logit %v, want %v", row, id, x, want)
				}
			}
		}
	})
}

// Tokens come as often as their probabilities say, the same for the same key, and others for another.
func TestDraws(t *testing.T) {
	g := readGolden(t)
	const n = 4000
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, c := range []goldenCase{g.Cases[0], g.Cases[8], g.Cases[15]} {
			for row, logits := range g.Logits {
				many := golden{Logits: slices.Repeat([][]float32{logits}, n), Tokens: slices.Repeat(g.Tokens[row:row+1], n), Written: g.Written}
				var keys []uint32
				for i := range n {
					keys = append(keys, Sampling{Seed: 7}.key(i%(n/2)))
				}
				drawn, err := choice(t, d, many, c.options(), keys, func(r *rows, logits *Node, f features, newest, length *Node) *Node {
					return r.pick(logits, f)
				}).Int32s()
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(drawn[:n/2], drawn[n/2:]) {
					t.Error("the same keys draw other tokens")
				}
				counts := make([]float64, len(logits))
				for _, id := range drawn[:n/2] {
					counts[id]++
				}
				for id, want := range c.Probabilities[row] {
					// Five standard deviations.
					if got := counts[id] / (n / 2); math.Abs(got-want) > 5*math.Sqrt(want*(1-want)/(n/2))+1e-9 {
						t.Errorf("%+v, row %d: token %d is drawn with frequency %v, its probability is %v", c.options().Sampling, row, id, got, want)
					}
				}
			}
		}
	})
}

// The likeliest of many scores come in the order of a stable sort, where all but a few are impossible, too.
func TestLikeliest(t *testing.T) {
	const rows, vocab, n = 3, 10007, 6
	random := rand.New(rand.NewPCG(1, 2))
	scores := make([]float32, rows*vocab)
	for i := range scores {
		scores[i] = float32(random.IntN(3000)) // so that some are equal
		if i >= 2*vocab && i%4000 > 0 {
			scores[i] = float32(math.Inf(-1))
		}
	}
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		p, err := d.Compile("likeliest", []device.Input{{Name: "scores", Shape: shapes.Make(dtypes.Float32, rows, vocab)}}, nil,
			func(_ *Graph, in []*Node) []*Node {
				best, at := likeliest(in[0], n)
				return []*Node{best, at}
			})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Finalize)
		in, err := d.UploadFloat32(scores, rows, vocab)
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.Run([]*device.Buffer{in})
		if err != nil {
			t.Fatal(err)
		}
		best, err := out[0].Float32s()
		if err != nil {
			t.Fatal(err)
		}
		at, err := out[1].Int32s()
		if err != nil {
			t.Fatal(err)
		}
		for row := range rows {
			of := scores[row*vocab:][:vocab]
			places := make([]int32, vocab)
			for i := range places {
				places[i] = int32(i)
			}
			slices.SortStableFunc(places, func(a, b int32) int { return cmp.Compare(of[b], of[a]) })
			for i, place := range places[:n] {
				if got := row*n + i; best[got] != of[place] || !math.IsInf(float64(of[place]), -1) && at[got] != place {
					t.Errorf("row %d: number %d is %v at %d, want %v at %d", row, i, best[got], at[got], of[place], place)
				}
			}
		}
	})
}
