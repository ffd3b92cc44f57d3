package checkpoint

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/safetensors"
)

func TestSave(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run")
	dir := save(t, run, snapshot(100, 7))
	if want := filepath.Join(run, "checkpoints", "step-000100"); dir != want {
		t.Errorf("saved to %s, want %s", dir, want)
	}
	want(t, names(t, dir), []string{"config.json", "manifest.json", "model.safetensors", "tokenizer.json", "training_state.safetensors"})
	want(t, names(t, root(run)), []string{"latest", "step-000100"})
	if raw, _ := os.ReadFile(filepath.Join(root(run), "latest")); string(raw) != "step-000100\n" {
		t.Errorf("latest holds %q", raw)
	}
	wantLast(t, run, 100, 7)

	m, err := Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	want(t, slices.Sorted(maps.Keys(m.Files)), []string{"config.json", "model.safetensors", "tokenizer.json", "training_state.safetensors"})
	want(t, slices.Sorted(maps.Keys(m.Tensors)), []string{"a", "adamw.m.a", "b"})
	// Of 12 float32 whose bytes are all 7: printf '\007%.0s' $(seq 48) | sha256sum
	b := m.Tensors["b"]
	if b.File != ModelFile || b.DType != "F32" || !slices.Equal(b.Shape, []int{3, 4}) ||
		b.SHA256 != "61954f91dbee31fabb7e72625a3527b402a12711ae450ce409f1602662a288b1" {
		t.Errorf("entry of b: %+v", b)
	}
}

func TestSaveWithoutState(t *testing.T) {
	s := snapshot(1, 7)
	s.State, s.Progress, s.WeightsName, s.ShardBytes = nil, nil, AdapterFile, 8
	dir := save(t, t.TempDir(), s)
	want(t, names(t, dir), []string{"adapter_model.safetensors", "config.json", "manifest.json", "tokenizer.json"})
	if _, err := Verify(dir); err != nil {
		t.Error(err)
	}
}

func TestSaveReplacesTheSameStep(t *testing.T) {
	run := t.TempDir()
	save(t, run, snapshot(100, 7))
	save(t, run, snapshot(100, 8))
	want(t, names(t, root(run)), []string{"latest", "step-000100"})
	wantLast(t, run, 100, 8)
}

func TestSaveRefuses(t *testing.T) {
	lost := errors.New("device lost")
	for name, c := range map[string]struct {
		change func(*Snapshot)
		want   string
	}{
		"path":     {func(s *Snapshot) { s.Files["../config.json"] = nil }, `"../config.json": use a plain name`},
		"dots":     {func(s *Snapshot) { s.Files[".."] = nil }, "use a plain name"},
		"manifest": {func(s *Snapshot) { s.Files["manifest.json"] = nil }, "reserved"},
		"weights":  {func(s *Snapshot) { s.Files["model.safetensors"] = nil }, "reserved"},
		"index":    {func(s *Snapshot) { s.Files["model.safetensors.index.json"] = nil }, "reserved"},
		"name":     {func(s *Snapshot) { s.WeightsName = "pytorch_model.bin" }, `"pytorch_model.bin": use model.safetensors`},
		"step":     {func(s *Snapshot) { s.Step = -1 }, "negative step"},
		"progress": {func(s *Snapshot) { s.Progress = json.RawMessage("{") }, "isn't JSON"},
		"both":     {func(s *Snapshot) { s.State = append(s.State, s.Weights[0]) }, `"b" occurs in the weights and in the training state`},
		"twice":    {func(s *Snapshot) { s.Weights = append(s.Weights, s.Weights[0]) }, `"b" is taken`},
		"data":     {func(s *Snapshot) { s.State[0].Data = func([]byte) error { return lost } }, "device lost"},
	} {
		t.Run(name, func(t *testing.T) {
			run := t.TempDir()
			save(t, run, snapshot(1, 7))
			s := snapshot(2, 8)
			c.change(&s)
			_, err := Save(run, s)
			wantError(t, err, "save checkpoint step-", c.want)
			if name == "data" && !errors.Is(err, lost) {
				t.Errorf("%v doesn't wrap what Data returned", err)
			}
			want(t, names(t, root(run)), []string{"latest", "step-000001"})
			wantLast(t, run, 1, 7)
		})
	}
}

func TestSaveLeavesNothingOnPanic(t *testing.T) {
	run := t.TempDir()
	s := snapshot(1, 7)
	s.State[0].Data = func([]byte) error { panic("device lost") }
	func() {
		defer func() { recover() }()
		Save(run, s)
	}()
	want(t, names(t, root(run)), nil)
	save(t, run, snapshot(1, 8)) // the writers' lock was given back
}

func TestExport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out", "model")
	if err := Export(dir, snapshot(1, 7)); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(dir); err != nil {
		t.Error(err)
	}
	want(t, names(t, filepath.Dir(dir)), []string{"model"})
	wantError(t, Export(dir, snapshot(1, 8)), "isn't empty")
	if _, err := Verify(dir); err != nil {
		t.Error(err)
	}

	empty := t.TempDir()
	if err := Export(empty, snapshot(1, 7)); err != nil {
		t.Errorf("into an empty directory: %v", err)
	}
	file := filepath.Join(empty, "config.json")
	wantError(t, Export(file, snapshot(1, 7)), "not a directory")
	if _, err := Verify(empty); err != nil {
		t.Error(err)
	}
}

func TestShardsAsHuggingFace(t *testing.T) {
	raw, err := os.ReadFile("testdata/shards.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Limit int64
		Sizes []int
		Files map[string][]string
		Index string
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		s := snapshot(1, 7)
		s.Weights, s.ShardBytes = nil, c.Limit
		for i, size := range c.Sizes {
			s.Weights = append(s.Weights, tensor("t"+string(rune('0'+i)), byte(i), size/4))
		}
		dir := save(t, t.TempDir(), s)
		found, _ := filepath.Glob(filepath.Join(dir, "model*.safetensors"))
		for _, path := range found {
			f, err := safetensors.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, info := range f.Tensors() {
				got = append(got, info.Name)
			}
			f.Close()
			want(t, got, c.Files[filepath.Base(path)])
		}
		if len(found) != len(c.Files) {
			t.Errorf("%v: %d files %v, want %d", c.Sizes, len(found), found, len(c.Files))
		}
		index, _ := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
		if string(index) != c.Index {
			t.Errorf("%v: index\n%s\nwant\n%s", c.Sizes, index, c.Index)
		}
		w, err := OpenWeights(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.Sizes {
			data := make([]byte, c.Sizes[i])
			if err := w.Read("t"+string(rune('0'+i)), data); err != nil {
				t.Error(err)
			}
			if strings.Trim(string(data), string(rune(i))) != "" {
				t.Errorf("%v: tensor %d is another's", c.Sizes, i)
			}
		}
		w.Close()
	}
}
