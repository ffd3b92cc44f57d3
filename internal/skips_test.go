package internal_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// skips are the files whose tests may be skipped in CI, too, and why. All others say with testneeds.Missing what they lack.
var skips = map[string]string{
	"cmd/train/testdata/script/errors/disk.txtar": "the condition mount fails in CI",
	"internal/launch/kubernetes/node_test.go":     "a Kubernetes API server takes too long to build",
	"internal/launch/launchtest/launchtest.go":    "what a launcher can't do isn't tested with it",
	"internal/testneeds/testneeds.go":             "this is testneeds.Missing",
	"internal/training/recipes_test.go":           "make recipes runs it",
}

var skipping = map[string]*regexp.Regexp{
	".go":    regexp.MustCompile(`\.Skip(f|Now)?\(`),
	".txtar": regexp.MustCompile(`(?m)^(\[.*\] *)?skip\b`),
}

// TestSkips finds what could keep a test from running in CI, which promises that all of them do.
func TestSkips(t *testing.T) {
	found := map[string]bool{}
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && file != ".", file == "scripts/testcount/testdata":
			return fs.SkipDir
		}
		if skip := skipping[filepath.Ext(file)]; skip != nil && file != "internal/skips_test.go" {
			text, err := fs.ReadFile(root, file)
			found[file] = skip.Match(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for file, does := range found {
		if _, may := skips[file]; does && !may {
			t.Errorf("%s skips a test; say what it lacks with testneeds.Missing, which fails in CI, or add the file to skips with the reason", file)
		}
	}
	for file := range skips {
		if !found[file] {
			t.Errorf("%s skips nothing; take it out of skips", file)
		}
	}
}
