package pretrained

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute/dtypes"
)

// Every float16 and bfloat16 is read as the number that its bits stand for.
func TestDecodeIsExact(t *testing.T) {
	for _, format := range []struct {
		dtype          string
		mantissa, bias int
	}{{"F16", 10, 15}, {"BF16", 7, 127}} {
		raw := make([]byte, 2<<16)
		for i := range 1 << 16 {
			binary.LittleEndian.PutUint16(raw[2*i:], uint16(i))
		}
		got, err := decode(raw, format.dtype)
		if err != nil {
			t.Fatal(err)
		}
		exponents := 1<<(15-format.mantissa) - 1
		for i, x := range got {
			fraction := float64(i & (1<<format.mantissa - 1))
			exponent := i >> format.mantissa & exponents
			want := math.Ldexp(fraction, 1-format.bias-format.mantissa)
			switch {
			case exponent == exponents && fraction != 0:
				want = math.NaN()
			case exponent == exponents:
				want = math.Inf(1)
			case exponent > 0:
				want = math.Ldexp(fraction+float64(int(1)<<format.mantissa), exponent-format.bias-format.mantissa)
			}
			if i>>15 == 1 {
				want = -want
			}
			if float64(x) != want && !(math.IsNaN(want) && math.IsNaN(float64(x))) {
				t.Fatalf("%s %#04x is read as %v, not %v", format.dtype, i, x, want)
			}
		}
	}
	if _, err := decode(make([]byte, 8), "I64"); err == nil {
		t.Error("integers are read as weights")
	}
}

// A number is written as the nearest bfloat16, and of two equally near as the even one.
func TestEncodeRounds(t *testing.T) {
	random := rand.New(rand.NewPCG(0, 0))
	values := []float32{0, 1, -1, 1 + 1.0/256, 1 + 3.0/256, -1 - 1.0/256, math.MaxFloat32, 1e-45, 1e-39, float32(math.Inf(1)), float32(math.Inf(-1))}
	for range 10000 {
		if x := math.Float32frombits(random.Uint32()); x == x {
			values = append(values, x)
		}
	}
	written, err := decode(encode(values, dtypes.BFloat16), "BF16")
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range values {
		got := math.Float32bits(written[i])
		low := math.Float32bits(x) &^ 0xffff
		high := low + 1<<16 // the next one away from zero; infinity after the largest
		toLow, toHigh := math.Float32bits(x)-low, high-math.Float32bits(x)
		want := low
		if toHigh < toLow || toHigh == toLow && high>>16&1 == 0 {
			want = high
		}
		if got != want {
			t.Errorf("%v (%#x) is written as %#x, not %#x", x, math.Float32bits(x), got, want)
		}
	}
	same, err := decode(encode(values, dtypes.Float32), "F32")
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range values {
		if same[i] != x {
			t.Errorf("%v is written as %v", x, same[i])
		}
	}
}
