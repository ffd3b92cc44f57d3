package models_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/longform-go/longform/models/auto"
)

// A configuration that is written reads back as the same one, and every number that transformers wrote with a point has
// one: it refuses integers where it expects floats.
func TestConfigsSurviveWriting(t *testing.T) {
	files, err := filepath.Glob("testdata/*/config.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d configurations, %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before, err := auto.Parse(raw, nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		written, err := before.JSON("float32")
		if err != nil {
			t.Fatal(err)
		}
		after, err := auto.Parse(written, nil)
		if err != nil {
			t.Fatalf("%s, written again: %v", file, err)
		}
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%s reads back as %+v, not %+v", file, after, before)
		}
		var was, is map[string]json.RawMessage
		if json.Unmarshal(raw, &was) != nil || json.Unmarshal(written, &is) != nil {
			t.Fatal("not an object")
		}
		for key, value := range was {
			if _, ok := is[key]; ok && bytes.ContainsAny(value, ".") && !bytes.ContainsAny(is[key], ".e") {
				t.Errorf("%s: %s was %s and is written as %s", file, key, value, is[key])
			}
		}
	}
}
