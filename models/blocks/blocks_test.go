package blocks

import (
	"encoding/binary"
	"encoding/json"
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

// array is an input of a computation.
type array struct {
	values any // []float32 or []int32
	dims   []int
}

// evaluate runs build on d and returns its outputs, all float32.
func evaluate(t *testing.T, d *device.Device, in []array, build func(g *Graph, in []*Node) []*Node) [][]float32 {
	t.Helper()
	var inputs []device.Input
	var buffers []*device.Buffer
	for _, a := range in {
		var b *device.Buffer
		var err error
		switch v := a.values.(type) {
		case []float32:
			b, err = d.UploadFloat32(v, a.dims...)
		case []int32:
			b, err = d.UploadInt32(v, a.dims...)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer b.Free()
		inputs, buffers = append(inputs, device.Input{Name: "in", Shape: b.Shape()}), append(buffers, b)
	}
	p, err := d.Compile("test", inputs, nil, build)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Finalize()
	out, err := p.Run(buffers)
	if err != nil {
		t.Fatal(err)
	}
	var results [][]float32
	for _, b := range out {
		v, err := b.Float32s()
		if err != nil {
			t.Fatal(err)
		}
		b.Free()
		results = append(results, v)
	}
	return results
}

func normal(seed uint64, n int) []float32 {
	random := rand.New(rand.NewPCG(seed, 0))
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(random.NormFloat64())
	}
	return v
}

func near(got float32, want, tolerance float64) bool {
	return math.Abs(float64(got)-want) <= tolerance*max(1, math.Abs(want))
}

// Distances fall into the buckets of transformers.
func TestBuckets(t *testing.T) {
	raw, err := os.ReadFile("testdata/buckets.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Buckets       int
		MaxDistance   int `json:"max_distance"`
		Bidirectional bool
		First         int
		Rows          []int32
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		b := NewRelativeBias(c.Buckets, 1, c.MaxDistance, c.Bidirectional, ConstantInit(0))
		for i, want := range c.Rows {
			if got := b.bucket(i - c.First); got != want {
				t.Errorf("%d buckets to %d, bidirectional %v: distance %d is in bucket %d, in transformers %d",
					c.Buckets, c.MaxDistance, c.Bidirectional, i-c.First, got, want)
			}
		}
	}
}

// The bias of a query over what came before it is the same alone as in the whole sequence, and every entry is its bucket's.
func TestRelativeBias(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		const buckets, heads, seq = 8, 3, 21
		table := normal(1, buckets*heads)
		for _, bidirectional := range []bool{true, false} {
			b := NewRelativeBias(buckets, heads, 12, bidirectional, ConstantInit(0))
			ages := []int32{0, 7, 3, seq - 1}
			out := evaluate(t, d, []array{{table, []int{buckets, heads}}, {ages, []int{1, len(ages)}}}, func(g *Graph, in []*Node) []*Node {
				b.Weight.Bind(in[0])
				return []*Node{b.Square(g, seq), b.Back(in[1])}
			})
			for h := range heads {
				for q := range seq {
					for k := range seq {
						want := table[int(b.bucket(k-q))*heads+h]
						if got := out[0][(h*seq+q)*seq+k]; got != want {
							t.Fatalf("head %d, query %d, key %d: %v, want %v", h, q, k, got, want)
						}
						if i := slices.Index(ages, int32(q-k)); i >= 0 {
							if got := out[1][h*len(ages)+i]; got != want {
								t.Fatalf("head %d, key %d before the query: %v, want %v", h, q-k, got, want)
							}
						}
					}
				}
			}
		}
	})
}

// Attention with grouped heads, a mask and a bias is the textbook's sum; a query that sees nothing is no NaN.
func TestAttend(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		const batch, query, key, heads, kvHeads, headDim, scale = 2, 3, 5, 4, 2, 6, 0.3
		q, k, v := normal(1, batch*query*heads*headDim), normal(2, batch*key*kvHeads*headDim), normal(3, batch*key*kvHeads*headDim)
		bias := normal(4, heads*query*key)
		lengths := []int32{3, 0}
		out := evaluate(t, d, []array{
			{q, []int{batch, query, heads, headDim}}, {k, []int{batch, key, kvHeads, headDim}}, {v, []int{batch, key, kvHeads, headDim}},
			{bias, []int{1, heads, query, key}}, {lengths, []int{batch}},
		}, func(_ *Graph, in []*Node) []*Node {
			return []*Node{Attend(in[0], in[1], in[2], Attention{Scale: scale, Mask: Within(in[4], key), Bias: in[3]}, nil)}
		})[0]
		for b := range batch {
			seen := int(lengths[b])
			for i := range query {
				for h := range heads {
					of := func(x []float32, at, head, heads, n int) []float32 {
						from := ((b*n+at)*heads + head) * headDim
						return x[from : from+headDim]
					}
					var weights [key]float64
					total := 0.0
					for j := range key {
						score := 0.0
						for e := range headDim {
							score += float64(of(q, i, h, heads, query)[e]) * float64(of(k, j, h/(heads/kvHeads), kvHeads, key)[e])
						}
						weights[j] = math.Exp(score*scale + float64(bias[(h*query+i)*key+j]))
						if seen == 0 {
							weights[j] = 1
						} else if j >= seen {
							weights[j] = 0
						}
						total += weights[j]
					}
					for e := range headDim {
						want := 0.0
						for j := range key {
							want += weights[j] / total * float64(of(v, j, h/(heads/kvHeads), kvHeads, key)[e])
						}
						if got := of(out, i, h, heads, query)[e]; !near(got, want, 1e-5) {
							t.Fatalf("row %d, query %d, head %d: %v, want %v", b, i, h, got, want)
						}
					}
				}
			}
		}
	})
}

