package journal

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestOneAtATime: transactions of several journals and goroutines don't overlap.
func TestOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	var inside atomic.Int32
	var wait sync.WaitGroup
	for range 3 {
		j := open(t, path, "worker")
		for range 2 {
			wait.Go(func() {
				for range 10 {
					if err := j.Locked(func(*Tx) error {
						if inside.Add(1) > 1 {
							t.Error("two transactions at once")
						}
						time.Sleep(100 * time.Microsecond)
						inside.Add(-1)
						return nil
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wait.Wait()
}

// TestOptunasLock: theirs is waited for, and broken when nothing happens under
// it; one that a dead worker of ours left is nothing to wait for.
func TestOptunasLock(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.log")
	j := open(t, path, "worker")
	lock := path + ".lock"
	link := func(target string) {
		t.Helper()
		if err := os.Symlink(target, lock); err != nil {
			t.Fatal(err)
		}
	}

	link("././journal.log")
	j.patience = time.Hour
	do(t, j, create())

	link(path)
	go func() {
		time.Sleep(20 * time.Millisecond)
		os.Remove(lock)
	}()
	do(t, j, func(*Tx) error {
		if target, err := os.Readlink(lock); err != nil || target == path {
			t.Errorf("in a transaction the lock leads to %q: %v", target, err)
		}
		return nil
	})

	link(path)
	j.patience = 10 * time.Millisecond
	do(t, j, create())
	if _, err := os.Lstat(lock); !os.IsNotExist(err) {
		t.Errorf("the lock stays: %v", err)
	}
	if got := trials(t, j); len(got) != 2 {
		t.Errorf("%d trials, want 2", len(got))
	}
}

// TestUnlocked: what is written by someone who has no lock is noticed.
func TestUnlocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	j := open(t, path, "worker")
	err := j.Locked(func(tx *Tx) error {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		if _, err := file.WriteString(trialLine); err != nil {
			return err
		}
		return create()(tx)
	})
	if err == nil {
		t.Error("a transaction was written behind what it doesn't know")
	}
	if got := trials(t, j); len(got) != 1 || got[0].Lease.Worker != "" {
		t.Errorf("the journal has %v", got)
	}
}
