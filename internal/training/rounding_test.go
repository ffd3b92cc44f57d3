package training

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// rounded is x after a program that makes something of it in float32 and rounds that to bfloat16, a number of times.
type rounded struct {
	t       *testing.T
	device  *device.Device
	program *device.Program
}

func newRounded(t *testing.T, d *device.Device, n, number int, change func(x *Node) *Node) rounded {
	t.Helper()
	inputs := []device.Input{{Name: "x", Shape: shapes.Make(dtypes.Float32, n)}, {Name: "key", Shape: shapes.Make(dtypes.Uint32)}}
	p, err := d.Compile("round", inputs, nil, func(g *Graph, in []*Node) []*Node {
		stored := Zeros(g, shapes.Make(dtypes.BFloat16, n))
		return []*Node{to32(rounding{in[1]}.like(change(in[0]), stored, number))}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Finalize)
	return rounded{t, d, p}
}

func (r rounded) of(x []float32, key uint32) []float32 {
	r.t.Helper()
	in, err := r.device.UploadFloat32(x, len(x))
	if err != nil {
		r.t.Fatal(err)
	}
	defer in.Free()
	k, err := r.device.Upload(shapes.Make(dtypes.Uint32), binary.LittleEndian.AppendUint32(nil, key))
	if err != nil {
		r.t.Fatal(err)
	}
	defer k.Free()
	out, err := r.program.Run([]*device.Buffer{in, k})
	if err != nil {
		r.t.Fatal(err)
	}
	defer out[0].Free()
	values, err := out[0].Float32s()
	if err != nil {
		r.t.Fatal(err)
	}
	return values
}

func unchanged(x *Node) *Node { return x }

// A number becomes one of its two neighbours in bfloat16, and their mean is the number.
func TestRoundingIsUnbiased(t *testing.T) {
	const n = 1 << 14
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for number := range 2 {
			r := newRounded(t, d, n, number, unchanged)
			for _, v := range []float32{1.001, -1.001, 1.0039, -3.1415927, 1e-20, 6.5e-5, 1.2345e30, 1 + 1.0/(1<<15)} {
				x := make([]float32, n)
				for i := range x {
					x[i] = v
				}
				below := math.Float32frombits(math.Float32bits(v) &^ 0xffff) // towards zero
				above := math.Float32frombits(math.Float32bits(below) + 1<<16)
				share := float64(v-below) / float64(above-below)
				away := 0
				for _, got := range r.of(x, math.Float32bits(v)) {
					switch got {
					case above:
						away++
					case below:
					default:
						t.Fatalf("%v becomes %v, want %v or %v", v, got, below, above)
					}
				}
				if sigma := math.Sqrt(n * share * (1 - share)); math.Abs(float64(away)-n*share) > 4*sigma+1 {
					t.Errorf("%v becomes %v %d times of %d, want %.0f with a deviation of %.0f", v, above, away, n, n*share, sigma)
				}
			}
		}
	})
}

// What bfloat16 can hold stays as it is, and what isn't a number stays that.
func TestRoundingKeeps(t *testing.T) {
	x := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 1.0078125, 256, -0.15625, math.Float32frombits(0x00010000), math.Float32frombits(0x7f7f0000),
		float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), math.Float32frombits(0x7fffffff)}
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		r := newRounded(t, d, len(x), 0, unchanged)
		for key := range uint32(50) {
			for i, got := range r.of(x, key) {
				if math.Float32bits(got) != math.Float32bits(x[i]) && !(math.IsNaN(float64(got)) && math.IsNaN(float64(x[i]))) {
					t.Errorf("key %d: %v (%08x) becomes %v (%08x)", key, x[i], math.Float32bits(x[i]), got, math.Float32bits(got))
				}
			}
		}
	})
}

// Weights of 1 that a step changes by 1e-4 go where they go in float32, where rounding to the nearest leaves them.
func TestRoundingLosesNoUpdates(t *testing.T) {
	const n, steps, update = 2000, 100, 1e-4
	d := devicetest.Open(t, device.Go)
	r := newRounded(t, d, n, 0, func(x *Node) *Node { return AddScalar(x, -update) })
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	for step := range steps {
		x = r.of(x, randomKey(1, step, roundingPart))
	}
	mean, square := 0.0, 0.0
	for _, v := range x {
		mean += float64(v) / n
	}
	for _, v := range x {
		square += (float64(v) - mean) * (float64(v) - mean) / n
	}
	// Below 1 a step of bfloat16 is 2^-8, and a weight takes each with probability p.
	const ulp = 1.0 / 256
	p := update / ulp
	deviation := ulp * math.Sqrt(steps*p*(1-p))
	if want := 1 - steps*update; math.Abs(mean-want) > 4*deviation/math.Sqrt(n) {
		t.Errorf("the mean is %v, want %v", mean, want)
	}
	if got := math.Sqrt(square); math.Abs(got/deviation-1) > 0.1 { // independent from step to step and weight to weight
		t.Errorf("weights deviate by %v, want %v", got, deviation)
	}
}

