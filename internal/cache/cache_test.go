package cache

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCacheMakesRoom(t *testing.T) {
	c := &Cache{dir: t.TempDir(), limit: 3500}
	key := func(i int) Key { return Key{byte(i)} }
	hourAgo := time.Now().Add(-time.Hour)
	for i := range 3 {
		if err := c.Put(key(i), make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		used := hourAgo.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(c.path(key(i)), used, used); err != nil {
			t.Fatal(err)
		}
	}
	crashed, writing := filepath.Join(c.dir, ".new-1"), filepath.Join(c.dir, ".new-2")
	for _, path := range []string{crashed, writing} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(crashed, hourAgo.Add(-time.Hour), hourAgo.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Get(key(0)); !ok { // now 1 was used longest ago
		t.Fatal("the first entry is gone")
	}
	if err := c.Put(key(3), make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(key(4), make([]byte, 4000)); err != nil { // never fits, and takes no room
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, true, true, false} {
		if _, ok := c.Get(key(i)); ok != want {
			t.Errorf("entry %d is there: %v, want %v", i, ok, want)
		}
	}
	if _, err := os.Stat(crashed); err == nil {
		t.Error("what a crash left is still there")
	}
	if _, err := os.Stat(writing); err != nil {
		t.Error("what another process is writing was removed")
	}
}
