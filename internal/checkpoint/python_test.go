package checkpoint

import (
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"reflect"
	"testing"

	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/internal/testneeds"
)

// TestPythonReadsShards has safetensors' own reader open a checkpoint by its index.
func TestPythonReadsShards(t *testing.T) {
	python := testneeds.Python(t, "safetensors", "numpy")
	s := snapshot(1, 7)
	s.ShardBytes = 60
	s.Weights = []safetensors.Tensor{tensor("wte.weight", 1, 3, 4), tensor("h.0.bias", 2, 3), tensor("h.1.bias", 3, 2, 1), tensor("norm", 4)}
	dir := save(t, t.TempDir(), s)
	out := testneeds.Output(t, exec.Command(python, "-c", `
import json, pathlib, sys
from safetensors import safe_open
dir = pathlib.Path(sys.argv[1])
files = json.loads((dir / "model.safetensors.index.json").read_text())["weight_map"]
found = {}
for name, file in files.items():
    with safe_open(dir / file, framework="np") as f:
        assert f.metadata() == {"format": "pt"}, f.metadata()
        t = f.get_tensor(name)
        found[name] = [str(t.dtype), list(t.shape), t.tobytes().hex()]
print(json.dumps(found))
`, dir))
	expected := map[string][]any{}
	for _, w := range s.Weights {
		data := make([]byte, w.Bytes())
		if err := w.Data(data); err != nil {
			t.Fatal(err)
		}
		shape := []any{}
		for _, d := range w.Shape {
			shape = append(shape, float64(d))
		}
		expected[w.Name] = []any{"float32", shape, hex.EncodeToString(data)}
	}
	var got map[string][]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, expected) {
		t.Errorf("python read %v\nwant %v", got, expected)
	}
}
