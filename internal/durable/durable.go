// Package durable makes the names of files survive a power cut, as syncing a
// file makes its content: every package that commits by creating or renaming
// files needs it.
package durable

import (
	"cmp"
	"errors"
	"os"
	"syscall"
)

// SyncDir forces the names in a directory to disk.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // file systems that keep names safe by themselves say so like this
	}
	return cmp.Or(err, d.Close())
}
