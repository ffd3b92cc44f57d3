package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockFile takes the lock of the open file, for one writer or for many readers.
// The kernel gives it back when its holder dies.
func lockFile(file *os.File, exclusive bool) (unlock func(), err error) {
	how := syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_EX
	}
	for {
		err := syscall.Flock(int(file.Fd()), how)
		if err == nil {
			return func() { _ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) }, nil
		}
		if err != syscall.EINTR {
			return nil, fmt.Errorf("the file system doesn't lock files (%w): put the sweep's directory on another", err)
		}
	}
}

// optunaPatience is Optuna's default grace period.
const optunaPatience = 30 * time.Second

// lockOptuna keeps Optuna's writers away, which know nothing of flock: their
// lock is the existence of a file named like the journal with ".lock" behind.
// The caller holds the journal's flock, so a link that one of us left here is of
// a dead process. One of Optuna's is broken after patience without a change of the
// journal, as Optuna does.
func lockOptuna(path string, patience time.Duration) (release func(), err error) {
	lock := path + ".lock"
	// Optuna's leads to the journal by the name that the user gave it. Ours has to
	// lead there too, and is spelled as nobody would.
	ours := "././" + filepath.Base(path)
	var changed, since time.Time
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		err := os.Symlink(ours, lock)
		if err == nil {
			return func() {
				if target, err := os.Readlink(lock); err == nil && target == ours {
					_ = os.Remove(lock)
				}
			}, nil
		}
		if !os.IsExist(err) {
			return nil, err
		}
		if target, err := os.Readlink(lock); err == nil && target == ours {
			_ = os.Remove(lock)
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if since.IsZero() || !info.ModTime().Equal(changed) {
			changed, since = info.ModTime(), time.Now()
		}
		if time.Since(since) > patience {
			_ = os.Remove(lock)
			since = time.Time{}
			continue
		}
		time.Sleep(wait)
	}
}
