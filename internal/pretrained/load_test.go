package pretrained_test

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

func modelDir(name string) string { return filepath.Join("../../models/testdata", name) }

func find(t *testing.T, name string) *pretrained.Source {
	t.Helper()
	source, err := pretrained.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.Close)
	return source
}

func newSpec(t *testing.T, config models.Config, lora *models.LoRA) *pretrained.Spec {
	t.Helper()
	spec, err := pretrained.NewSpec(config, lora, dtypes.Float32, dtypes.Float32)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// values are the weights of p by name.
func values(t *testing.T, p *pretrained.Parameters) map[string][]float32 {
	t.Helper()
	all := map[string][]float32{}
	for i, w := range p.Weights {
		v, err := p.Values[i].Float32s()
		if err != nil {
			t.Fatal(err)
		}
		all[w.Name] = v
	}
	return all
}

// tensors reads a safetensors file.
func tensors(t *testing.T, path string) map[string]safetensors.Tensor {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]safetensors.Tensor{}
	for _, info := range f.Tensors() {
		raw := make([]byte, info.Bytes())
		if err := f.Read(info.Name, raw); err != nil {
			t.Fatal(err)
		}
		all[info.Name] = tensor(info.Name, info.DType, info.Shape, raw)
	}
	return all
}

func tensor(name, dtype string, shape []int, raw []byte) safetensors.Tensor {
	return safetensors.Tensor{
		Info: safetensors.Info{Name: name, DType: dtype, Shape: shape},
		Data: func(dst []byte) error { copy(dst, raw); return nil },
	}
}

func zeros(name string, shape ...int) safetensors.Tensor {
	size := 4
	for _, d := range shape {
		size *= d
	}
	return tensor(name, "F32", shape, make([]byte, size))
}

