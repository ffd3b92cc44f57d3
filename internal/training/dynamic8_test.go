package training

import (
	"math"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// numbers are those of testdata/make_bitsandbytes.py.
func numbers(size, seed int) []float32 {
	values := make([]float32, size)
	for i := range values {
		x := (i*7919 + seed*104729) % 10007
		values[i] = float32(float64(x-5003) / 5003 * math.Exp2(-float64(x%13)))
	}
	return values
}

// quantized returns the codes and the scales of x.
func quantized(t *testing.T, d *device.Device, of dynamic, x []float32) (codes []byte, scales []float32) {
	t.Helper()
	p, err := d.Compile("quantize", []device.Input{{Name: "x", Shape: shapes.Make(dtypes.Float32, len(x))}}, nil, func(_ *Graph, in []*Node) []*Node {
		scales := largest(in[0])
		return []*Node{of.quantize(in[0], scales), scales}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Finalize()
	in, err := d.UploadFloat32(x, len(x))
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.Run([]*device.Buffer{in})
	if err != nil {
		t.Fatal(err)
	}
	scales, err = out[1].Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return contents(t, out[:1])[0], scales
}

// The codes stand for the numbers that they stand for in bitsandbytes, and numbers get the nearest of them.
func TestDynamicMap(t *testing.T) {
	var golden struct {
		Maps struct{ Signed, Unsigned []float32 }
	}
	readJSON(t, "testdata/bitsandbytes.json", &golden)
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, m := range []struct {
			of   dynamic
			want []float32
		}{{signed, golden.Maps.Signed}, {unsigned, golden.Maps.Unsigned}} {
			p, err := d.Compile("map", []device.Input{{Name: "codes", Shape: shapes.Make(dtypes.Uint8, block)}}, nil, func(g *Graph, in []*Node) []*Node {
				return []*Node{m.of.dequantize(in[0], Ones(g, shapes.Make(dtypes.Float32, 1)))}
			})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Finalize()
			all := make([]byte, block)
			for i := range all {
				all[i] = byte(i)
			}
			in, err := d.Upload(shapes.Make(dtypes.Uint8, block), all)
			if err != nil {
				t.Fatal(err)
			}
			out, err := p.Run([]*device.Buffer{in})
			if err != nil {
				t.Fatal(err)
			}
			got, err := out[0].Float32s()
			if err != nil {
				t.Fatal(err)
			}
			for i, w := range m.want {
				if math.Abs(float64(got[i]-w)) > 1e-6*math.Abs(float64(w)) {
					t.Errorf("%+v: code %d is %v, in bitsandbytes %v", m.of, i, got[i], w)
				}
			}

			// Just on this side of the middle between two numbers, and just on the other.
			var between []float32
			for i := range m.want[1:] {
				a, b := m.want[i], m.want[i+1]
				between = append(between, a+0.499*(b-a), a+0.501*(b-a))
			}
			var codes []byte
			for i := 0; i < len(between); i += block - 2 {
				x := append(make([]float32, 0, block), between[i:min(i+block-2, len(between))]...)
				x = append(x, 1, 0)
				part, scales := quantized(t, d, m.of, x)
				if scales[0] != 1 {
					t.Fatalf("the scale of a block with 1 in it is %v", scales[0])
				}
				codes = append(codes, part[:len(x)-2]...)
			}
			for k, code := range codes {
				if want := (k + 1) / 2; int(code) != want {
					t.Errorf("%+v: %v has code %d, want %d", m.of, between[k], code, want)
				}
			}
		}
	})
}

// Arrays have the codes and scales that bitsandbytes gives them.
func TestQuantize(t *testing.T) {
	var golden struct {
		Arrays []struct {
			Signed bool
			Codes  []int
			Absmax []float32
		}
	}
	readJSON(t, "testdata/bitsandbytes.json", &golden)
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, c := range golden.Arrays {
			x := numbers(5*block, 1)
			clear(x[block : 2*block])
			if !c.Signed {
				for i := range x {
					x[i] *= x[i]
				}
			}
			codes, scales := quantized(t, d, dynamic{c.Signed}, x)
			for i, want := range c.Absmax {
				if scales[i] != want {
					t.Errorf("signed %v: block %d has scale %v, in bitsandbytes %v", c.Signed, i, scales[i], want)
				}
			}
			for i, want := range c.Codes {
				if int(codes[i]) != want {
					t.Errorf("signed %v: %v has code %d, in bitsandbytes %d", c.Signed, x[i], codes[i], want)
				}
			}
		}
	})
}

