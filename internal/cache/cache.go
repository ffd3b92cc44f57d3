// Package cache keeps on disk what takes long to make and can be made again, such as compiled programs and the token
// ids of a dataset: files of this user that several processes share, that may be damaged or removed at any time, and
// that make room for each other.
package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Cache is a directory with a file for each entry. A file is named by its key and holds header and the content. The
// methods of a nil Cache find and keep nothing.
type Cache struct {
	dir   string
	limit int64 // bytes; what was used longest ago makes room
}

// Key names an entry: a hash of everything that decides what its content is.
type Key [sha256.Size]byte

// limit has room for some hundred programs: one of a large model takes tens of megabytes.
const limit = 4 << 30

// header precedes the content. It is little-endian.
type header struct {
	Magic  [8]byte
	Key    Key
	Size   uint64
	SHA256 [sha256.Size]byte
}

// Fix is what to do about an error of Open.
const Fix = "set LONGFORM_CACHE to a directory that you can write to"

var magic = [8]byte([]byte("longfca1"))

// Open opens this user's cache of one kind of thing: the directory of that name in LONGFORM_CACHE, or in longform where
// caches lie. With LONGFORM_CACHE=off it is nil, and where it can't be written to that is an error, which is none for
// those who can do without.
func Open(kind string) (*Cache, error) {
	dir := os.Getenv("LONGFORM_CACHE")
	switch {
	case dir == "off":
		return nil, nil
	case dir == "":
		caches, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		dir = filepath.Join(caches, "longform")
	case !filepath.IsAbs(dir):
		return nil, fmt.Errorf("LONGFORM_CACHE=%s is not an absolute path", dir)
	}
	dir = filepath.Join(dir, kind)
	// What lies here is run and trained on: it is nobody else's to write.
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = syscall.Access(dir, 2) // W_OK
	}
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, fmt.Errorf("cannot write to %s: %w", dir, err)
	}
	return &Cache{dir: dir, limit: limit}, nil
}

// Dir is where the entries lie.
func (c *Cache) Dir() string { return c.dir }

func (c *Cache) path(key Key) string { return filepath.Join(c.dir, fmt.Sprintf("%x", key)) }

// Get returns the content of an entry, if there is a sound one.
func (c *Cache) Get(key Key) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	raw, err := os.ReadFile(c.path(key))
	if err != nil {
		return nil, false
	}
	var h header
	n, err := binary.Decode(raw, binary.LittleEndian, &h)
	if err != nil {
		return nil, false
	}
	content := raw[n:]
	if h.Magic != magic || h.Key != key || h.Size != uint64(len(content)) || h.SHA256 != sha256.Sum256(content) {
		return nil, false
	}
	now := time.Now()
	_ = os.Chtimes(c.path(key), now, now) // it was used; where that can't be noted it goes sooner
	return content, true
}

// Put keeps the content of an entry, whatever was there before, unless it is larger than the cache may be.
func (c *Cache) Put(key Key, content []byte) error {
	if c == nil {
		return nil
	}
	head, err := binary.Append(nil, binary.LittleEndian, header{Magic: magic, Key: key, Size: uint64(len(content)), SHA256: sha256.Sum256(content)})
	if err != nil {
		return err
	}
	size := int64(len(head) + len(content))
	if size > c.limit {
		return nil
	}
	c.trim(size)
	return replaceFile(c.path(key), head, content)
}

// trim makes room for size bytes, and removes what a crash left half written.
func (c *Cache) trim(size int64) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if strings.HasPrefix(e.Name(), ".") {
			if time.Since(info.ModTime()) > time.Hour {
				_ = os.Remove(filepath.Join(c.dir, e.Name()))
			}
			continue
		}
		files = append(files, info)
		size += info.Size()
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if size <= c.limit {
			return
		}
		if os.Remove(filepath.Join(c.dir, f.Name())) == nil {
			size -= f.Size()
		}
	}
}

// replaceFile writes path at once: whoever reads it sees the old content or the new. A power cut may leave less, which
// the checksum tells.
func replaceFile(path string, parts ...[]byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	for _, part := range parts {
		if _, err = f.Write(part); err != nil {
			break
		}
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
