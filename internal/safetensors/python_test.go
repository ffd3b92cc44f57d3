package safetensors

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/longform-go/longform/internal/testneeds"
)

// TestPythonReadsOurs has safetensors' own reader open a file of ours.
func TestPythonReadsOurs(t *testing.T) {
	python := testneeds.Python(t, "safetensors")
	path := filepath.Join(t.TempDir(), "ours.safetensors")
	refs := references(t)
	if _, err := Write(path, tensors(t, refs), map[string]string{"format": "pt", "author": "ours"}); err != nil {
		t.Fatal(err)
	}
	out := testneeds.Output(t, exec.Command(python, "-c", `
import json, sys
from safetensors import deserialize
tensors = deserialize(open(sys.argv[1], "rb").read())
print(json.dumps({name: {"dtype": t["dtype"], "shape": t["shape"], "data": bytes(t["data"]).hex()} for name, t in tensors}))
`, path))
	var got map[string]reference
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, refs) {
		t.Errorf("python read %v\nwant %v", got, refs)
	}
}
