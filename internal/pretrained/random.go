package pretrained

import (
	"hash/fnv"
	"math/rand/v2"

	"github.com/longform-go/longform/models/blocks"
)

// draw starts a weight as its Init says. The numbers depend on the seed and the weight's name alone, so that adding a
// weight or changing the order changes no other.
func draw(w *blocks.Weight, seed uint64) []float32 {
	values := make([]float32, w.Size())
	name := fnv.New64a()
	name.Write([]byte(w.Name))
	random := rand.New(rand.NewPCG(seed, name.Sum64()))
	scale := w.Init.Scale
	for i := range values {
		switch w.Init.Kind {
		case blocks.Normal:
			values[i] = float32(scale * random.NormFloat64())
		case blocks.Uniform:
			values[i] = float32(scale * (2*random.Float64() - 1))
		default:
			values[i] = float32(scale)
		}
	}
	if row := w.Init.ZeroRow; row != nil && *row >= 0 && *row < w.Shape[0] {
		columns := w.Shape[1]
		clear(values[*row*columns : (*row+1)*columns])
	}
	return values
}