// Neighbours, the halves of one hash, arrays and keys have nothing to do with each other, and devices agree to the bit.
func TestRandomBits(t *testing.T) {
	const n = 1 << 14
	draw := func(d *device.Device) [][]float32 {
		var all [][]float32
		for number := range 4 {
			p, err := d.Compile("bits", []device.Input{{Name: "key", Shape: shapes.Make(dtypes.Uint32)}}, nil, func(g *Graph, in []*Node) []*Node {
				return []*Node{to32(rounding{in[0]}.random(shapes.Make(dtypes.Float32, n/128, 128), number))}
			})
			if err != nil {
				t.Fatal(err)
			}
			for key := range uint32(3) {
				k, err := d.Upload(shapes.Make(dtypes.Uint32), binary.LittleEndian.AppendUint32(nil, key))
				if err != nil {
					t.Fatal(err)
				}
				out, err := p.Run([]*device.Buffer{k})
				if err != nil {
					t.Fatal(err)
				}
				values, err := out[0].Float32s()
				if err != nil {
					t.Fatal(err)
				}
				k.Free()
				out[0].Free()
				all = append(all, values)
			}
			p.Finalize()
		}
		return all
	}
	all := draw(devicetest.Open(t, device.Go))
	correlation := func(a, b []float32) float64 {
		sum := 0.0
		for i := range a {
			sum += (float64(a[i])/65535 - 0.5) * (float64(b[i])/65535 - 0.5)
		}
		return 12 * sum / float64(len(a)) // a uniform number in a unit deviates by the root of a twelfth
	}
	limit := 5 / math.Sqrt(n)
	for i, a := range all {
		for _, v := range a {
			if v < 0 || v > 0xffff {
				t.Fatalf("a random number is %v", v)
			}
		}
		for lag := 1; lag <= 128; lag *= 2 {
			if c := correlation(a[lag:], a[:n-lag]); math.Abs(c) > limit {
				t.Errorf("array %d: numbers %d apart correlate by %v", i, lag, c)
			}
		}
		for j, b := range all[:i] {
			if c := correlation(a, b); math.Abs(c) > limit {
				t.Errorf("arrays %d and %d correlate by %v", i, j, c)
			}
		}
	}
	if other := draw(devicetest.Open(t, device.CPU)); !reflect.DeepEqual(all, other) {
		t.Error("XLA and the Go backend draw other numbers")
	}
}

// A step in bfloat16 follows from seed and step, and moments are kept on average, as is their thousandth a step.
func TestStepInBFloat16(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	r := start(t, d, config(t, "llama", append(short, "model.precision=bf16")...))
	s := r.stepper
	b := batch(t, r, 2)
	before := download(t, s)
	after := func(step int, seed uint64) state {
		s.restoreTo(t, before)
		if _, err := s.run(b, 2, 1e-3, step, seed); err != nil {
			t.Fatal(err)
		}
		return download(t, s)
	}
	one := after(1, 1)
	if !reflect.DeepEqual(after(1, 1), one) {
		t.Error("the same step ends in two states")
	}
	for _, other := range []state{after(2, 1), after(1, 2)} {
		// Moments don't depend on the step's number but for rounding.
		if reflect.DeepEqual(other.slots, one.slots) {
			t.Error("another step or seed rounds the same")
		}
	}

	s.restoreTo(t, before)
	var first []byte
	means := func() []byte {
		var all [][]byte
		for i, in := range s.stateInputs() {
			if in.Shape.DType != dtypes.BFloat16 {
				t.Fatalf("%s is %s", in.Name, in.Shape)
			}
			if strings.HasPrefix(in.Name, "exp_avg_sq.") {
				all = append(all, contents(t, s.state[i:i+1])...)
			}
		}
		return bytes.Join(all, nil)
	}
	for step := 1; step <= 5; step++ { // at rate 0 the gradient stays
		if _, err := s.run(b, 2, 0, step, 0); err != nil {
			t.Fatal(err)
		}
		if step == 1 {
			first = means()
		}
	}
	ratio, n := 0.0, 0.0
	last := means()
	half := func(raw []byte) float64 {
		return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw)) << 16))
	}
	for at := 0; at < len(last); at += 2 {
		if one := half(first[at:]); one > 1e-20 {
			ratio, n = ratio+half(last[at:])/one, n+1
		}
	}
	if want := (1 - math.Pow(0.999, 5)) / (1 - 0.999); math.Abs(ratio/n/want-1) > 1e-3 {
		t.Errorf("after five steps means of squares are %v times the first, want %v", ratio/n, want)
	}
}
