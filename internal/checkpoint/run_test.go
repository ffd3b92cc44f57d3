package checkpoint

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// damages are what may happen to a file of a checkpoint, with a part of what
// is said about it.
var damages = map[string]struct {
	file   string
	damage func(t *testing.T, path string)
	want   string
}{
	"weights flipped":    {ModelFile, flip(-1), "model.safetensors is damaged: its contents have changed in tensor b"},
	"header flipped":     {ModelFile, flip(30), "model.safetensors is damaged"},
	"state flipped":      {StateFile, flip(-1), "training_state.safetensors is damaged: its contents have changed in tensor adamw.m.a"},
	"config flipped":     {"config.json", flip(3), "config.json is damaged"},
	"manifest flipped":   {manifestFile, flip(0), "manifest.json is damaged"},
	"progress changed":   {manifestFile, replace(`"epoch": 1`, `"epoch": 2`), "manifest.json is damaged: its checksum doesn't match"},
	"hash changed":       {manifestFile, replace(`"sha256": "`, `"sha256": "0`), "manifest.json is damaged: its checksum doesn't match"},
	"version":            {manifestFile, replace(`"version": 1`, `"version": 2`), "version 2, this program reads version 1"},
	"weights truncated":  {ModelFile, truncate(100), "model.safetensors has 100 bytes instead of"},
	"weights empty":      {ModelFile, truncate(0), "model.safetensors has 0 bytes instead of"},
	"manifest truncated": {manifestFile, truncate(100), "manifest.json is damaged"},
	"manifest empty":     {manifestFile, truncate(0), "manifest.json is damaged"},
	"weights missing":    {ModelFile, missing, "model.safetensors is missing"},
	"config missing":     {"config.json", missing, "config.json is missing"},
	"manifest missing":   {manifestFile, missing, "manifest.json is missing"},
}

func flip(at int) func(*testing.T, string) {
	return edit(func(b []byte) []byte {
		b[(at+len(b))%len(b)] ^= 1
		return b
	})
}

func replace(from, to string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		edit(func(b []byte) []byte {
			if !bytes.Contains(b, []byte(from)) {
				t.Fatalf("%s has no %q: %s", path, from, b)
			}
			return bytes.Replace(b, []byte(from), []byte(to), 1)
		})(t, path)
	}
}

func truncate(n int) func(*testing.T, string) {
	return edit(func(b []byte) []byte { return b[:n] })
}

func edit(change func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(b), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func missing(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestLastSkipsDamaged(t *testing.T) {
	for name, c := range damages {
		t.Run(name, func(t *testing.T) {
			run := t.TempDir()
			save(t, run, snapshot(9, 6))
			save(t, run, snapshot(10, 7))
			dir := save(t, run, snapshot(200, 8))
			c.damage(t, filepath.Join(dir, c.file))
			skipped := wantLast(t, run, 10, 7)
			if len(skipped) != 1 {
				t.Fatalf("skipped %v", skipped)
			}
			wantError(t, skipped[0], "checkpoint "+dir, c.want)
		})
	}
}

func TestLastWithoutAny(t *testing.T) {
	run := t.TempDir()
	if _, _, _, err := Last(run); !errors.Is(err, ErrNone) {
		t.Errorf("empty run: %v", err)
	}
	dir := save(t, run, snapshot(1, 7))
	missing(t, filepath.Join(dir, ModelFile))
	_, _, skipped, err := Last(run)
	wantError(t, err, "no usable checkpoint", "1 damaged", "model.safetensors is missing")
	if errors.Is(err, ErrNone) || len(skipped) != 1 {
		t.Errorf("%v, skipped %v", err, skipped)
	}
}

func TestLastIgnoresWhatIsNoCheckpoint(t *testing.T) {
	run := t.TempDir()
	save(t, run, snapshot(1, 7))
	for _, name := range []string{"step-000009x", "step-9", "other", ".tmp-step-000010"} {
		if err := os.Mkdir(filepath.Join(root(run), name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root(run), "step-000011"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if skipped := wantLast(t, run, 1, 7); len(skipped) > 0 {
		t.Errorf("skipped %v", skipped)
	}
}

func TestRetain(t *testing.T) {
	run := t.TempDir()
	for i := range 6 {
		save(t, run, snapshot(i, byte(i)))
	}
	if err := Mark(run, "best", filepath.Join(root(run), "step-000001")); err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(root(run), "notes.txt")
	if err := os.WriteFile(note, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		keep int
		want []string
	}{
		{0, []string{"best", "latest", "notes.txt", "step-000000", "step-000001", "step-000002", "step-000003", "step-000004", "step-000005"}},
		{3, []string{"best", "latest", "notes.txt", "step-000001", "step-000003", "step-000004", "step-000005"}},
		{1, []string{"best", "latest", "notes.txt", "step-000001", "step-000005"}},
	} {
		if err := Retain(run, c.keep); err != nil {
			t.Fatal(err)
		}
		want(t, names(t, root(run)), c.want)
	}
}

// TestRetainAfterResume: the newest is damaged, the run went on from the one
// before and saved. What it saved counts, and nothing good goes for the
// damaged one's sake.
func TestRetainAfterResume(t *testing.T) {
	run := t.TempDir()
	save(t, run, snapshot(100, 1))
	save(t, run, snapshot(200, 2))
	missing(t, filepath.Join(save(t, run, snapshot(300, 3)), ModelFile))
	save(t, run, snapshot(250, 4))
	if err := Retain(run, 2); err != nil {
		t.Fatal(err)
	}
	want(t, names(t, root(run)), []string{"latest", "step-000200", "step-000250", "step-000300"})
	wantLast(t, run, 250, 4)
	save(t, run, snapshot(300, 5))
	if err := Retain(run, 2); err != nil {
		t.Fatal(err)
	}
	want(t, names(t, root(run)), []string{"latest", "step-000250", "step-000300"})
	wantLast(t, run, 300, 5)
}

func TestMark(t *testing.T) {
	run := t.TempDir()
	if _, err := Marked(run, "best"); !errors.Is(err, ErrNone) {
		t.Errorf("an unset mark: %v", err)
	}
	first, second := save(t, run, snapshot(1, 7)), save(t, run, snapshot(2, 8))
	for _, dir := range []string{first, second} {
		if err := Mark(run, "best", dir); err != nil {
			t.Fatal(err)
		}
		if got, err := Marked(run, "best"); err != nil || got != dir {
			t.Errorf("marked %s, %v; want %s", got, err, dir)
		}
	}
	wantError(t, Mark(run, "latest", first), `"latest" can't be the name of a mark`)
	wantError(t, Mark(run, "../best", first), "can't be the name of a mark")
	wantError(t, Mark(run, "step-000001", first), "can't be the name of a mark")
	wantError(t, Mark(run, "best", filepath.Join(run, "step-000003")), "isn't a checkpoint of "+run)
	if err := os.RemoveAll(second); err != nil {
		t.Fatal(err)
	}
	_, err := Marked(run, "best")
	wantError(t, err, second+" is missing")
}
