package testneeds

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

// AsOther has f work with the rights of an ordinary user, where it is root that runs the tests: root writes to directories
// that forbid it.
func AsOther(tb testing.TB, f func()) {
	tb.Helper()
	if os.Getuid() != 0 {
		f()
		return
	}
	done := make(chan error, 1)
	go func() {
		defer close(done)      // where f ends the test, too
		runtime.LockOSThread() // the thread ends with the goroutine, and its rights with it
		if err := syscall.Setfsuid(65534); err != nil {
			done <- err
			return
		}
		f()
	}()
	if err := <-done; err != nil {
		Missing(tb, "can't give up root's rights: "+err.Error())
	}
}
