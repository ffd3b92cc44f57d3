package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync"
)

// decoders turn whole blocks into numbers. Each product and sum is rounded to float32, in the order of gguf-py's quants.py,
// so that the results are its own to the last bit; the conversions around products keep compilers from fusing them with
// sums.
var decoders = map[Type]func(dst []float32, src []byte){
	F32: decodeF32, F16: decodeF16, BF16: decodeBF16,
	Q4_0: decodeQ4_0, Q4_1: decodeQ4_1, Q5_0: decodeQ5_0, Q5_1: decodeQ5_1, Q8_0: decodeQ8_0,
	Q2_K: decodeQ2_K, Q3_K: decodeQ3_K, Q4_K: decodeQ4_K, Q5_K: decodeQ5_K, Q6_K: decodeQ6_K,
}

// Readable says why Dequantize can't read the format, and is nil where it can.
func (t Type) Readable() error {
	if decoders[t] == nil {
		return fmt.Errorf("numbers of %s are not supported; F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K are", t)
	}
	return nil
}

// perGoroutine is how many blocks' numbers make a goroutine worth its start.
const perGoroutine = 1 << 16

// Dequantize turns the data of a tensor, or of some of its rows, into numbers, on all processors.
func Dequantize(dst []float32, t Type, src []byte) error {
	if err := t.Readable(); err != nil {
		return err
	}
	decode, block, size := decoders[t], t.Block(), int(layouts[t].bytes)
	blocks := len(src) / size
	if len(src)%size != 0 || len(dst) != blocks*block {
		return fmt.Errorf("%d bytes of %s aren't %d numbers", len(src), t, len(dst))
	}
	inParallel(blocks, perGoroutine/block, func(from, to int) {
		decode(dst[from*block:to*block], src[from*size:to*size])
	})
	return nil
}

// inParallel calls f for pieces of [0, n) that are no smaller than least, except where n is.
func inParallel(n, least int, f func(from, to int)) {
	pieces := max(1, min(runtime.GOMAXPROCS(0), n/least))
	var group sync.WaitGroup
	for i := range pieces {
		group.Go(func() { f(n*i/pieces, n*(i+1)/pieces) })
	}
	group.Wait()
}

func decodeF32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func decodeF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = half(src[2*i:])
	}
}

func decodeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

// half is the float16 at the start of b.
func half(b []byte) float32 {
	h := uint32(binary.LittleEndian.Uint16(b))
	magnitude := h & 0x7fff << 13
	switch {
	case magnitude < 1<<23: // below the smallest normal number
		magnitude = math.Float32bits(float32(h&0x3ff) * (1.0 / (1 << 24)))
	case magnitude < 31<<23:
		magnitude += (127 - 15) << 23
	default: // infinite, or not a number
		magnitude |= 0x7f800000
	}
	return math.Float32frombits(h>>15<<31 | magnitude)
}

// The formats of 32 numbers: a scale, for some an offset, for some the fifth bits, then the low bits; of two numbers in a
// byte, the second belongs to the block's second half.

func decodeQ4_0(dst []float32, src []byte) {
	for ; len(src) >= 18; dst, src = dst[32:], src[18:] {
		d, q, out := half(src), (*[16]byte)(src[2:]), (*[32]float32)(dst)
		for i, b := range q {
			out[i] = d * float32(int32(b&15)-8)
			out[i+16] = d * float32(int32(b>>4)-8)
		}
	}
}

func decodeQ4_1(dst []float32, src []byte) {
	for ; len(src) >= 20; dst, src = dst[32:], src[20:] {
		d, m, q, out := half(src), half(src[2:]), (*[16]byte)(src[4:]), (*[32]float32)(dst)
		for i, b := range q {
			out[i] = float32(d*float32(int32(b&15))) + m
			out[i+16] = float32(d*float32(int32(b>>4))) + m
		}
	}
}

func decodeQ5_0(dst []float32, src []byte) {
	for ; len(src) >= 22; dst, src = dst[32:], src[22:] {
		d, high := half(src), int32(binary.LittleEndian.Uint32(src[2:]))
		q, out := (*[16]byte)(src[6:]), (*[32]float32)(dst)
		for i, b := range q {
			out[i] = d * float32((int32(b&15)|high>>i&1<<4)-16)
			out[i+16] = d * float32((int32(b>>4)|high>>(i+16)&1<<4)-16)
		}
	}
}

func decodeQ5_1(dst []float32, src []byte) {
	for ; len(src) >= 24; dst, src = dst[32:], src[24:] {
		d, m, high := half(src), half(src[2:]), int32(binary.LittleEndian.Uint32(src[4:]))
		q, out := (*[16]byte)(src[8:]), (*[32]float32)(dst)
		for i, b := range q {
			out[i] = float32(d*float32(int32(b&15)|high>>i&1<<4)) + m
			out[i+16] = float32(d*float32(int32(b>>4)|high>>(i+16)&1<<4)) + m
		}
	}
}

func decodeQ8_0(dst []float32, src []byte) {
	for ; len(src) >= 34; dst, src = dst[32:], src[34:] {
		d, q, out := half(src), (*[32]byte)(src[2:]), (*[32]float32)(dst)
		for i, b := range q {
			out[i] = float32(int8(b)) * d
		}
	}
}
