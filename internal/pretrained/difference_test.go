package pretrained_test

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/dtypes/float16"

	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/internal/testneeds"
)

// bits16 rounds values to 16 bits, half of them moved by a little where move is given.
func bits16(values []float32, dtype string, move *rand.Rand) []byte {
	raw := make([]byte, 2*len(values))
	for i, v := range values {
		if move != nil && move.IntN(2) == 0 {
			v += 1e-3 * float32(move.NormFloat64())
		}
		bits := float16.FromFloat32(v).Bits()
		if dtype == "BF16" {
			bits = bfloat16.FromFloat32(v).Bits()
		}
		binary.LittleEndian.PutUint16(raw[2*i:], bits)
	}
	return raw
}

// rounded is a llama whose weights have 16 bits; moved by move, if that isn't nil.
func rounded(t *testing.T, dtype string, move *rand.Rand) string {
	t.Helper()
	return changed(t, "llama-tiny", func(all map[string]safetensors.Tensor) {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			w := all[name]
			all[name] = tensor(name, dtype, w.Shape, bits16(float32s(t, w), dtype, move))
		}
	})
}

// Adding the difference to what was subtracted gives the same numbers back, where the difference of two 16-bit numbers fits 24
// bits: for these weights, everywhere.
func TestDifferenceGivesTheModelBack(t *testing.T) {
	for _, dtype := range []string{"BF16", "F16"} {
		base, tuned := rounded(t, dtype, nil), rounded(t, dtype, rand.New(rand.NewPCG(1, 2)))
		dir := t.TempDir()
		difference, sum := filepath.Join(dir, "difference"), filepath.Join(dir, "sum")
		export := func(model, to string, extra pretrained.Extra) map[string]safetensors.Tensor {
			t.Helper()
			if err := find(t, model).Export(to, extra); err != nil {
				t.Fatal(err)
			}
			return tensors(t, filepath.Join(to, "model.safetensors"))
		}
		d := export(tuned, difference, pretrained.Extra{Minus: find(t, base)})
		got := export(difference, sum, pretrained.Extra{Plus: find(t, base)})
		want := tensors(t, filepath.Join(tuned, "model.safetensors"))
		moved := 0
		for name, w := range want {
			if got[name].DType != "F32" || d[name].DType != "F32" {
				t.Fatalf("%s is %s in the difference and %s in the sum, want F32", name, d[name].DType, got[name].DType)
			}
			if !slices.Equal(float32s(t, got[name]), wide(t, w)) {
				t.Errorf("%s: %s isn't what it was", dtype, name)
			}
			for _, v := range float32s(t, d[name]) {
				if v != 0 {
					moved++
				}
			}
		}
		if moved < 1000 {
			t.Errorf("%s: %d weights differ; the test needs more", dtype, moved)
		}
	}
}

// wide are numbers of 16 bits.
func wide(t *testing.T, w safetensors.Tensor) []float32 {
	t.Helper()
	raw := make([]byte, w.Bytes())
	if err := w.Data(raw); err != nil {
		t.Fatal(err)
	}
	out := make([]float32, len(raw)/2)
	for i := range out {
		bits := binary.LittleEndian.Uint16(raw[2*i:])
		out[i] = float16.FromBits(bits).Float32()
		if w.DType == "BF16" {
			out[i] = bfloat16.FromBits(bits).Float32()
		}
	}
	return out
}

// The sum is numpy's, bit for bit: of a float32 difference with one row more, as LongForm's is published, and a float16 base. The
// row that the base hasn't got is the difference's.
func TestSumIsNumpys(t *testing.T) {
	python := testneeds.Python(t, "numpy", "safetensors")
	base := rounded(t, "F16", nil)
	tokenizer, err := os.ReadFile(filepath.Join(modelDir("llama-tiny"), "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "tokenizer.json"), tokenizer, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	difference, sum := filepath.Join(dir, "difference"), filepath.Join(dir, "sum")
	testneeds.Output(t, exec.Command(python, "-c", `
import json, os, sys

import numpy as np
from safetensors.numpy import load_file, save_file
base, difference, expected = sys.argv[1:]
weights = load_file(base + "/model.safetensors")
random = np.random.default_rng(0)
diff, total = {}, {}
for name, w in weights.items():
    w = w.astype(np.float32)
    if len(w) == 768:
        w = np.vstack([w, np.zeros((1, w.shape[1]), np.float32)])
    diff[name] = random.normal(0, 1e-2, w.shape).astype(np.float32)
    total[name] = w + diff[name]
os.mkdir(difference)
save_file(diff, difference + "/model.safetensors")
save_file(total, expected)
config = json.load(open(base + "/config.json"))
json.dump(config | {"vocab_size": 769}, open(difference + "/config.json", "w"))
`, base, difference, filepath.Join(dir, "expected.safetensors")))
	if err := find(t, difference).Export(sum, pretrained.Extra{Plus: find(t, base)}); err != nil {
		t.Fatal(err)
	}
	got := tensors(t, filepath.Join(sum, "model.safetensors"))
	for name, want := range tensors(t, filepath.Join(dir, "expected.safetensors")) {
		if !slices.Equal(float32s(t, got[name]), float32s(t, want)) {
			t.Errorf("%s isn't numpy's sum", name)
		}
	}
	tok, err := find(t, sum).Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := tok.ID("[EOI]"); !ok || int(id) != tok.Size()-1 {
		t.Errorf("[EOI] has id %d of %d (%v); it takes the last row", id, tok.Size(), ok)
	}
}

func TestBasesThatDontFit(t *testing.T) {
	config := func(change func(map[string]any)) string {
		dir := changed(t, "llama-tiny", func(map[string]safetensors.Tensor) {})
		path := filepath.Join(dir, "config.json")
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]any
		if err := json.Unmarshal(raw, &all); err != nil {
			t.Fatal(err)
		}
		change(all)
		if raw, err = json.Marshal(all); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for _, test := range []struct {
		name, base, want string
	}{
		{"family", modelDir("opt-tiny"), "is of the family llama, and the base " + modelDir("opt-tiny") + " of opt"},
		{"settings", config(func(all map[string]any) { all["rms_norm_eps"] = 0.5 }), "rms_norm_eps is 1e-06 here and 0.5 there"},
		{"sizes", modelDir("llama-gqa-headdim-tied"), "hidden_size is 64 here and 32 there"},
		{"larger vocabulary", largerVocabulary(t), "model.embed_tokens.weight is [768 64] here and [770 64] there"},
		{"damaged", changed(t, "llama-tiny", func(all map[string]safetensors.Tensor) { delete(all, "model.norm.weight") }), "model.norm.weight"},
		{"special tokens don't matter", config(func(all map[string]any) { all["bos_token_id"] = 0; all["attention_dropout"] = 0.1 }), ""},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		err := find(t, modelDir("llama-tiny")).Export(dir, pretrained.Extra{Plus: find(t, test.base)})
		_, there := os.Stat(dir)
		switch {
		case test.want == "":
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		case err == nil || !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		case there == nil:
			t.Errorf("%s: the directory was written", test.name)
		}
	}
}

// largerVocabulary is a llama with two rows more.
func largerVocabulary(t *testing.T) string {
	dir := changed(t, "llama-tiny", func(all map[string]safetensors.Tensor) {
		for name, w := range all {
			if w.Shape[0] == 768 {
				all[name] = zeros(name, 770, 64)
			}
		}
	})
	path := filepath.Join(dir, "config.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(raw), `"vocab_size": 768`, `"vocab_size": 770`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
