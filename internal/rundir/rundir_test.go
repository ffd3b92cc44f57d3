package rundir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCreate(t *testing.T) {
	write := func(t *testing.T, path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		files []string // in the place that run.dir names, beforehand
		dir   string
		want  string // what the error says, DIR standing for the path; empty: none
	}{
		{name: "new", dir: "run"},
		{name: "new with parents", dir: "runs/a/b"},
		{name: "unrelated files", files: []string{"run/notes.txt"}, dir: "run"},
		{
			name: "run with a checkpoint", files: []string{"run/config.yaml", "run/checkpoints/latest"}, dir: "run",
			want: "run directory DIR already holds a run; resume it with: train resume DIR, or choose another run.dir",
		}, {
			name: "run without a checkpoint", files: []string{"run/metrics.jsonl"}, dir: "run",
			want: "run directory DIR already holds a run that has no checkpoint to resume from; delete it, or choose another run.dir",
		}, {
			name: "a file", files: []string{"run"}, dir: "run",
			want: "run directory DIR is a file; choose another run.dir",
		}, {
			name: "parent is a file", files: []string{"runs"}, dir: "runs/a",
			want: "cannot use run directory DIR: not a directory; choose another run.dir",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			for _, f := range test.files {
				write(t, filepath.Join(root, f))
			}
			path := filepath.Join(root, test.dir)
			d, err := Create(path)
			if test.want != "" {
				if err == nil || err.Error() != strings.ReplaceAll(test.want, "DIR", path) {
					t.Fatalf("got error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(string(d)); err != nil || !info.IsDir() {
				t.Fatalf("no directory: %v", err)
			}
			if left, _ := filepath.Glob(path + "/.probe*"); len(left) > 0 {
				t.Fatalf("left %v", left)
			}
		})
	}
	if _, err := Create(""); err == nil {
		t.Error("empty path accepted")
	}
}

func TestOpen(t *testing.T) {
	path := t.TempDir()
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "no run in "+path) {
		t.Errorf("got error %v", err)
	}
	if err := os.WriteFile(Dir(path).Config(), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(path); err != nil || string(d) != path {
		t.Errorf("got %q, %v", d, err)
	}
}
