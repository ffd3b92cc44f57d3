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

// resolve returns the files of a source, in the order of their names; where it names no split, those of that one.
func resolve(source, split string) ([]string, error) {
	info, err := os.Stat(source)
	switch {
	case err == nil && !info.IsDir():
		return []string{source}, nil
	case err == nil:
		return directoryFiles(source, "", split)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	name, named := cutSplit(source)
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return directoryFiles(name, named, split)
	}
	if repository, _, ok := HubName(source); ok {
		paths, err := hubFiles(repository, named, split)
		if err != nil {
			return nil, fmt.Errorf("hub:%s: %w", repository, err)
		}
		return paths, nil
	}
	return nil, fmt.Errorf("%s: no such file or directory; give a file, a directory, or a dataset of the hub as owner/name", source)
}

// HubName is the dataset of the hub that a source names, and its split, empty where none is named. Files and directories of that name
// come first.
func HubName(source string) (repository, split string, ok bool) {
	if _, err := os.Stat(source); err == nil {
		return "", "", false
	}
	name, split := cutSplit(source)
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return "", "", false
	}
	repository, explicit := strings.CutPrefix(name, "hub:")
	return repository, split, hub.IsName(repository) && (explicit || !isDataFile(repository))
}

// hubFiles returns the files of a split of a dataset on the hub; see splitFiles.
func hubFiles(repository, named, otherwise string) ([]string, error) {
	r, err := hub.Open(hub.Datasets, repository)
	if err != nil {
		return nil, err
	}
	names, err := splitFiles(repository, r.Files(), named, otherwise)
	if err != nil {
		return nil, err
	}
	return r.Fetch(names...)
}

// cutSplit takes the split off a source "name:split"; without one it is empty.
func cutSplit(source string) (name, split string) {
	at := strings.LastIndexByte(source, ':')
	if at < 0 || source[:at] == "hub" || strings.ContainsAny(source[at:], `/\`) {
		return source, ""
	}
	return source[:at], source[at+1:]
}

func directoryFiles(dir, named, otherwise string) ([]string, error) {
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
	chosen, err := splitFiles(dir, names, named, otherwise)
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

// splits are the words in the names of a split's files or directories.
var splits = []struct{ name, words string }{
	{"train", "train|training"},
	{"validation", "validation|valid|val|dev|eval|evaluation"},
	{"test", "test|testing"},
}

// splitFiles chooses the files of a split as the hub's datasets do: by a word in the path, set apart by other signs than letters.
// The split is the one that is named, or else the other one. Where no path names any split, all files are train, and all are
// taken where none was named.
func splitFiles(source string, names []string, named, otherwise string) ([]string, error) {
	split := cmp.Or(named, otherwise)
	words := regexp.QuoteMeta(split)
	var there []string // sources of the splits that paths name
	for _, s := range splits {
		if s.name == split {
			words = s.words
		}
		if len(matching(names, s.words)) > 0 {
			there = append(there, source+":"+s.name)
		}
	}
	chosen := matching(names, words)
	if len(there) == 0 && (named == "" || named == "train") {
		chosen = names
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
	err := fmt.Errorf("no %s files of split %q", strings.Join(dataKinds, ", "), split)
	if len(there) > 0 {
		err = fmt.Errorf("%w; give %s", err, strings.Join(there, " or "))
	}
	return nil, err
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
