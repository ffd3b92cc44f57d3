package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/internal/testneeds"
)

// tmpfs mounts a file system of so many bytes.
func tmpfs(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		testneeds.Missing(t, fmt.Sprintf("can't mount a tmpfs: %v; run as root", err))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestDiskTooSmall(t *testing.T) {
	run := tmpfs(t, 256<<10)
	save(t, run, snapshot(1, 7))
	s := snapshot(2, 8)
	s.State = []safetensors.Tensor{tensor("m", 1, 1<<20)}
	_, err := Save(run, s)
	available, _ := free(run)
	wantError(t, err, "save checkpoint step-000002", "no space left on device", root(run),
		fmt.Sprintf("%d bytes needed, %d free", s.bytes(), available), "keep fewer checkpoints")
	if !errors.Is(err, syscall.ENOSPC) || s.bytes() < 4<<20 {
		t.Errorf("%d bytes needed, error %v", s.bytes(), err)
	}
	want(t, names(t, root(run)), []string{"latest", "step-000001"})
	wantLast(t, run, 1, 7)
}

// TestDiskFills has the disk filled by something else while a checkpoint is
// being written, so that the look before it starts finds enough.
func TestDiskFills(t *testing.T) {
	run := tmpfs(t, 1<<20)
	save(t, run, snapshot(1, 7))
	other := filepath.Join(run, "other")
	s := snapshot(2, 8)
	weight := tensor("z", 1, 1<<16) // 256 KiB, the last to be written
	fill := weight.Data
	weight.Data = func(dst []byte) error {
		if err := os.WriteFile(other, make([]byte, 1<<20), 0o644); !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("the disk isn't full: %v", err)
		}
		if err := os.Truncate(other, 900<<10); err != nil {
			return err
		}
		return fill(dst)
	}
	s.Weights = append(s.Weights, weight)
	_, err := Save(run, s)
	wantError(t, err, "save checkpoint step-000002", "no space left on device", "bytes needed", "free; free some")
	want(t, names(t, root(run)), []string{"latest", "step-000001"})
	wantLast(t, run, 1, 7)

	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	s.Weights[len(s.Weights)-1].Data = fill
	save(t, run, s)
	if _, m, _, err := Last(run); err != nil || m.Step != 2 {
		t.Errorf("after making room: step %d, %v", m.Step, err)
	}
}

// TestWriteFails needs no mount: the error comes from a tensor.
func TestWriteFails(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		run := t.TempDir()
		save(t, run, snapshot(1, 7))
		s := snapshot(2, 8)
		s.State[0].Data = func([]byte) error { return &os.PathError{Op: "write", Path: "x", Err: errno} }
		_, err := Save(run, s)
		wantError(t, err, "save checkpoint step-000002", errno.Error(), fmt.Sprintf("%d bytes needed", s.bytes()), "free some")
		if !errors.Is(err, errno) {
			t.Errorf("%v isn't %v", err, errno)
		}
		want(t, names(t, root(run)), []string{"latest", "step-000001"})
		wantLast(t, run, 1, 7)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	run := t.TempDir()
	save(t, run, snapshot(1, 7))
	if err := os.Chmod(filepath.Dir(run), 0o755); err != nil { // TempDir lets none but its owner in
		t.Fatal(err)
	}
	for _, dir := range []string{root(run), run} {
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(dir, 0o755) })
	}
	testneeds.AsOther(t, func() {
		_, err := Save(run, snapshot(2, 8))
		wantError(t, err, "save checkpoint step-000002", "cannot write to "+root(run), "permission denied", "choose another directory")
		wantError(t, Mark(run, "best", root(run)+"/step-000001"), "cannot write to "+root(run), "permission denied")
		_, err = Lock(run)
		wantError(t, err, "lock run directory "+run, "permission denied")
		_, err = Lock(filepath.Join(run, "new"))
		wantError(t, err, "lock run directory", "permission denied")
		wantError(t, Export(filepath.Join(run, "out"), snapshot(1, 7)), "export to", "permission denied")
		wantLast(t, run, 1, 7)
	})
	want(t, names(t, root(run)), []string{"latest", "step-000001"})
}

func TestReadOnlyFileSystem(t *testing.T) {
	run := tmpfs(t, 1<<20)
	save(t, run, snapshot(1, 7))
	if err := syscall.Mount("", run, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := Save(run, snapshot(2, 8))
	wantError(t, err, "cannot write to "+root(run), strings.ToLower(syscall.EROFS.Error()))
	wantLast(t, run, 1, 7)
}
