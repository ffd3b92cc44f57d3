package rundir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/testneeds"
)

func TestCreateReadOnly(t *testing.T) {
	parent := t.TempDir()
	if err := os.Chmod(filepath.Dir(parent), 0o755); err != nil { // TempDir lets none but its owner in
		t.Fatal(err)
	}
	if err := os.Chmod(parent, 0o555); err != nil {
		t.Fatal(err)
	}
	testneeds.AsOther(t, func() {
		for _, path := range []string{parent, filepath.Join(parent, "run")} {
			if _, err := Create(path); err == nil || !strings.Contains(err.Error(), path+": permission denied") {
				t.Errorf("%s: got error %v", path, err)
			}
		}
	})
}
