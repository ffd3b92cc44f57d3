package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
)

// encoders turn numbers into whole blocks, as ggml's reference code does.
var encoders = map[Type]func(dst []byte, src []float32){
	F32: encodeF32, F16: encodeF16, BF16: encodeBF16, Q8_0: encodeQ8_0, Q4_0: encodeQ4_0,
}

// ParseType is the format that Quantize writes of a name in any case, such as "q8_0".
func ParseType(name string) (Type, error) {
	for t := range encoders {
		if strings.EqualFold(name, t.String()) {
			return t, nil
		}
	}
	return 0, fmt.Errorf("%q is no format for weights; f32, f16, bf16, q8_0 and q4_0 are", name)
}

// Quantize turns numbers, of whole rows, into the data of a tensor, on all processors.
func Quantize(dst []byte, t Type, src []float32) error {
	encode := encoders[t]
	if encode == nil {
		return fmt.Errorf("%s can't be written; F32, F16, BF16, Q8_0 and Q4_0 can", t)
	}
	block, size := t.Block(), int(layouts[t].bytes)
	blocks := len(src) / block
	if len(src)%block != 0 || len(dst) != blocks*size {
		return fmt.Errorf("%d numbers don't fill %d bytes of %s", len(src), len(dst), t)
	}
	inParallel(blocks, perGoroutine/block, func(from, to int) {
		encode(dst[from*size:to*size], src[from*block:to*block])
	})
	return nil
}

func encodeF32(dst []byte, src []float32) {
	for i, v := range src {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
}

func encodeF16(dst []byte, src []float32) {
	for i, v := range src {
		binary.LittleEndian.PutUint16(dst[2*i:], toHalf(v))
	}
}

// toHalf rounds to the nearest float16, to an even one halfway.
func toHalf(v float32) uint16 {
	b := math.Float32bits(v)
	sign, b := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case b > 0x7f800000: // not a number
		return sign | 0x7e00
	case b >= (127+16)<<23: // 65536 and above
		return sign | 0x7c00
	case b < (127-14)<<23: // below the smallest normal number
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(b))*(1<<24)))
	}
	b += 0xfff + b>>13&1
	return sign | uint16((b-(127-15)<<23)>>13)
}

// encodeBF16 rounds to the nearest, to an even one halfway.
func encodeBF16(dst []byte, src []float32) {
	for i, v := range src {
		b := math.Float32bits(v)
		if b&0x7fffffff > 0x7f800000 { // not a number; rounding could make it infinite
			b |= 0x400000
		} else {
			b += 0x7fff + b>>16&1
		}
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(b>>16))
	}
}

// inverse is 1/d, and 0 for 0.
func inverse(d float32) float32 {
	if d == 0 {
		return 0
	}
	return 1 / d
}

// encodeQ8_0 scales the largest number of a block to 127.
func encodeQ8_0(dst []byte, src []float32) {
	for ; len(src) >= 32; dst, src = dst[34:], src[32:] {
		largest := float32(0)
		for _, v := range src[:32] {
			largest = max(largest, float32(math.Abs(float64(v))))
		}
		d := largest / 127
		scale := inverse(d)
		binary.LittleEndian.PutUint16(dst, toHalf(d))
		for i, v := range src[:32] {
			dst[2+i] = byte(int8(math.Round(float64(v * scale))))
		}
	}
}

// encodeQ4_0 scales the number of largest magnitude in a block to -8.
func encodeQ4_0(dst []byte, src []float32) {
	for ; len(src) >= 32; dst, src = dst[18:], src[32:] {
		largest := float32(0)
		for _, v := range src[:32] {
			if math.Abs(float64(v)) > math.Abs(float64(largest)) {
				largest = v
			}
		}
		d := largest / -8
		scale := inverse(d)
		binary.LittleEndian.PutUint16(dst, toHalf(d))
		code := func(v float32) byte { return byte(min(15, int(float32(v*scale)+8.5))) }
		for i := range 16 {
			dst[2+i] = code(src[i]) | code(src[16+i])<<4
		}
	}
}