// Dropout drops the share that it is told to, keeps the mean, draws anew each time, and does nothing outside training.
func TestDropout(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		const n, rate = 20000, 0.3
		ones := make([]float32, n)
		for i := range ones {
			ones[i] = 1
		}
		key := shapes.Make(dtypes.Uint32)
		random, err := d.Upload(key, binary.LittleEndian.AppendUint32(nil, 7))
		if err != nil {
			t.Fatal(err)
		}
		x, err := d.UploadFloat32(ones, n)
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.Compile("dropout", []device.Input{{Name: "x", Shape: shapes.Make(dtypes.Float32, n)}, {Name: "random", Shape: key}}, nil,
			func(_ *Graph, in []*Node) []*Node {
				training := &Training{Random: in[1]}
				if training.Dropout(in[0], 0) != in[0] || (*Training)(nil).Dropout(in[0], rate) != in[0] {
					t.Error("there is dropout at rate 0 or outside training")
				}
				return []*Node{training.Dropout(in[0], rate), training.Dropout(in[0], rate)}
			})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Finalize()
		out, err := p.Run([]*device.Buffer{x, random})
		if err != nil {
			t.Fatal(err)
		}
		first, err := out[0].Float32s()
		if err != nil {
			t.Fatal(err)
		}
		second, err := out[1].Float32s()
		if err != nil {
			t.Fatal(err)
		}
		dropped, both := 0, 0
		for i, v := range first {
			switch {
			case v == 0:
				dropped++
				if second[i] == 0 {
					both++
				}
			case !near(v, 1/(1-rate), 1e-6):
				t.Fatalf("what is kept is scaled to %v", v)
			}
		}
		// Five standard deviations.
		if got := float64(dropped) / n; math.Abs(got-rate) > 5*math.Sqrt(rate*(1-rate)/n) {
			t.Errorf("%v are dropped, want %v", got, rate)
		}
		if got := float64(both) / n; math.Abs(got-rate*rate) > 5*math.Sqrt(rate*rate*(1-rate*rate)/n) {
			t.Errorf("%v are dropped twice, want %v of two independent draws", got, rate*rate)
		}
	})
}

// Projections whose weights are joined make of x what they make of it by themselves, biases and low-rank updates included.
func TestTogether(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		const in, rank = 6, 2
		outs := []int{8, 4, 2}
		for _, rows := range []int{1, 3, 20} {
			arrays := []array{{normal(1, rows*in), []int{rows, in}}, {normal(2, (8+4+2)*in), []int{8 + 4 + 2, in}}}
			for i, out := range outs {
				seed := uint64(10 * (i + 1))
				arrays = append(arrays, array{normal(seed, out), []int{out}}, array{normal(seed+1, rank*in), []int{rank, in}},
					array{normal(seed+2, out*rank), []int{out, rank}})
			}
			results := evaluate(t, d, arrays, func(_ *Graph, nodes []*Node) []*Node {
				project := func(joined bool) []*Node {
					var projections []*Linear
					from := 0
					for i, out := range outs {
						l := NewLinear(in, out, true, ConstantInit(0))
						l.LoRA = NewLoRA(&l, rank, 1, 0)
						l.Weight.Bind(SliceAxis(nodes[1], 0, AxisRange(from, from+out)))
						for k, w := range []*Weight{l.Bias, l.LoRA.A, l.LoRA.B} {
							w.Bind(nodes[2+3*i+k])
						}
						projections, from = append(projections, &l), from+out
					}
					Join(projections...)
					if joined {
						projections[0].Weight.Joint.Bind(nodes[1])
					}
					return Together(nodes[0], nil, projections...)
				}
				return append(project(false), project(true)...)
			})
			for i := range outs {
				for k, want := range results[i] {
					if got := results[len(outs)+i][k]; !near(got, float64(want), 1e-5) {
						t.Fatalf("%d rows, projection %d: %v together, %v alone", rows, i, got, want)
					}
				}
			}
		}
	})
}
