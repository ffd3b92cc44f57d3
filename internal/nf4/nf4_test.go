package nf4_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/longform-go/longform/internal/nf4"
)

// Codes, scales and decoded numbers are those of bitsandbytes, bit for bit (testdata/make_nf4.py).
func TestAsBitsandbytes(t *testing.T) {
	raw, err := os.ReadFile("testdata/nf4.json")
	if err != nil {
		t.Fatal(err)
	}
	var expected struct {
		Levels []float32
		Cases  map[string]struct {
			Values, Absmax, Decoded []float32
			Codes                   []uint16
		}
	}
	if err := json.Unmarshal(raw, &expected); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(nf4.Levels[:], expected.Levels) {
		t.Errorf("levels %v, want %v", nf4.Levels, expected.Levels)
	}
	for name, want := range expected.Cases {
		codes, absmax := nf4.Encode(want.Values)
		if !slices.Equal(absmax, want.Absmax) {
			t.Errorf("%s: absmax %v, want %v", name, absmax, want.Absmax)
		}
		for i, c := range want.Codes {
			if codes[i] != byte(c) {
				t.Errorf("%s: codes of %v and %v are %#x, want %#x", name, want.Values[2*i], want.Values[2*i+1], codes[i], c)
			}
		}
		// Only the rest of the last block has no counterpart.
		if n := len(want.Codes); len(codes) != nf4.Blocks(len(want.Values))*nf4.BlockSize/2 || !bytes.Equal(codes[n:], make([]byte, len(codes)-n)) {
			t.Errorf("%s: %d codes, want %d and zeros to the end of the block", name, len(codes), n)
		}
		if decoded := nf4.Decode(codes, absmax, len(want.Values)); !slices.Equal(decoded, want.Decoded) {
			t.Errorf("%s: decoded to %v, want %v", name, decoded, want.Decoded)
		}
	}
}

// Every number takes the nearest level, over the whole range and between all bounds.
func TestNearest(t *testing.T) {
	const n = 1 << 16
	for i := range n {
		x := float32(2*float64(i)/(n-1) - 1)
		codes, absmax := nf4.Encode([]float32{1, x})
		got := math.Abs(float64(nf4.Decode(codes, absmax, 2)[1] - x))
		for _, level := range nf4.Levels {
			if d := math.Abs(float64(level - x)); d < got {
				t.Fatalf("%v lies %v from its level and %v from %v", x, got, d, level)
			}
		}
	}
}

// A number that isn't finite shows in its own block and in no other.
func TestNonfinite(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		values := make([]float32, 3*nf4.BlockSize)
		for i := range values {
			values[i] = 1
		}
		values[nf4.BlockSize+5] = float32(bad)
		codes, absmax := nf4.Encode(values)
		for i, v := range nf4.Decode(codes, absmax, len(values)) {
			finite := v == 1
			if inside := i/nf4.BlockSize == 1; inside == finite || inside && !math.IsNaN(float64(v-v)) {
				t.Errorf("%v: number %d decodes to %v", bad, i, v)
			}
		}
	}
}
