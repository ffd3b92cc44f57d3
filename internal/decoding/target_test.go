package decoding

import (
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/models/llama"
)

// A call of the loop updates the cache in place, and holds little besides: neither copies of keys and values nor of weights.
func TestWriterInPlace(t *testing.T) {
	t.Run("cpu", func(t *testing.T) { writeInPlace(t, devicetest.Open(t, device.CPU)) })
	t.Run("h100", func(t *testing.T) { writeInPlace(t, devicetest.OpenTarget(t, "h100")) })
}

func writeInPlace(t *testing.T, d *device.Device) {
	// Three layers of LLaMA-7B.
	const layers, heads, headDim, room = 3, 32, 128, 1024
	config := &llama.Config{
		VocabSize: 32000, HiddenSize: heads * headDim, IntermediateSize: 11008, NumHiddenLayers: layers, NumAttentionHeads: heads,
		NumKeyValueHeads: heads, HeadDim: headDim, MaxPositionEmbeddings: 2048, RMSNormEps: 1e-5,
	}
	dtype := dtypes.BFloat16
	if d.Kind() == device.CPU {
		dtype = dtypes.Float32
	}
	spec, err := pretrained.NewSpec(config, nil, dtype, dtype)
	if err != nil {
		t.Fatal(err)
	}
	g := New(d, &pretrained.Parameters{Spec: spec.Joined()})
	t.Cleanup(g.Close)
	for _, rows := range []int{1, 8} {
		cache := []shapes.Shape{shapes.Make(dtypes.Int32, rows), shapes.Make(dtypes.Int32)}
		layer := int64(0)
		for range layers {
			k, v := shapes.Make(dtype, rows*heads, headDim, room), shapes.Make(dtype, rows*heads, room, headDim)
			cache, layer = append(cache, k, v), k.ByteSize()+v.ByteSize()
		}
		p, err := g.writer(size{rows: rows, room: room}, features{}, []int{2}, cache)
		if err != nil {
			t.Fatal(err)
		}
		copies, _, err := p.Copies()
		if err != nil {
			t.Fatal(err)
		}
		m := p.Memory()
		t.Logf("%d rows: %+v", rows, m)
		if m.Alias < layers*layer || copies > 0 || m.Temporary > layer/4 {
			t.Errorf("%d rows: %d of %d bytes of the cache are updated in place, with %d copies and %d bytes besides", rows, m.Alias, layers*layer, copies, m.Temporary)
		}
	}
}
