package gguf

// The formats of 256 numbers, "k-quants": groups of 16 or 32 numbers have scales, and some have offsets, of a few bits, which
// scales of the whole block multiply.

// decodeQ2_K reads 16 groups of 16 numbers: scale and offset of 4 bits each in a byte, numbers of 2 bits.
func decodeQ2_K(dst []float32, src []byte) {
	for ; len(src) >= 84; dst, src = dst[256:], src[84:] {
		d, dmin := half(src[80:]), half(src[82:])
		for group := range 16 {
			s := src[group]
			scale, offset := d*float32(int32(s&15)), dmin*float32(int32(s>>4))
			q, shift := (*[16]byte)(src[16+group/8*32+group%2*16:]), group%8/2*2
			out := (*[16]float32)(dst[group*16:])
			for i, b := range q {
				out[i] = float32(scale*float32(int32(b)>>shift&3)) - offset
			}
		}
	}
}

// decodeQ3_K reads 16 groups of 16 numbers: scales of 6 bits, less 32; numbers of 3 bits, less 4, the highest bit apart.
func decodeQ3_K(dst []float32, src []byte) {
	for ; len(src) >= 110; dst, src = dst[256:], src[110:] {
		d, scales := half(src[108:]), src[96:108]
		for group := range 16 {
			low, high := int(scales[group%8])>>(group/8*4)&15, int(scales[8+group%4])>>(group/4*2)&3
			scale := d * float32((low|high<<4)-32)
			q, shift := (*[16]byte)(src[32+group/8*32+group%2*16:]), group%8/2*2
			mask, bit := (*[16]byte)(src[group%2*16:]), group/2
			out := (*[16]float32)(dst[group*16:])
			for i, b := range q {
				out[i] = scale * float32((int32(b)>>shift&3|int32(mask[i])>>bit&1<<2)-4)
			}
		}
	}
}

// scalesK unpacks 8 scales and 8 offsets of 6 bits from 12 bytes, and multiplies them with those of the block.
func scalesK(src []byte) (scales, offsets [8]float32) {
	d, dmin, p := half(src), half(src[2:]), src[4:16]
	for i := range 4 {
		scales[i] = d * float32(int32(p[i]&63))
		offsets[i] = dmin * float32(int32(p[4+i]&63))
		scales[4+i] = d * float32(int32(p[8+i]&15|p[i]>>2&48))
		offsets[4+i] = dmin * float32(int32(p[8+i]>>4|p[4+i]>>2&48))
	}
	return scales, offsets
}

// decodeQ4_K reads 8 groups of 32 numbers of 4 bits; two groups share their bytes.
func decodeQ4_K(dst []float32, src []byte) {
	for ; len(src) >= 144; dst, src = dst[256:], src[144:] {
		scales, offsets := scalesK(src)
		for pair := range 4 {
			q, out := (*[32]byte)(src[16+pair*32:]), (*[64]float32)(dst[pair*64:])
			s0, m0, s1, m1 := scales[2*pair], offsets[2*pair], scales[2*pair+1], offsets[2*pair+1]
			for i, b := range q {
				out[i] = float32(s0*float32(int32(b&15))) - m0
				out[i+32] = float32(s1*float32(int32(b>>4))) - m1
			}
		}
	}
}

// decodeQ5_K is decodeQ4_K with fifth bits: bit g of byte i belongs to number i of group g.
func decodeQ5_K(dst []float32, src []byte) {
	for ; len(src) >= 176; dst, src = dst[256:], src[176:] {
		scales, offsets := scalesK(src)
		high := (*[32]byte)(src[16:])
		for pair := range 4 {
			q, out := (*[32]byte)(src[48+pair*32:]), (*[64]float32)(dst[pair*64:])
			s0, m0, s1, m1 := scales[2*pair], offsets[2*pair], scales[2*pair+1], offsets[2*pair+1]
			for i, b := range q {
				h := int32(high[i]) >> (2 * pair)
				out[i] = float32(s0*float32(int32(b&15)|h&1<<4)) - m0
				out[i+32] = float32(s1*float32(int32(b>>4)|h>>1&1<<4)) - m1
			}
		}
	}
}

// decodeQ6_K reads 16 groups of 16 numbers: scales of 8 bits; numbers of 6 bits, less 32, in two pieces.
func decodeQ6_K(dst []float32, src []byte) {
	for ; len(src) >= 210; dst, src = dst[256:], src[210:] {
		d := half(src[208:])
		for group := range 16 {
			scale := d * float32(int8(src[192+group]))
			// Halves of the block have 64 low and 32 high bytes; in each, four lines of 32 numbers.
			part, line, column := group/8, group%8/2, group%2*16
			low, lowShift := (*[16]byte)(src[part*64+line%2*32+column:]), line/2*4
			high, highShift := (*[16]byte)(src[128+part*32+column:]), line*2
			out := (*[16]float32)(dst[group*16:])
			for i, b := range low {
				out[i] = scale * float32((int32(b)>>lowShift&15|int32(high[i])>>highShift&3<<4)-32)
			}
		}
	}
}