func float32s(t *testing.T, tensor safetensors.Tensor) []float32 {
	t.Helper()
	raw := make([]byte, tensor.Bytes())
	if err := tensor.Data(raw); err != nil {
		t.Fatal(err)
	}
	out := make([]float32, len(raw)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}

// changed is a copy of a tiny model with other tensors.
func changed(t *testing.T, name string, change func(map[string]safetensors.Tensor)) string {
	t.Helper()
	dir := t.TempDir()
	raw, err := os.ReadFile(filepath.Join(modelDir(name), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	all := tensors(t, filepath.Join(modelDir(name), "model.safetensors"))
	change(all)
	if _, err := safetensors.Write(filepath.Join(dir, "model.safetensors"), slices.Collect(maps.Values(all)), nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Whatever doesn't fit is in one error, by name.
func TestTensorsThatDontFit(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	const up, norm, q = "model.layers.1.mlp.up_proj.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.weight"
	for _, test := range []struct {
		name   string
		change func(map[string]safetensors.Tensor)
		want   []string // parts of the error; none: it loads
	}{
		{"missing", func(all map[string]safetensors.Tensor) { delete(all, norm); delete(all, up) },
			[]string{"2 tensors missing: " + up + ", " + norm}},
		{"surplus", func(all map[string]safetensors.Tensor) {
			all["extra.b"], all["extra.a"] = zeros("extra.b", 2), zeros("extra.a", 2)
		}, []string{"2 tensors not part of the model: extra.a, extra.b"}},
		{"misshapen", func(all map[string]safetensors.Tensor) { all[q] = zeros(q, 64, 32) },
			[]string{"1 tensors of another shape: " + q + " is [64 32], not [64 64]"}},
		{"transposed embedding", func(all map[string]safetensors.Tensor) {
			all["model.embed_tokens.weight"] = zeros("model.embed_tokens.weight", 64, 768)
		}, []string{"model.embed_tokens.weight is [64 768], not [768 64]"}},
		{"all at once", func(all map[string]safetensors.Tensor) {
			delete(all, norm)
			all["extra"], all[q] = zeros("extra", 1), zeros(q, 64)
		}, []string{"missing: " + norm, "of another shape: " + q, "not part of the model: extra"}},
		{"many", func(all map[string]safetensors.Tensor) { clear(all); all["extra"] = zeros("extra", 1) },
			[]string{"21 tensors missing", "and 16 more"}},
		{"old rotary frequencies", func(all map[string]safetensors.Tensor) {
			const name = "model.layers.0.self_attn.rotary_emb.inv_freq"
			all[name] = zeros(name, 8)
		}, nil},
		{"integers", func(all map[string]safetensors.Tensor) { all[norm] = tensor(norm, "I32", []int{64}, make([]byte, 256)) },
			[]string{"tensor " + norm + ": element type I32"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := changed(t, "llama-tiny", test.change)
			source := find(t, dir)
			p, err := source.Load(d, newSpec(t, source.Config, nil), 0)
			if len(test.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				p.Free()
				return
			}
			if err == nil {
				t.Fatal("it was loaded")
			}
			for _, part := range append(test.want, "model "+dir) {
				if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%v: want one line with %q", err, part)
				}
			}
		})
	}
}

// What has no weights says so when they are asked for, and not before.
func TestWithoutWeights(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	empty := t.TempDir()
	raw, err := os.ReadFile(filepath.Join(modelDir("opt-tiny"), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(empty, "config.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"opt-125m":           "model opt-125m: only its configuration is known here, not its weights",
		pretrained.DemoName:  "model demo: only its configuration is known here, not its weights",
		empty:                "model " + empty,
		modelDir("opt-tiny"): "",
	} {
		source := find(t, name)
		p, err := source.Load(d, newSpec(t, source.Config, nil), 0)
		switch {
		case err == nil:
			p.Free()
			if want != "" {
				t.Errorf("%s was loaded", name)
			}
		case want == "" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n"):
			t.Errorf("%s: %v, want one line with %q", name, err, want)
		}
	}
}

// A file beside the tokenizer that can't be read is an error, not a file that isn't there.
func TestUnreadableTokenizerFile(t *testing.T) {
	dir := changed(t, "llama-tiny", func(map[string]safetensors.Tensor) {})
	raw, err := os.ReadFile(filepath.Join(modelDir("llama-tiny"), "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	source := find(t, dir)
	tok, err := source.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if files, err := source.TokenizerFiles(tok); err != nil || len(files) != 1 {
		t.Errorf("%d files, %v; want the tokenizer alone", len(files), err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tokenizer_config.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := source.TokenizerFiles(tok); err == nil || !strings.Contains(err.Error(), "tokenizer_config.json") {
		t.Errorf("%v", err)
	}
}

// A larger vocabulary adds rows that are the mean of the others, to the embedding and to a head of its own.
func TestVocabularyGrows(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	for name, grown := range map[string][]string{
		"llama-tiny": {"model.embed_tokens.weight", "lm_head.weight"},
		"opt-tiny":   {"model.decoder.embed_tokens.weight"},
		"t5-tiny":    {"shared.weight"},
	} {
		source := find(t, modelDir(name))
		rows := source.Config.Vocabulary()
		small, err := source.Load(d, newSpec(t, source.Config, nil), 0)
		if err != nil {
			t.Fatal(err)
		}
		large, err := source.Load(d, newSpec(t, source.Config.WithVocabulary(rows+2), nil), 0)
		if err != nil {
			t.Fatal(err)
		}
		before, after := values(t, small), values(t, large)
		for weight, now := range after {
			old := before[weight]
			if !slices.Equal(now[:len(old)], old) {
				t.Errorf("%s: %s changed", name, weight)
			}
			if !slices.Contains(grown, weight) {
				if len(now) != len(old) {
					t.Errorf("%s: %s grew", name, weight)
				}
				continue
			}
			columns := len(old) / rows
			for c := range columns {
				mean := 0.0
				for r := range rows {
					mean += float64(old[r*columns+c]) / float64(rows)
				}
				for r := rows; r < rows+2; r++ {
					if got := float64(now[r*columns+c]); math.Abs(got-mean) > 1e-6 {
						t.Fatalf("%s: %s has %v in row %d, column %d; the mean is %v", name, weight, got, r, c, mean)
					}
				}
			}
		}
		small.Free()
		large.Free()
		if _, err := source.Load(d, newSpec(t, source.Config.WithVocabulary(rows-1), nil), 0); err == nil {
			t.Errorf("%s: the vocabulary shrank", name)
		}
	}
}

// Whether a T5 has a head of its own is decided by its tensors: transformers 5 writes the same tie_word_embeddings for
// both.
func TestT5Head(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	const head = "lm_head.weight"
	with := changed(t, "t5-tiny", func(all map[string]safetensors.Tensor) { all[head] = zeros(head, 704, 64) })
	for _, test := range []struct {
		dir string
		own bool
	}{{modelDir("t5-tiny"), false}, {with, true}, {modelDir("t5-gated-untied-old"), true}, {modelDir("t5-long-tied-unscaled"), false}, {modelDir("t5-relu-tied-old"), false}} {
		source := find(t, test.dir)
		p, err := source.Load(d, newSpec(t, source.Config, nil), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, own := values(t, p)[head]; own != test.own {
			t.Errorf("%s: own head %v, want %v", test.dir, own, test.own)
		}
		p.Free()
	}
	// The copies that torch's own files hold of the shared embedding are not surplus.
	source := find(t, changed(t, "t5-tiny", func(all map[string]safetensors.Tensor) {
		for _, name := range []string{"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"} {
			all[name] = zeros(name, 704, 64)
		}
	}))
	p, err := source.Load(d, newSpec(t, source.Config, nil), 0)
	if err != nil {
		t.Fatal(err)
	}
	p.Free()
}

// Weights from scratch start as transformers starts them: the same constants, the same zero rows, and distributions with
// the same mean and width.
func TestRandomIsAsTransformers(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	raw, err := os.ReadFile("testdata/init.json")
	if err != nil {
		t.Fatal(err)
	}
	var expected map[string]map[string]struct {
		Size           int
		Mean, Std, Max float64
		ZeroRows       []int `json:"zero_rows"`
	}
	if err := json.Unmarshal(raw, &expected); err != nil {
		t.Fatal(err)
	}
	for name, weights := range expected {
		dir := modelDir(name)
		source := find(t, dir)
		spec := newSpec(t, source.Config, nil)
		p, err := pretrained.Random(d, spec, 1)
		if err != nil {
			t.Fatal(err)
		}
		all := values(t, p)
		p.Free()
		if len(all) != len(weights) {
			t.Errorf("%s has %d weights, in transformers %d", name, len(all), len(weights))
		}
		for i, w := range spec.Weights {
			want, v := weights[w.Name], all[w.Name]
			mean, std, most := statistics(v)
			n := float64(want.Size)
			// Both are drawings: five standard deviations of the difference of two means, and of two widths.
			if len(v) != want.Size || math.Abs(mean-want.Mean) > 5*want.Std*math.Sqrt(2/n) || math.Abs(std-want.Std) > 5*want.Std/math.Sqrt(n) {
				t.Errorf("%s: %s has mean %v and width %v, in transformers %v and %v", name, w.Name, mean, std, want.Mean, want.Std)
			}
			if most > 1.5*want.Max {
				t.Errorf("%s: %s reaches %v, in transformers %v", name, w.Name, most, want.Max)
			}
			if len(w.Shape) == 2 {
				if rows := zeroRows(v, spec.Weights[i].Shape[1]); !slices.Equal(rows, want.ZeroRows) {
					t.Errorf("%s: %s has zero rows %v, in transformers %v", name, w.Name, rows, want.ZeroRows)
				}
			}
		}
	}
}

func statistics(v []float32) (mean, std, most float64) {
	for _, x := range v {
		mean += float64(x) / float64(len(v))
		most = max(most, math.Abs(float64(x)))
	}
	for _, x := range v {
		std += (float64(x) - mean) * (float64(x) - mean) / float64(len(v))
	}
	return mean, math.Sqrt(std), most
}

func zeroRows(v []float32, columns int) []int {
	rows := []int{}
	for r := range len(v) / columns {
		if !slices.ContainsFunc(v[r*columns:(r+1)*columns], func(x float32) bool { return x != 0 }) {
			rows = append(rows, r)
		}
	}
	return rows
}

// A drawing depends on the seed and the weight's name alone, whatever other weights there are; A of an adapter stays
// within its bounds and B is zero.
func TestRandomIsReproducible(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	config := find(t, modelDir("llama-tiny")).Config
	draw := func(lora *models.LoRA, seed uint64) map[string][]float32 {
		p, err := pretrained.Random(d, newSpec(t, config, lora), seed)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Free()
		return values(t, p)
	}
	lora := &models.LoRA{Rank: 4, Alpha: 8, Targets: []string{"q_proj", "down_proj"}}
	plain, again, adapted, other := draw(nil, 1), draw(nil, 1), draw(lora, 1), draw(nil, 2)
	seen := map[string]string{}
	for name, v := range plain {
		if !slices.Equal(v, again[name]) || !slices.Equal(v, adapted[name]) {
			t.Errorf("%s isn't drawn the same again, or with adapters", name)
		}
		if strings.HasSuffix(name, "norm.weight") {
			continue
		}
		if slices.Equal(v, other[name]) {
			t.Errorf("%s is the same for another seed", name)
		}
		start := string(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v[0]))) + string(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v[1])))
		if twin, ok := seen[start]; ok {
			t.Errorf("%s and %s start alike", name, twin)
		}
		seen[start] = name
	}
	adapters := 0
	for name, v := range adapted {
		_, std, most := statistics(v)
		switch {
		case strings.HasSuffix(name, ".lora_B.weight"):
			adapters++
			if most != 0 {
				t.Errorf("%s isn't zero", name)
			}
		case strings.HasSuffix(name, ".lora_A.weight"):
			adapters++
			// Uniform within 1/sqrt(in).
			bound := 1 / math.Sqrt(float64(len(v)/lora.Rank))
			if most > bound || most < 0.9*bound || math.Abs(std-bound/math.Sqrt(3)) > 0.1*bound {
				t.Errorf("%s reaches %v with width %v, its bound is %v", name, most, std, bound)
			}
		}
	}
	if adapters != 8 {
		t.Errorf("%d adapter weights, want 8", adapters)
	}
}

// Joined weights are those that are by themselves, below one another, in all that a model has; quantized ones aren't joined.
func TestJoined(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	for name, joints := range map[string]int{"llama-gqa-headdim-tied": 2, "opt-pre": 1, "t5-tiny": 2} {
		source := find(t, modelDir(name))
		spec := newSpec(t, source.Config, nil)
		apart, err := source.Load(d, spec, 0)
		if err != nil {
			t.Fatal(err)
		}
		together, err := source.Load(d, spec.Joined(), 0)
		if err != nil {
			t.Fatal(err)
		}
		want, seen, joined := values(t, apart), 0, map[string]bool{}
		for i, in := range together.Inputs() {
			at := slices.IndexFunc(spec.Weights, func(w *blocks.Weight) bool { return w.Name == in.Name })
			below := []*blocks.Weight{spec.Weights[at]}
			if j := spec.Weights[at].Joint; j != nil {
				below = j.Weights
				joined[in.Name[strings.LastIndex(strings.TrimSuffix(in.Name, ".weight"), ".")+1:]] = true
			}
			var all []float32
			for _, w := range below {
				all = append(all, want[w.Name]...)
				seen++
			}
			got, err := together.Values[i].Float32s()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, all) || in.Shape.Size() != len(all) {
				t.Errorf("%s: %s doesn't hold the weights %d below one another", name, in.Name, len(below))
			}
		}
		if seen != len(spec.Weights) || len(joined) != joints {
			t.Errorf("%s: %d of %d weights, joined %v", name, seen, len(spec.Weights), joined)
		}
		apart.Free()
		together.Free()
	}
	lora := &models.LoRA{Rank: 2, Alpha: 2, Targets: []string{"q_proj"}, Quantize: true}
	if spec := newSpec(t, find(t, modelDir("llama-tiny")).Config, lora); len(spec.Joined().Inputs()) != len(spec.Inputs()) {
		t.Error("quantized weights are joined")
	}
}
