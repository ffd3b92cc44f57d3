package pretrained_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/gguf"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/safetensors"
)

// A model that went through a GGUF file has the weights, the tokenizer and the ends of texts that it had.
func TestGGUF(t *testing.T) {
	d := devicetest.Open(t, device.Go)
	for _, name := range []string{"llama-tiny", "llama-gqa-headdim-tied", "llama-llama3"} {
		t.Run(name, func(t *testing.T) {
			original := find(t, modelDir(name))
			path := filepath.Join(t.TempDir(), "model.gguf")
			if err := original.ExportGGUF(path, gguf.F32, pretrained.Extra{}); err != nil {
				t.Fatal(err)
			}
			copied := find(t, path)
			if got, want := copied.EOS(), original.EOS(); !slices.Equal(got, want) {
				t.Errorf("ends %v, want %v", got, want)
			}
			want, err := original.Load(d, newSpec(t, original.Config, nil), 0)
			if err != nil {
				t.Fatal(err)
			}
			defer want.Free()
			got, err := copied.Load(d, newSpec(t, copied.Config, nil), 0)
			if err != nil {
				t.Fatal(err)
			}
			defer got.Free()
			expected := values(t, want)
			for name, v := range values(t, got) {
				if !slices.Equal(v, expected[name]) {
					t.Errorf("%s differs", name)
				}
			}
			if err := original.ExportGGUF(path, gguf.F32, pretrained.Extra{}); err == nil || !strings.Contains(err.Error(), "it exists") {
				t.Errorf("an existing file: %v", err)
			}
		})
	}
}

// Quantized weights are exported as the float32 numbers that they stand for.
func TestQuantizedGGUF(t *testing.T) {
	dir := t.TempDir()
	path, again := filepath.Join(dir, "model.gguf"), filepath.Join(dir, "again.gguf")
	if err := find(t, modelDir("llama-tiny")).ExportGGUF(path, gguf.Q8_0, pretrained.Extra{}); err != nil {
		t.Fatal(err)
	}
	quantized := find(t, path)
	if err := quantized.Export(filepath.Join(dir, "exported"), pretrained.Extra{}); err != nil {
		t.Fatal(err)
	}
	if err := find(t, filepath.Join(dir, "exported")).ExportGGUF(again, gguf.Q8_0, pretrained.Extra{}); err != nil {
		t.Fatal(err)
	}
	read := func(path, name string) []byte {
		f, err := gguf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, _ := f.Tensor(name)
		raw := make([]byte, info.Bytes())
		if err := f.Read(name, raw); err != nil {
			t.Fatal(err)
		}
		return raw
	}
	// The scale of a block may move by a rounding; the numbers are those of the first time.
	for _, name := range []string{"output.weight", "blk.1.attn_q.weight"} {
		a, b := read(path, name), read(again, name)
		for i := 0; i < len(a); i += 34 {
			if !bytes.Equal(a[i+2:i+34], b[i+2:i+34]) {
				t.Fatalf("%s: block %d differs", name, i/34)
			}
		}
	}
}

// A GGUF file's tokenizer can be another model's, and what it says of chats comes with it.
func TestTokenizerOfGGUF(t *testing.T) {
	original := find(t, modelDir("llama-tiny"))
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := original.ExportGGUF(path, gguf.F32, pretrained.Extra{}); err != nil {
		t.Fatal(err)
	}
	source := find(t, "opt-125m") // whose size alone is known
	if err := source.UseTokenizer(path); err != nil {
		t.Fatal(err)
	}
	want, err := original.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	got, err := source.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	const text = "Write of a river.\n\nIt is long."
	if a, b := got.Encode(text, true), want.Encode(text, true); !slices.Equal(a, b) {
		t.Errorf("ids %v, want %v", a, b)
	}
	files, err := source.TokenizerFiles(got)
	if err != nil || len(files["tokenizer_config.json"]) == 0 {
		t.Errorf("%d files (error %v), want tokenizer_config.json among them", len(files), err)
	}
	missing := path + "x.gguf"
	if err := source.UseTokenizer(missing); err == nil || !strings.HasPrefix(err.Error(), "tokenizer ") || strings.Count(err.Error(), missing) != 1 {
		t.Errorf("a missing file: %v", err)
	}
}

func TestGGUFRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := find(t, modelDir("opt-tiny")).ExportGGUF(path, gguf.F32, pretrained.Extra{}); err == nil || !strings.Contains(err.Error(), "written of llama models, not of opt") {
		t.Errorf("OPT: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
	// What breaks off when part of the file is written.
	source := find(t, changed(t, "llama-tiny", func(map[string]safetensors.Tensor) {}))
	weights := filepath.Join(source.Dir, "model.safetensors")
	stat, err := os.Stat(weights)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(weights, stat.Size()/2); err != nil {
		t.Fatal(err)
	}
	if err := source.ExportGGUF(path, gguf.F32, pretrained.Extra{}); err == nil || !strings.Contains(err.Error(), "model.safetensors") {
		t.Errorf("weights that became shorter: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
}
