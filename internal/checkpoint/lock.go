package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// LockFile is the name of the lock in a run directory.
const LockFile = "lock"

// Lock takes a run directory for this process, and makes it where there is
// none. The system gives the lock back when the process ends, however it ends.
// The file stays, unless its holder removes it.
func Lock(runDir string) (unlock func(), err error) {
	fail := func(err error) error {
		return fmt.Errorf("lock run directory %s: %w", runDir, explain(err, runDir, block))
	}
	if err := os.MkdirAll(runDir, 0o777); err != nil {
		return nil, fail(err)
	}
	path := filepath.Join(runDir, LockFile)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return nil, fail(err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			defer f.Close()
			return nil, fmt.Errorf("run directory %s is in use by another process%s; wait for it, stop it, or choose another run.dir", runDir, holder(f))
		}
		if err == nil && !isAt(f, path) {
			f.Close() // its holder removed it meanwhile, and others may hold the next one
			continue
		}
		if err == nil {
			err = writePID(f)
		}
		if err != nil {
			f.Close()
			return nil, fail(err)
		}
		return func() { f.Close() }, nil
	}
}

// isAt says whether f is the file that path names now.
func isAt(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(opened, named)
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

// holder tells the process that wrote the lock file, as an addition to a
// message; empty while it hasn't written yet.
func holder(f *os.File) string {
	raw := make([]byte, 32)
	n, _ := f.ReadAt(raw, 0)
	if pid := strings.TrimSpace(string(raw[:n])); pid != "" {
		return ", " + pid
	}
	return ""
}
