package training

import (
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
