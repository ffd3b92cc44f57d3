package pretrained_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/evaluation"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/models"
)

var families = []string{"llama", "opt", "t5"}

// adapterDir holds a family's adapter, written by PEFT (testdata/make_lora.py).
func adapterDir(family string) string { return filepath.Join("testdata", family+"-lora") }

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// checkScores compares the likelihood of a family's records with PEFT's.
func checkScores(t *testing.T, d *device.Device, source *pretrained.Source, family string) {
	t.Helper()
	var reference struct {
		Score []struct {
			Inputs []int32 `json:"input_ids"`
			Labels []int32
		}
	}
	var expected struct {
		MeanNLL []float64 `json:"mean_nll"`
	}
	readJSON(t, filepath.Join(modelDir(family+"-tiny"), "expected.json"), &reference)
	readJSON(t, filepath.Join(adapterDir(family), "expected.json"), &expected)
	encoderDecoder := source.Config.EncoderDecoder()
	var examples []data.Example
	for _, r := range reference.Score {
		labels := r.Labels
		if !encoderDecoder { // ours say what follows a position
			labels = append(append([]int32{}, labels[1:]...), data.NoLoss)
		}
		examples = append(examples, data.Example{Input: r.Inputs, Labels: labels})
	}
	l, err := data.NewLoader(examples, data.LoaderConfig{
		BatchSize: len(examples), Packing: data.PackingNone, Order: data.OrderFile, EncoderDecoder: encoderDecoder,
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := source.Load(d, newSpec(t, source.Config, source.LoRA), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Free()
	scorer := evaluation.NewScorer(d, p.Spec)
	defer scorer.Close()
	sums, counts, err := scorer.Score(p.Values, l.Next())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range expected.MeanNLL {
		if got := float64(sums[i] / counts[i]); math.Abs(got-want) > 1e-4*want {
			t.Errorf("record %d: %v, PEFT %v", i, got, want)
		}
	}
}

// An adapter that PEFT wrote scores as in PEFT, and so does the model that it is merged into, whose weights are those of
// merge_and_unload.
func TestAdapterOfPEFT(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			source := find(t, adapterDir(family))
			if source.LoRA == nil || source.LoRA.Rank != 2 || source.LoRA.Alpha != 8 || len(source.LoRA.Targets) != 2 {
				t.Fatalf("settings %+v, want rank 2, alpha 8 and two targets", source.LoRA)
			}
			checkScores(t, d, source, family)

			dir := filepath.Join(t.TempDir(), "merged")
			if err := source.Export(dir, pretrained.Extra{}); err != nil {
				t.Fatal(err)
			}
			got := tensors(t, filepath.Join(dir, "model.safetensors"))
			base := tensors(t, filepath.Join(modelDir(family+"-tiny"), "model.safetensors"))
			expected := tensors(t, filepath.Join(adapterDir(family), "merged.safetensors"))
			moved := 0
			for name, w := range base {
				if largest(float32s(t, w), float32s(t, got[name])) > 0 {
					moved++
				}
			}
			adapters := len(tensors(t, filepath.Join(adapterDir(family), "adapter_model.safetensors")))
			if moved != adapters/2 || len(got) != len(base) {
				t.Errorf("%d of %d weights changed, want %d of %d", moved, len(got), adapters/2, len(base))
			}
			worst := 0.0
			for name, want := range expected {
				worst = max(worst, largest(float32s(t, want), float32s(t, got[name])))
			}
			t.Logf("merged weights differ by %.1e at most", worst)
			if worst > 1e-6 {
				t.Errorf("merged weights differ from PEFT's by %v", worst)
			}
			checkScores(t, d, find(t, dir), family)
		})
	}
}

func largest(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	most := 0.0
	for i := range a {
		most = max(most, math.Abs(float64(a[i]-b[i])))
	}
	return most
}

// Exported weights keep their bits, float16 as the float32 of the same value.
func TestExportKeepsWeights(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	for name, dtype := range map[string]string{"opt-bfloat16": "BF16", "opt-float16": "F32", "llama-gqa-headdim-tied": "F32"} {
		source := find(t, modelDir(name))
		dir := filepath.Join(t.TempDir(), "out")
		if err := source.Export(dir, pretrained.Extra{}); err != nil {
			t.Fatal(err)
		}
		for weight, tensor := range tensors(t, filepath.Join(dir, "model.safetensors")) {
			if tensor.DType != dtype {
				t.Errorf("%s: %s is exported as %s, want %s", name, weight, tensor.DType, dtype)
			}
		}
		exported := find(t, dir)
		var loaded []map[string][]float32
		for _, s := range []*pretrained.Source{source, exported} {
			p, err := s.Load(d, newSpec(t, s.Config, nil), 0)
			if err != nil {
				t.Fatal(err)
			}
			loaded = append(loaded, values(t, p))
			p.Free()
		}
		for weight, v := range loaded[0] {
			if !slices.Equal(v, loaded[1][weight]) {
				t.Errorf("%s: %s changed", name, weight)
			}
		}
		if err := source.Export(dir, pretrained.Extra{}); err == nil {
			t.Errorf("%s: exported over another model", name)
		}
	}
}