// Weights go where bitsandbytes' AdamW8bit takes them.
func TestAdamW8(t *testing.T) {
	var golden struct {
		Steps struct {
			LR    float64
			Betas []float64
			Eps   float64
			Decay float64 `json:"weight_decay"`
			Every int
			Cases []struct {
				Shape   []int
				Eight   bool
				Weights [][]float32
			}
		}
	}
	readJSON(t, "testdata/bitsandbytes.json", &golden)
	g := golden.Steps
	optim := configs.Optim{Kind: "adamw8bit", LR: g.LR, Beta1: g.Betas[0], Beta2: g.Betas[1], Eps: g.Eps, WeightDecay: g.Decay}
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, c := range g.Cases {
			size := shapes.Make(dtypes.Float32, c.Shape...).Size()
			w := newOptimization(t, d, optim, c.Shape, numbers(size, 2))
			if eight := w.buffers[1].Shape().DType == dtypes.Uint8; eight != c.Eight {
				t.Errorf("%v: moments of 8 bits: %v, in bitsandbytes %v", c.Shape, eight, c.Eight)
			}
			for step, want := range c.Weights {
				got := w.step(numbers(size, 3+step), g.LR, step+1)
				for i, x := range want {
					if diff := math.Abs(float64(got[i*g.Every] - x)); diff > 1e-6*math.Abs(float64(x))+1e-5*g.LR*float64(step+1) {
						t.Errorf("%v, step %d, element %d: %v, in bitsandbytes %v", c.Shape, step+1, i*g.Every, got[i*g.Every], x)
					}
				}
			}
		}
	})
}

// The distance from a solution falls as with exact moments, where directions differ in steepness by four orders of
// magnitude between blocks, and by one inside of each.
func TestAdamW8FollowsAdamW(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	const rows, columns, steps, rate = 64, 64, 200, 0.02
	distances := func(kind string) (all []float64) {
		c := configs.Optim{Kind: kind, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}
		w := make([]float32, rows*columns)
		o := newOptimization(t, d, c, []int{rows, columns}, w)
		goal := numbers(len(w), 1)
		for step := 1; step <= steps; step++ {
			gradient, noise := make([]float32, len(w)), numbers(len(w), step)
			distance := 0.0
			for i := range w {
				steep := float32(math.Pow(10, -4*float64(i/columns)/rows-float64(i%columns)/columns))
				gradient[i] = steep * (w[i] - goal[i] + 0.1*noise[i])
				distance += float64((w[i]-goal[i])*(w[i]-goal[i])) / float64(len(w))
			}
			all = append(all, math.Sqrt(distance))
			w = o.step(gradient, rate*(1-float64(step)/steps), step)
		}
		return all
	}
	exact, eight := distances("adamw"), distances("adamw8bit")
	if last := exact[steps-1]; last > exact[0]/10 {
		t.Fatalf("AdamW goes from %v to %v only", exact[0], last)
	}
	for i, x := range exact {
		if math.Abs(eight[i]-x) > 0.02*x+0.01*exact[0] {
			t.Errorf("step %d: at a distance of %v, with exact moments %v", i, eight[i], x)
		}
	}
	t.Logf("from %v to %v, with exact moments %v", exact[0], eight[steps-1], exact[steps-1])
}
