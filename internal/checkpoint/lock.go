package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Lock takes a run directory for this process, and makes it where there is
// none. The system gives the lock back when the process ends, however it ends.
func Lock(runDir string) (unlock func(), err error) {
	if err := os.MkdirAll(runDir, 0o777); err != nil {
		return nil, fmt.Errorf("lock run directory %s: %w", runDir, explain(err, runDir, block))
	}
	// The file stays when the lock is given back: removing it would let two
	// processes hold locks on two files of this name.
	f, err := os.OpenFile(filepath.Join(runDir, "lock"), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("lock run directory %s: %w", runDir, explain(err, runDir, block))
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close()
		return nil, fmt.Errorf("run directory %s is in use by another process%s; wait for it, stop it, or choose another run.dir", runDir, holder(f))
	}
	if err == nil {
		err = writePID(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock run directory %s: %w", runDir, explain(err, runDir, block))
	}
	return func() { f.Close() }, nil
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
