package safetensors

import (
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
)

// TestPythonReadsOurs has safetensors' own reader open a file of ours. The
// interpreter is $LONGFORM_PYTHON, or python3.
func TestPythonReadsOurs(t *testing.T) {
	python := cmp.Or(os.Getenv("LONGFORM_PYTHON"), "python3")
	if out, err := exec.Command(python, "-c", "import safetensors").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s can't import safetensors: %v: %s", python, err, out)
		}
		t.Skipf("%s can't import safetensors; install it with: pip install safetensors", python)
	}
	path := filepath.Join(t.TempDir(), "ours.safetensors")
	refs := references(t)
	if _, err := Write(path, tensors(t, refs), map[string]string{"format": "pt", "author": "ours"}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(python, "-c", `
import json, sys
from safetensors import deserialize
tensors = deserialize(open(sys.argv[1], "rb").read())
print(json.dumps({name: {"dtype": t["dtype"], "shape": t["shape"], "data": bytes(t["data"]).hex()} for name, t in tensors}))
`, path).Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var got map[string]reference
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, refs) {
		t.Errorf("python read %v\nwant %v", got, refs)
	}
}
