package training

import (
	"math"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// In bfloat16 a model learns its eight records as in float32, and with float32 weights its losses stay close.
func TestPrecision(t *testing.T) {
	d := devicetest.Open(t, device.CPU)
	trained := map[string][]float64{}
	for _, precision := range []string{"float32", "mixed", "bf16"} {
		r := start(t, d, config(t, "llama", append(short, "run.batch_size=8", "run.steps=20", "model.precision="+precision)...))
		b := batch(t, r, 8)
		for step := 1; step <= 20; step++ {
			o, err := r.stepper.run(b, 8, 1e-3, step, 0)
			if err != nil {
				t.Fatal(err)
			}
			trained[precision] = append(trained[precision], float64(o.loss))
		}
		first, last := trained[precision][0], trained[precision][19]
		t.Logf("%s: %.4f to %.4f, at most %.2g from float32", precision, first, last, worst(trained["float32"], trained[precision]))
		if !(last < 0.8*first) {
			t.Errorf("%s: the loss goes from %v to %v only", precision, first, last)
		}
		checkInPlace(t, r.stepper)
	}
	if diff := worst(trained["float32"], trained["mixed"]); diff > 0.02 {
		t.Errorf("losses %v, mixed %v: they differ by %.2g", trained["float32"], trained["mixed"], diff)
	}
}

// A mean of squared gradients moves by a thousandth a step, which bfloat16 would round away.
func TestSecondMomentsAreExact(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	r := start(t, d, config(t, "llama", append(short, "model.precision=bf16")...))
	s := r.stepper
	b := batch(t, r, 2)
	means := func() [][]byte {
		var all [][]byte
		for i, in := range s.stateInputs() {
			if strings.HasPrefix(in.Name, "exp_avg_sq.") {
				all = append(all, contents(t, s.state[i:i+1])...)
			}
		}
		return all
	}
	var first [][]byte
	for step := 1; step <= 5; step++ { // at rate 0 the gradient stays
		if _, err := s.run(b, 2, 0, step, 0); err != nil {
			t.Fatal(err)
		}
		if step == 1 {
			first = means()
		}
	}
	want := (1 - math.Pow(0.999, 5)) / (1 - 0.999)
	for i, now := range means() {
		for at := 0; at < len(now); at += 4 {
			if one := float64(number(first[i][at:])); one > 1e-20 && math.Abs(float64(number(now[at:]))/one-want) > 1e-3 {
				t.Fatalf("after five steps a mean is %v times the first, want %v", float64(number(now[at:]))/one, want)
			}
		}
	}
}
