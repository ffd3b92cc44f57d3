package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"
)

// block is the size of a file system's block: what the smallest file takes.
const block = 4096

// writeFile makes a file, checks that all of it has arrived and forces it to
// disk.
func writeFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if stat, statErr := f.Stat(); err == nil && statErr == nil && stat.Size() != int64(len(content)) {
		err = fmt.Errorf("%s has %d bytes instead of %d", path, stat.Size(), len(content))
	}
	return cmp.Or(err, f.Sync(), f.Close())
}

// free is the number of bytes that may still be written below dir.
func free(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// enoughSpace refuses what can't fit before anything is written. Where the
// file system doesn't tell, the writes will.
func enoughSpace(dir string, needed int64) error {
	if available, err := free(dir); err == nil && available < needed {
		return syscall.ENOSPC
	}
	return nil
}

// explain says what to do about errors that the disk's owner can mend; needed
// is how many bytes were to be written below dir.
func explain(err error, dir string, needed int64) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		available, freeErr := free(dir)
		if freeErr != nil {
			return err
		}
		return fmt.Errorf("%w in %s: %d bytes needed, %d free; free some, keep fewer checkpoints, or choose another directory", reason(err), dir, needed, available)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("cannot write to %s: %w; allow it, or choose another directory", dir, reason(err))
	}
	return err
}

// reason is the system's error inside err.
func reason(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// cause strips the operation and the path, which the caller's message has.
func cause(err error) error {
	if p, ok := err.(*fs.PathError); ok {
		return p.Err
	}
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