// withAdapter is a copy of the llama adapter with another configuration or other tensors.
func withAdapter(t *testing.T, old, new string, change func(map[string]safetensors.Tensor)) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(adapterDir("llama"), "adapter_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(raw), old) != 1 {
		t.Fatalf("%q isn't once in %s", old, raw)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), []byte(strings.Replace(string(raw), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	all := tensors(t, filepath.Join(adapterDir("llama"), "adapter_model.safetensors"))
	change(all)
	var list []safetensors.Tensor
	for _, tensor := range all {
		list = append(list, tensor)
	}
	if _, err := safetensors.Write(filepath.Join(dir, "adapter_model.safetensors"), list, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What would change an adapter's arithmetic, and tensors that don't fit it, are refused by name: for what computes with it as for
// what merges it.
func TestAdaptersRefused(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	const a = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"
	const embedding = "base_model.model.model.embed_tokens.weight"
	keep := func(map[string]safetensors.Tensor) {}
	for _, test := range []struct {
		old, new string
		change   func(map[string]safetensors.Tensor)
		want     string
	}{
		{`"peft_type": "LORA"`, `"peft_type": "IA3"`, keep, `"IA3"`},
		{`"use_dora": false`, `"use_dora": true`, keep, "use_dora"},
		{`"use_rslora": false`, `"use_rslora": true`, keep, "use_rslora"},
		{`"modules_to_save": null`, `"modules_to_save": ["lm_head"]`, keep, "modules_to_save"},
		{`"rank_pattern": {}`, `"rank_pattern": {"q_proj": 4}`, keep, "rank_pattern"},
		{`"fan_in_fan_out": false`, `"fan_in_fan_out": true`, keep, "fan_in_fan_out"},
		{`"bias": "none"`, `"bias": "all"`, keep, `"all"`},
		{`"init_lora_weights": true`, `"init_lora_weights": "pissa_niter_16"`, keep, `"pissa_niter_16" changes the base's weights`},
		{`"init_lora_weights": true`, `"init_lora_weights": "OLoRA"`, keep, "path_initial_model_for_weight_conversion"},
		{`"r": 2`, `"r": 0`, keep, "r is 0"},
		{`"r": 2`, `"r": 4`, keep, "[2 64], not [4 64]"},
		{`"v_proj",`, `"x_proj",`, keep, `"x_proj"`},
		{`"v_proj",`, ``, keep, "v_proj.lora_A.weight"},
		{`"r": 2`, `"r": 2`, func(all map[string]safetensors.Tensor) { delete(all, a) }, "1 tensors missing: " + strings.TrimPrefix(a, "base_model.model.")},
		{`"r": 2`, `"r": 2`, func(all map[string]safetensors.Tensor) { all[embedding] = zeros(embedding, 768, 64) },
			embedding + ", which isn't LoRA's; merge the adapter with PEFT first"},
		{`models/testdata/llama-tiny`, `models/testdata/none`, keep, "models/testdata/none"},
	} {
		dir := withAdapter(t, test.old, test.new, test.change)
		for use, do := range map[string]func(*pretrained.Source) error{
			"loaded": func(source *pretrained.Source) error {
				spec, err := pretrained.NewSpec(source.Config, source.LoRA, dtypes.Float32, dtypes.Float32)
				if err == nil {
					_, err = source.Load(d, spec, 0)
				}
				return err
			},
			"merged": func(source *pretrained.Source) error {
				return source.Export(filepath.Join(t.TempDir(), "merged"), pretrained.Extra{})
			},
		} {
			source, err := pretrained.Find(dir)
			if err == nil {
				err = do(source)
				source.Close()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s for %s, %s: %v, want one line with %q", test.new, test.old, use, err, test.want)
			}
		}
	}
	for _, init := range []string{"false", "null", `"gaussian"`, `"eva"`, `"orthogonal"`} { // which leave the base as it was
		find(t, withAdapter(t, `"init_lora_weights": true`, `"init_lora_weights": `+init, keep))
	}
}

// An adapter of an adapter would lose one of the two, and one of itself would never be found.
func TestAdapterOfAdapter(t *testing.T) {
	dir := t.TempDir()
	for _, base := range []string{adapterDir("llama"), dir} {
		raw, err := pretrained.AdapterConfig(models.LoRA{Rank: 2, Targets: []string{"q_proj"}}, base, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		want := "adapter " + dir + ": its base " + base + " is an adapter, too; merge that one"
		if _, err := pretrained.Find(dir); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Weights of an adapter that are pickled are told from missing ones.
func TestPickledAdapter(t *testing.T) {
	dir := withAdapter(t, `"r": 2`, `"r": 2`, func(map[string]safetensors.Tensor) {})
	if err := os.Rename(filepath.Join(dir, "adapter_model.safetensors"), filepath.Join(dir, "adapter_model.bin")); err != nil {
		t.Fatal(err)
	}
	source := find(t, dir)
	if err := source.Check(newSpec(t, source.Config, source.LoRA)); err == nil || !strings.Contains(err.Error(), "adapter_model.bin, which isn't read") {
		t.Errorf("%v", err)
	}
}

// The settings that are written for an adapter are read back.
func TestAdapterConfig(t *testing.T) {
	lora := models.LoRA{Rank: 3, Alpha: 7.5, Dropout: 0.25, Targets: []string{"fc1", "q_proj"}}
	raw, err := pretrained.AdapterConfig(lora, modelDir("opt-tiny"), false)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	got := find(t, dir).LoRA
	if got == nil || got.Rank != lora.Rank || got.Alpha != lora.Alpha || got.Dropout != lora.Dropout || !slices.Equal(got.Targets, lora.Targets) {
		t.Errorf("read %+v, wrote %+v", got, lora)
	}
}
