// Package nf4 keeps numbers in 4 bits: NormalFloat4 of QLoRA (Dettmers et al., 2023), with the layout and the arithmetic of
// bitsandbytes, so that a model quantized here is the model that others know by that name.
package nf4

import "math"

// BlockSize is the number of consecutive numbers that share a scale.
const BlockSize = 64

// Levels are the values of the 16 codes before they are scaled: quantiles of the normal distribution on either side of an
// exact 0 (bitsandbytes' get_4bit_type("nf4")).
var Levels = [16]float32{
	-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
	-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
	0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
	0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
}

// bounds lie halfway between neighbouring levels; a number on a bound takes the lower code.
var bounds = func() (b [16]float32) {
	for i := range 15 {
		b[i] = (Levels[i] + Levels[i+1]) / 2
	}
	b[15] = float32(math.Inf(1))
	return b
}()

// cells cut [-1, 1] so finely that each holds at most one bound: how many bounds lie in the cells before.
var cells = func() (before [2*cellsPerUnit + 1]byte) {
	for c := range before {
		for _, bound := range bounds[:15] {
			if cell(bound) < c {
				before[c]++
			}
		}
	}
	return before
}()

const cellsPerUnit = 64

func cell(x float32) int { return int((x + 1) * cellsPerUnit) }

// nearest is the code of the level next to x, in [-1, 1].
func nearest(x float32) byte {
	code := cells[cell(x)]
	if x > bounds[code] {
		code++
	}
	return code
}

// Blocks is how many blocks n numbers take.
func Blocks(n int) int { return (n + BlockSize - 1) / BlockSize }

// Encode quantizes values in blocks of BlockSize consecutive ones, the last of which may be shorter. codes has
// BlockSize/2 bytes a block, the first of two neighbours in the upper half of a byte; absmax is the largest magnitude of
// each block. Numbers that aren't finite make their block decode to such numbers.
func Encode(values []float32) (codes []byte, absmax []float32) {
	codes, absmax = make([]byte, Blocks(len(values))*BlockSize/2), make([]float32, Blocks(len(values)))
	for b := range absmax {
		block := values[b*BlockSize : min((b+1)*BlockSize, len(values))]
		absmax[b] = largest(block)
		if math.IsNaN(float64(absmax[b] - absmax[b])) {
			continue // infinite, or no number
		}
		scale := 1 / max(absmax[b], 1e-38) // bitsandbytes' guard against blocks of zeros
		packed := codes[b*BlockSize/2:]
		for i, v := range block {
			packed[i/2] |= nearest(v*scale) << (4 * (1 - i%2))
		}
	}
	return codes, absmax
}

// largest is the largest magnitude, NaN if there is one: without their signs, floats are ordered as their bits are.
func largest(block []float32) float32 {
	most := uint32(0)
	for _, v := range block {
		most = max(most, math.Float32bits(v)&^(1<<31))
	}
	return math.Float32frombits(most)
}

// Decode returns the n numbers that Encode made codes and absmax of, in float32.
func Decode(codes []byte, absmax []float32, n int) []float32 {
	values := make([]float32, n)
	for i := range values {
		code := codes[i/2] >> (4 * (1 - i%2)) & 15
		values[i] = Levels[code] * absmax[i/BlockSize]
	}
	return values
}
