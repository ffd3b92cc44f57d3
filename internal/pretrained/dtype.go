package pretrained

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/dtypes/float16"
)

// dtypeName is the safetensors name of an element type.
func dtypeName(d dtypes.DType) string {
	switch d {
	case dtypes.BFloat16:
		return "BF16"
	case dtypes.Float16:
		return "F16"
	case dtypes.Float32:
		return "F32"
	case dtypes.Uint8:
		return "U8"
	}
	panic(fmt.Sprintf("no checkpoint holds %s", d)) // only those above are ever stored
}

// TorchName is the name of an element type in config.json.
func TorchName(d dtypes.DType) string {
	if d == dtypes.BFloat16 {
		return "bfloat16"
	}
	return "float32"
}

// decode reads little-endian numbers of a checkpoint.
func decode(raw []byte, dtype string) ([]float32, error) {
	switch dtype {
	case "F32":
		out := make([]float32, len(raw)/4)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		return out, nil
	case "F16":
		out := make([]float32, len(raw)/2)
		for i := range out {
			out[i] = float16.FromBits(binary.LittleEndian.Uint16(raw[2*i:])).Float32()
		}
		return out, nil
	case "BF16":
		out := make([]float32, len(raw)/2)
		for i := range out {
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
		}
		return out, nil
	}
	return nil, fmt.Errorf("element type %s is not supported; float32, float16 and bfloat16 are", dtype)
}

// encode writes numbers as little-endian float32 or, rounded to nearest even, bfloat16.
func encode(values []float32, dtype dtypes.DType) []byte {
	if dtype == dtypes.BFloat16 {
		out := make([]byte, 2*len(values))
		for i, v := range values {
			binary.LittleEndian.PutUint16(out[2*i:], bfloat16.FromFloat32(v).Bits())
		}
		return out
	}
	out := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v))
	}
	return out
}
