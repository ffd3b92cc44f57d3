package data

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
)

// File holds records: a file, or a text that needs none.
type File struct {
	Name string // a path; with Text, what errors call it
	Text []byte // JSON or JSON Lines; nil stands for the content of the file
}

// Files finds the files of a source, which is what ReadRecords takes. A dataset
// of the hub is downloaded.
func Files(source, split string) ([]File, error) {
	paths, err := resolve(source, split)
	if err != nil {
		return nil, err
	}
	files := make([]File, len(paths))
	for i, path := range paths {
		files[i] = File{Name: path}
	}
	return files, nil
}

// content is all that the file holds.
func (f File) content() ([]byte, error) {
	if f.Text != nil {
		return f.Text, nil
	}
	return os.ReadFile(f.Name)
}

// records reads the records of a file with that content.
func (f File) records(content []byte) ([]Record, error) {
	if f.Text == nil && filepath.Ext(f.Name) == ".parquet" || bytes.HasPrefix(content, []byte("PAR1")) {
		return readParquet(f.Name, content)
	}
	return jsonText{path: f.Name, bytes: content}.records()
}

// sum is the hash of the content, which isn't held in memory.
func (f File) sum() (fileSum, error) {
	if f.Text != nil {
		return sha256.Sum256(f.Text), nil
	}
	file, err := os.Open(f.Name)
	if err != nil {
		return fileSum{}, err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return fileSum{}, err
	}
	return fileSum(h.Sum(nil)), nil
}

type fileSum [sha256.Size]byte
