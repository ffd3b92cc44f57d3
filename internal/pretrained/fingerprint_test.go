package pretrained_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/gguf"
	"github.com/longform-go/longform/internal/pretrained"
)

func fingerprint(t *testing.T, model string) string {
	t.Helper()
	print, err := find(t, model).Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	return print
}

func copied(t *testing.T, model string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copied")
	if err := os.CopyFS(dir, os.DirFS(model)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// edit changes a file, or begins it.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(raw), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A copy is the same model, however old its files are; whatever its texts come from makes another one.
func TestFingerprint(t *testing.T) {
	base := copied(t, modelDir("llama-tiny"))
	adapter := copied(t, adapterDir("llama"))
	edit(t, filepath.Join(adapter, "adapter_config.json"), func(raw []byte) []byte {
		return bytes.Replace(raw, []byte(modelDir("llama-tiny")), []byte(base), 1)
	})
	file := filepath.Join(t.TempDir(), "model.gguf")
	if err := find(t, base).ExportGGUF(file, gguf.F32, pretrained.Extra{}); err != nil {
		t.Fatal(err)
	}
	models := []string{base, adapter, file}
	var before []string
	for i, model := range models {
		before = append(before, fingerprint(t, model))
		if len(before[i]) != 64 || strings.Contains(strings.Join(before[:i], " "), before[i]) {
			t.Errorf("%s has the fingerprint %q", model, before[i])
		}
	}
	again := copied(t, base)
	if err := os.Chtimes(filepath.Join(again, "model.safetensors"), time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if got := fingerprint(t, again); got != before[0] {
		t.Errorf("a copy has the fingerprint %s, and what it is of %s", got, before[0])
	}
	flip := func(raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw }
	space := func(raw []byte) []byte { return append(raw, ' ') }
	for _, test := range []struct {
		path    string
		change  func([]byte) []byte
		changes []bool // of models
	}{
		{filepath.Join(base, "model.safetensors"), flip, []bool{true, true, false}},
		{filepath.Join(base, "config.json"), space, []bool{true, true, false}},
		{filepath.Join(base, "generation_config.json"), func([]byte) []byte { return []byte(`{"eos_token_id": 7}`) }, []bool{true, true, false}},
		{filepath.Join(base, "tokenizer.json"), space, []bool{true, true, false}},
		{filepath.Join(base, "README.md"), space, []bool{false, false, false}},
		{filepath.Join(adapter, "adapter_model.safetensors"), flip, []bool{false, true, false}},
		{filepath.Join(adapter, "adapter_config.json"), space, []bool{false, true, false}},
		{file, flip, []bool{false, false, true}},
	} {
		edit(t, test.path, test.change)
		for i, model := range models {
			now := fingerprint(t, model)
			if changed := now != before[i]; changed != test.changes[i] {
				t.Errorf("with another %s, %s is another model: %v, want %v", filepath.Base(test.path), filepath.Base(model), changed, test.changes[i])
			}
			before[i] = now
		}
	}
	for _, weights := range []string{filepath.Join(adapter, "adapter_model.safetensors"), filepath.Join(base, "model.safetensors")} {
		if err := os.Remove(weights); err != nil {
			t.Fatal(err)
		}
		if got := fingerprint(t, adapter); got != "" {
			t.Errorf("without its weights a model has the fingerprint %s", got)
		}
	}
}
