package checkpoint

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/safetensors"
)

// TestMain lets a test start this binary as another process that writes to a
// run: it gives the task in the environment.
func TestMain(m *testing.M) {
	switch os.Getenv("CHECKPOINT_TEST_TASK") {
	case "save":
		saveAndDie()
	case "lock":
		lockAndDie()
	default:
		os.Exit(m.Run())
	}
}

// tensor is a float32 tensor whose bytes are all the same.
func tensor(name string, fill byte, shape ...int) safetensors.Tensor {
	return safetensors.Tensor{
		Info: safetensors.Info{Name: name, DType: "F32", Shape: shape},
		Data: func(dst []byte) error {
			for i := range dst {
				dst[i] = fill
			}
			return nil
		},
	}
}

// snapshot is a small checkpoint whose contents all depend on fill.
func snapshot(step int, fill byte) Snapshot {
	return Snapshot{
		Step: step,
		Files: map[string][]byte{
			"config.json":    fmt.Appendf(nil, `{"fill": %d}`, fill),
			"tokenizer.json": []byte("{}"),
		},
		WeightsName: ModelFile,
		Weights:     []safetensors.Tensor{tensor("b", fill, 3, 4), tensor("a", fill, 5)},
		State:       []safetensors.Tensor{tensor("adamw.m.a", fill, 5)},
		Progress:    json.RawMessage(fmt.Sprintf(`{"epoch": 1, "fill": %d, "note": "<&>"}`, fill)),
	}
}

func save(t *testing.T, run string, s Snapshot) string {
	t.Helper()
	dir, err := Save(run, s)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// wantLast checks that the run's last checkpoint is that of step and that its
// contents have this fill.
func wantLast(t *testing.T, run string, step int, fills ...byte) (skipped []error) {
	t.Helper()
	dir, m, skipped, err := Last(run)
	if err != nil {
		t.Errorf("Last: %v", err)
		return skipped
	}
	var progress struct{ Fill byte }
	if err := json.Unmarshal(m.Progress, &progress); err != nil {
		t.Error(err)
	}
	if m.Step != step || !slices.Contains(fills, progress.Fill) {
		t.Errorf("last checkpoint is of step %d, fill %d; want step %d, fill %v", m.Step, progress.Fill, step, fills)
	}
	w, err := OpenWeights(dir)
	if err != nil {
		t.Error(err)
		return skipped
	}
	defer w.Close()
	for _, info := range w.Tensors() {
		data := make([]byte, info.Bytes())
		if err := w.Read(info.Name, data); err != nil || data[0] != progress.Fill {
			t.Errorf("tensor %s holds %d, not %d: %v", info.Name, data[0], progress.Fill, err)
		}
	}
	return skipped
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func want(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// wantError checks that an error is one line that has all of the parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q doesn't say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error has several lines: %q", err)
	}
}

func root(run string) string { return filepath.Join(run, checkpoints) }
