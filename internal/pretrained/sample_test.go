package pretrained

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
)

// Of a large file the begin and the end are seen, and whatever is as long as a layer of many.
func TestSample(t *testing.T) {
	const size = 100 << 20
	path := filepath.Join(t.TempDir(), "weights")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	sum := func() string {
		h := sha256.New()
		if err := sample(h, path); err != nil {
			t.Fatal(err)
		}
		return string(h.Sum(nil))
	}
	before := sum()
	for _, stretch := range []struct{ at, bytes int64 }{{0, 1}, {size - 1, 1}, {size / 3, size / 60}, {size / 2, size / 60}, {size - size/50, size / 60}} {
		for _, value := range []byte{1, 0} {
			raw := make([]byte, stretch.bytes)
			for i := range raw {
				raw[i] = value
			}
			if _, err := f.WriteAt(raw, stretch.at); err != nil {
				t.Fatal(err)
			}
			if same := sum() == before; same != (value == 0) {
				t.Errorf("%d bytes from %d on: the same is %v", stretch.bytes, stretch.at, same)
			}
		}
	}
	if err := f.Truncate(size - 1); err != nil {
		t.Fatal(err)
	}
	if sum() == before {
		t.Error("a shorter file is the same")
	}
}
