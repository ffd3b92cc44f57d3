package pretrained

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/nf4"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// A program decodes as the host does, bit for bit, whether or not the weight fills its last block.
func TestDecodeNF4(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		random := rand.New(rand.NewPCG(1, 2))
		for _, shape := range [][]int{{6, 128}, {32, 88}, {3, 50}, {1, 1}} {
			w := &blocks.Weight{Shape: shape, Quantized: true}
			values := make([]float32, w.Size())
			for i := range values {
				values[i] = float32(random.NormFloat64())
			}
			codes, absmax := nf4.Encode(values)
			want := nf4.Decode(codes, absmax, len(values))
			for _, dtype := range []dtypes.DType{dtypes.Float32, dtypes.BFloat16} {
				got := decodeOn(t, d, w, dtype, values)
				if !slices.Equal(got, encode(want, dtype)) {
					t.Errorf("%v as %s: the program decodes to other bits than the host", shape, dtype)
				}
			}
		}
	})
}

// decodeOn quantizes a weight as it is loaded and has a program on d decode it.
func decodeOn(t *testing.T, d *device.Device, w *blocks.Weight, dtype dtypes.DType, values []float32) []byte {
	t.Helper()
	codes, absmax := nf4Shapes(w)
	var in []*device.Buffer
	for i, raw := range stored(w, values, dtype) {
		b, err := d.Upload([]shapes.Shape{codes, absmax}[i], raw)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Free()
		in = append(in, b)
	}
	p, err := d.Compile("decode", []device.Input{{Name: "codes", Shape: codes}, {Name: "absmax", Shape: absmax}}, nil,
		func(_ *Graph, in []*Node) []*Node { return []*Node{decodeNF4(in[1], dtype, w.Shape)(in[0])} })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Finalize()
	out, err := p.Run(in)
	if err != nil {
		t.Fatal(err)
	}
	defer out[0].Free()
	return download(t, out[0])
}

// The weights that transformers quantizes are loaded as codes and scales, and the others as they are without.
func TestQuantizedWeights(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	for _, family := range []string{"llama", "opt", "t5"} {
		raw, err := os.ReadFile(filepath.Join("testdata", family+"-lora", "qlora.json"))
		if err != nil {
			t.Fatal(err)
		}
		var expected struct{ Quantized []string }
		if err := json.Unmarshal(raw, &expected); err != nil {
			t.Fatal(err)
		}
		source, err := Find(filepath.Join("testdata", family+"-lora"))
		if err != nil {
			t.Fatal(err)
		}
		defer source.Close()
		plain := load(t, d, source, *source.LoRA)
		lora := *source.LoRA
		lora.Quantize = true
		quantized := load(t, d, source, lora)

		var names []string
		scales := len(quantized.Weights)
		for i, w := range quantized.Weights {
			if !w.Quantized {
				if !slices.Equal(download(t, quantized.Values[i]), download(t, plain.Values[i])) {
					t.Errorf("%s: %s changed", family, w.Name)
				}
				continue
			}
			names = append(names, strings.TrimSuffix(w.Name, ".weight"))
			values, err := plain.Values[i].Float32s()
			if err != nil {
				t.Fatal(err)
			}
			codes, absmax := nf4.Encode(values)
			if !slices.Equal(download(t, quantized.Values[i]), codes) || !slices.Equal(download(t, quantized.Values[scales]), encode(absmax, dtypes.Float32)) {
				t.Errorf("%s: %s isn't loaded as it is encoded", family, w.Name)
			}
			scales++
		}
		if slices.Sort(names); !slices.Equal(names, expected.Quantized) || scales != len(quantized.Values) {
			t.Errorf("%s: quantized are %v, in transformers %v", family, names, expected.Quantized)
		}
	}
}

func load(t *testing.T, d *device.Device, source *Source, lora models.LoRA) *Parameters {
	t.Helper()
	spec, err := NewSpec(source.Config, &lora, dtypes.Float32, dtypes.Float32)
	if err != nil {
		t.Fatal(err)
	}
	p, err := source.Load(d, spec, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Free)
	return p
}

func download(t *testing.T, b *device.Buffer) []byte {
	t.Helper()
	raw := make([]byte, b.Shape().ByteSize())
	if err := b.Download(raw); err != nil {
		t.Fatal(err)
	}
	return raw
}
