package data

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/hub/hubtest"
)

func TestSplitFiles(t *testing.T) {
	longform := []string{".gitattributes", "README.md", "data/train-00001-of-00002-ab.parquet", "data/train-00000-of-00002-cd.parquet", "data/validation-00000-of-00001-ef.parquet", "data/test-00000-of-00001-01.parquet", "dataset_infos.json"}
	for _, c := range []struct {
		names []string
		split string
		want  []string
	}{
		{longform, "train", []string{"data/train-00000-of-00002-cd.parquet", "data/train-00001-of-00002-ab.parquet"}},
		{longform, "validation", []string{"data/validation-00000-of-00001-ef.parquet"}},
		{[]string{"dataset/train.json", "dataset/val.json", "dataset/test.json"}, "validation", []string{"dataset/val.json"}},
		{[]string{"train/a.jsonl", "train/b.jsonl", "test/a.jsonl"}, "train", []string{"train/a.jsonl", "train/b.jsonl"}},
		{[]string{"alpaca_data.json", "README.md"}, "train", []string{"alpaca_data.json"}},
		{[]string{"constrained.json"}, "train", []string{"constrained.json"}},
		{[]string{"extra.jsonl", "train.jsonl"}, "extra", []string{"extra.jsonl"}},
		{[]string{"train.json", "train.parquet"}, "train", []string{"train.parquet"}},
		{[]string{"test.json"}, "train", nil},
		{[]string{"train.json"}, "validation", nil},
		{[]string{"README.md", "dataset_infos.json"}, "train", nil},
	} {
		got, err := splitFiles(c.names, c.split)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%v of %v: %v, %v; want %v", c.split, c.names, got, err, c.want)
		}
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, input := range map[string]string{"train-0.jsonl": "a", "train-1.jsonl": "b", "dev.jsonl": "c"} {
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, `{"input":%q,"output":"o"}`, input), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for source, want := range map[string]string{dir: "ab", dir + ":train": "ab", dir + ":validation": "c"} {
		records, err := ReadRecords(source)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, r := range records {
			got += r.Input
		}
		if got != want {
			t.Errorf("%s: read %q, want %q", source, got, want)
		}
	}
	if _, err := ReadRecords(dir + ":test"); err == nil || !strings.Contains(err.Error(), `split "test"`) {
		t.Errorf("a split that isn't there: %v", err)
	}
}

func TestMissingFile(t *testing.T) {
	t.Setenv("HF_ENDPOINT", "http://127.0.0.1:1") // nothing may be asked there
	for _, source := range []string{"missing.jsonl", "no/missing.jsonl", "a/b/c", "/nowhere/x:train", "x", "hub:", "hub:noowner", "../up/dir"} {
		if _, err := ReadRecords(source); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestHub(t *testing.T) {
	h := hubtest.New(t)
	parquet, err := os.ReadFile("testdata/records.parquet")
	if err != nil {
		t.Fatal(err)
	}
	h.Put("datasets", "owner/name", hubtest.Repository{Files: map[string]string{
		"README.md": "", "data/train-00000.parquet": string(parquet), "data/val set.jsonl": `{"input":"a","output":"b"}`, "../train.parquet": "",
	}})
	for _, source := range []string{"owner/name", "hub:owner/name", "owner/name:train"} {
		got, err := ReadRecords(source)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, testRecords(t)) {
			t.Errorf("%s: got %v", source, got)
		}
	}
	got, err := ReadRecords("hub:owner/name:validation")
	if err != nil || !slices.Equal(got, []Record{{Input: "a", Output: "b"}}) {
		t.Errorf("validation: %v, %v", got, err)
	}
	for source, want := range map[string]string{
		"owner/name:test":   `hub:owner/name: no .parquet, .jsonl, .json files of split "test"`,
		"owner/missing":     "hub:owner/missing: ",
		"hub:owner/missing": "404",
	} {
		if _, err := ReadRecords(source); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", source, err, want)
		}
	}
	h.Close()
	if got, err := ReadRecords("owner/name"); err != nil || !slices.Equal(got, testRecords(t)) {
		t.Errorf("without a network: %v, %v", got, err)
	}
}
