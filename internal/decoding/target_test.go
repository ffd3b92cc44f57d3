package decoding

import (
	"regexp"
	"testing"

	"github.com/gomlx/compute/dtypes"

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

// Of products with a vector XLA makes reductions on a GPU. Their terms may not be rounded: what is summed up is float32.
func TestWriterSums(t *testing.T) {
	g := ofLLaMA7B(t, devicetest.OpenTarget(t, "h100"))
	const room = 1024
	for _, rows := range []int{1, 8} {
		p, err := g.compile(g.writer(size{rows: rows, room: room}, features{}, []int{2}))
		if err != nil {
			t.Fatal(err)
		}
		program, err := p.Optimized()
		if err != nil {
			t.Fatal(err)
		}
		if reduced := regexp.MustCompile(`f32\[\d+,\d+,?\d*\] multiply\(`).FindAllString(program, -1); len(reduced) < 2*layers {
			t.Errorf("%d rows: %d products are reductions, fewer than attention has: this test looks for the wrong thing", rows, len(reduced))
		}
		if rounded := regexp.MustCompile(`bf16\[\d{2,},\d{3,},?\d*\] multiply\(.*`).FindAllString(program, -1); rounded != nil {
			t.Errorf("%d rows: these terms are rounded: %q", rows, rounded)
		}
	}
}

// Reading a chunk updates the cache in place, and what it holds besides grows no faster than the prompt.
func TestReaderInPlace(t *testing.T) {
	t.Run("cpu", func(t *testing.T) { readInPlace(t, devicetest.Open(t, device.CPU)) })
	t.Run("h100", func(t *testing.T) { readInPlace(t, devicetest.OpenTarget(t, "h100")) })
}

func writeInPlace(t *testing.T, d *device.Device) {
	g := ofLLaMA7B(t, d)
	const room = 1024
	for _, c := range []struct {
		rows int
		f    features
	}{{1, features{}}, {1, features{lookUp: true}}, {8, features{}}} {
		s := size{rows: c.rows, room: room}
		layer := g.cacheBytes(s) / layers
		p, err := g.compile(g.writer(s, c.f, []int{2}))
		if err != nil {
			t.Fatal(err)
		}
		if m := inPlace(t, p, layer); m.Temporary > layer/4 {
			t.Errorf("%+v: %d bytes besides %d of a layer", c, m.Temporary, layer)
		}
	}
}

func readInPlace(t *testing.T, d *device.Device) {
	g := ofLLaMA7B(t, d)
	for _, tells := range []bool{false, true} {
		var besides []int64
		for _, room := range []int{1024, 4096} {
			s := size{rows: 1, room: room}
			layer := g.cacheBytes(s) / layers
			p, err := g.compile(g.advance(s, 256, tells))
			if err != nil {
				t.Fatal(err)
			}
			besides = append(besides, inPlace(t, p, layer).Temporary)
		}
		if besides[1] > 4*besides[0] {
			t.Errorf("tells %v: %d bytes besides the cache of 1024 tokens, and %d of 4096", tells, besides[0], besides[1])
		}
	}
}

// So does a search: of the cache it copies what was written after the prompt, and no more. Here that goes around the ring.
func TestSearcherInPlace(t *testing.T) {
	t.Run("cpu", func(t *testing.T) { searchInPlace(t, devicetest.Open(t, device.CPU)) })
	t.Run("h100", func(t *testing.T) { searchInPlace(t, devicetest.OpenTarget(t, "h100")) })
}

func searchInPlace(t *testing.T, d *device.Device) {
	g := ofLLaMA7B(t, d)
	const room = 1024
	b := &batch{g: g, size: size{rows: 4, room: room}, prompted: room - 32, eos: []int{2}}
	layer := g.cacheBytes(b.size) / layers
	p, err := g.compile(g.searcher(b, Options{MaxNewTokens: room / 8, Beams: Beams{Number: 4, EarlyStopping: WhenUnlikely}}, g.call()))
	if err != nil {
		t.Fatal(err)
	}
	if m := inPlace(t, p, layer); m.Temporary > layer/2 {
		t.Errorf("%d bytes besides %d of a layer", m.Temporary, layer)
	}
}

// Three layers of LLaMA-7B.
const layers, heads, headDim = 3, 32, 128

// inPlace checks that p updates caches of so many bytes a layer in place.
func inPlace(t *testing.T, p *device.Program, layer int64) device.Memory {
	t.Helper()
	copies, bytes, err := p.Copies()
	if err != nil {
		t.Fatal(err)
	}
	m := p.Memory()
	t.Logf("%+v", m)
	if m.Alias < layers*layer || bytes > 100 { // a counter is no loss
		t.Errorf("%d of %d bytes of the cache are updated in place, with %d copies of %d bytes", m.Alias, layers*layer, copies, bytes)
	}
	return m
}

func ofLLaMA7B(t *testing.T, d *device.Device) *Generator {
	config := &llama.Config{
		VocabSize: 32000, HiddenSize: heads * headDim, IntermediateSize: 11008, NumHiddenLayers: layers, NumAttentionHeads: heads,
		NumKeyValueHeads: heads, HeadDim: headDim, MaxPositionEmbeddings: 4096, RMSNormEps: 1e-5,
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
	return g
}
