package data

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/longform-go/longform/internal/hub"
)

// resolve returns the files of a source, in the order of their names.
func resolve(source string) ([]string, error) {
	info, err := os.Stat(source)
	switch {
	case err == nil && !info.IsDir():
		return []string{source}, nil
	case err == nil:
		return directoryFiles(source, "train")
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	name, split := cutSplit(source)
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return directoryFiles(name, split)
	}
	repository, explicit := strings.CutPrefix(name, "hub:")
	if hub.IsName(repository) && (explicit || !isDataFile(repository)) {
		paths, err := hubFiles(repository, split)
		if err != nil {
			return nil, fmt.Errorf("hub:%s: %w", repository, err)
		}
		return paths, nil
	}
	return nil, fmt.Errorf("%s: no such file or directory; give a file, a directory, or a dataset of the hub as owner/name", source)
}

// hubFiles returns the files of a split of a dataset on the hub.
func hubFiles(repository, split string) ([]string, error) {
	r, err := hub.Open(hub.Datasets, repository)
	if err != nil {
		return nil, err
	}
	names, err := splitFiles(r.Files(), split)
	if err != nil {
		return nil, err
	}
	return r.Fetch(names...)
}

// cutSplit takes the split off a source "name:split"; without one it is train.
func cutSplit(source string) (name, split string) {
	at := strings.LastIndexByte(source, ':')
	if at < 0 || source[:at] == "hub" || strings.ContainsAny(source[at:], `/\`) {
		return source, "train"
	}
	return source[:at], source[at+1:]
}

func directoryFiles(dir, split string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	if err != nil {
		return nil, err
	}
	chosen, err := splitFiles(names, split)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	for i, name := range chosen {
		chosen[i] = filepath.Join(dir, filepath.FromSlash(name))
	}
	return chosen, nil
}

// dataKinds are the endings of data files, the first the one to prefer where
// a dataset holds the same records several times.
var dataKinds = []string{".parquet", ".jsonl", ".json"}

func isDataFile(name string) bool { return slices.Contains(dataKinds, path.Ext(name)) }

// splitWords are the words in the names of a split's files or directories.
var splitWords = map[string]string{
	"train":      "train|training",
	"validation": "validation|valid|val|dev|eval|evaluation",
	"test":       "test|testing",
}

// splitFiles chooses the files of a split as the hub's datasets do: by a word
// in the path, set apart by other signs than letters. Where no path names any
// split, all files are train.
func splitFiles(names []string, split string) ([]string, error) {
	words := cmp.Or(splitWords[split], regexp.QuoteMeta(split))
	chosen := matching(names, words)
	if len(chosen) == 0 && split == "train" {
		anySplit := matching(names, splitWords["train"]+"|"+splitWords["validation"]+"|"+splitWords["test"])
		if len(anySplit) == 0 {
			chosen = names
		}
	}
	for _, kind := range dataKinds {
		var files []string
		for _, name := range chosen {
			// Descriptions of a dataset are JSON too, but no records.
			if path.Ext(name) == kind && path.Base(name) != "dataset_infos.json" && path.Base(name) != "dataset_dict.json" && path.Base(name) != "state.json" {
				files = append(files, name)
			}
		}
		if len(files) > 0 {
			slices.Sort(files)
			return files, nil
		}
	}
	return nil, fmt.Errorf("no %s files of split %q", strings.Join(dataKinds, ", "), split)
}

func matching(names []string, words string) []string {
	word := regexp.MustCompile(`(?i)(^|[^a-z])(` + words + `)([^a-z]|$)`)
	var found []string
	for _, name := range names {
		if isDataFile(name) && word.MatchString(name) {
			found = append(found, name)
		}
	}
	return found
}
