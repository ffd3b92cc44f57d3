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
	mlsum := []string{"de_train.jsonl", "de_val.jsonl", "de_test.jsonl", "fr_train.jsonl"}
	for _, c := range []struct {
		names            []string
		named, otherwise string
		want             []string
	}{
		{longform, "", "train", []string{"data/train-00000-of-00002-cd.parquet", "data/train-00001-of-00002-ab.parquet"}},
		{longform, "", "test", []string{"data/test-00000-of-00001-01.parquet"}},
		{longform, "validation", "test", []string{"data/validation-00000-of-00001-ef.parquet"}},
		{mlsum, "", "test", []string{"de_test.jsonl"}},
		{mlsum, "", "train", []string{"de_train.jsonl", "fr_train.jsonl"}},
		{mlsum, "val", "test", []string{"de_val.jsonl"}},
		{[]string{"dataset/train.json", "dataset/val.json", "dataset/test.json"}, "validation", "train", []string{"dataset/val.json"}},
		{[]string{"train/a.jsonl", "train/b.jsonl", "test/a.jsonl"}, "train", "test", []string{"train/a.jsonl", "train/b.jsonl"}},
		{[]string{"alpaca_data.json", "README.md"}, "", "train", []string{"alpaca_data.json"}},
		{[]string{"alpaca_data.json", "README.md"}, "", "test", []string{"alpaca_data.json"}},
		{[]string{"alpaca_data.json"}, "train", "test", []string{"alpaca_data.json"}},
		{[]string{"alpaca_data.json"}, "test", "test", nil},
		{[]string{"constrained.json"}, "", "train", []string{"constrained.json"}},
		{[]string{"extra.jsonl", "train.jsonl"}, "extra", "train", []string{"extra.jsonl"}},
		{[]string{"train.json", "train.parquet"}, "", "train", []string{"train.parquet"}},
		{[]string{"test.json"}, "", "train", nil},
		{[]string{"train.json"}, "", "test", nil},
		{[]string{"train.json"}, "validation", "train", nil},
		{[]string{"README.md", "dataset_infos.json"}, "", "train", nil},
	} {
		got, err := splitFiles("s", c.names, c.named, c.otherwise)
		if !slices.Equal(got, c.want) || (err == nil) != (c.want != nil) {
			t.Errorf("%q, else %s, of %v: %v, %v; want %v", c.named, c.otherwise, c.names, got, err, c.want)
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
	for source, want := range map[string]string{dir: "ab", dir + ":train": "ab", dir + ":validation": "c", filepath.Join(dir, "dev.jsonl"): "c"} {
		records, err := ReadRecords(source, "train")
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
	want := fmt.Sprintf("%s: no .parquet, .jsonl, .json files of split %q; give %[1]s:train or %[1]s:validation", dir, "test")
	for source, split := range map[string]string{dir: "test", dir + ":test": "train"} {
		if _, err := ReadRecords(source, split); err == nil || err.Error() != want {
			t.Errorf("%s, else %s: error %v, want %s", source, split, err, want)
		}
	}
}

func TestMissingFile(t *testing.T) {
	t.Setenv("HF_ENDPOINT", "http://127.0.0.1:1") // nothing may be asked there
	for _, source := range []string{"missing.jsonl", "no/missing.jsonl", "a/b/c", "/nowhere/x:train", "x", "hub:", "hub:noowner", "../up/dir"} {
		if _, err := ReadRecords(source, "train"); err == nil || !strings.Contains(err.Error(), "no such file") {
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
		got, err := ReadRecords(source, "train")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, testRecords(t)) {
			t.Errorf("%s: got %v", source, got)
		}
	}
	for source, split := range map[string]string{"hub:owner/name:validation": "train", "owner/name": "validation"} {
		got, err := ReadRecords(source, split)
		if err != nil || !slices.Equal(got, []Record{{Input: "a", Output: "b"}}) {
			t.Errorf("%s, else %s: %v, %v", source, split, got, err)
		}
	}
	for source, want := range map[string]string{
		"owner/name:test":   `hub:owner/name: no .parquet, .jsonl, .json files of split "test"; give owner/name:train or owner/name:validation`,
		"owner/missing":     "hub:owner/missing: ",
		"hub:owner/missing": "404",
	} {
		if _, err := ReadRecords(source, "train"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", source, err, want)
		}
	}
	h.Close()
	if got, err := ReadRecords("owner/name", "train"); err != nil || !slices.Equal(got, testRecords(t)) {
		t.Errorf("without a network: %v, %v", got, err)
	}
}

func TestHubName(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("local/dir", 0o777); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		"owner/name": "owner/name", "owner/name:test": "owner/name", "hub:owner/name": "owner/name", "hub:owner/name.json:test": "owner/name.json",
		"hub:local/dir": "local/dir", "local/dir": "", "local/dir:test": "", "owner/name.jsonl": "", "owner/name.json:test": "", "name": "", "a/b/c": "",
	} {
		repository, split, ok := HubName(source)
		if ok != (want != "") || ok && (repository != want || strings.HasSuffix(source, ":test") != (split == "test")) {
			t.Errorf("%s: %q, split %q, %v; want %q", source, repository, split, ok, want)
		}
	}
}
