package device

import (
	"bytes"
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

// cache keeps what XLA compiled in a directory, a file a program. A file is named by its key, which everything goes
// into that decides what the compiler makes (see cached.go), and holds entryHeader and the program.
type cache struct {
	dir   string
	limit int64 // bytes; what was used longest ago makes room
}

type cacheKey [sha256.Size]byte

// cacheLimit has room for some hundred programs: one of a large model takes tens of megabytes.
const cacheLimit = 4 << 30

// entryHeader precedes a program. It is little-endian.
type entryHeader struct {
	Magic  [8]byte
	Key    cacheKey
	Size   uint64
	SHA256 [sha256.Size]byte
}

const cacheFix = "set LONGFORM_CACHE to a directory that you can write to"

var entryMagic = [8]byte([]byte("longfpr1"))

// openCache opens the cache of this user: the directory LONGFORM_CACHE, or longform/programs where caches lie. With
// LONGFORM_CACHE=off there is none, and what can't be written to is an error; compiling goes on without.
func openCache() (*cache, error) {
	dir := os.Getenv("LONGFORM_CACHE")
	switch {
	case dir == "off":
		return nil, nil
	case dir == "":
		caches, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("compiled programs aren't kept: %w", err)
		}
		dir = filepath.Join(caches, "longform", "programs")
	case !filepath.IsAbs(dir):
		return nil, fmt.Errorf("compiled programs aren't kept: LONGFORM_CACHE=%s is not an absolute path", dir)
	}
	// What lies here is run: it is nobody else's to write.
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = syscall.Access(dir, 2) // W_OK
	}
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, fmt.Errorf("compiled programs aren't kept: cannot write to %s: %w", dir, err)
	}
	return &cache{dir: dir, limit: cacheLimit}, nil
}

func (c *cache) path(key cacheKey) string { return filepath.Join(c.dir, fmt.Sprintf("%x", key)) }

// get returns the program of key, if there is a sound one.
func (c *cache) get(key cacheKey) ([]byte, bool) {
	raw, err := os.ReadFile(c.path(key))
	if err != nil {
		return nil, false
	}
	var h entryHeader
	n, err := binary.Decode(raw, binary.LittleEndian, &h)
	if err != nil {
		return nil, false
	}
	program := raw[n:]
	if h.Magic != entryMagic || h.Key != key || h.Size != uint64(len(program)) || h.SHA256 != sha256.Sum256(program) {
		return nil, false
	}
	now := time.Now()
	_ = os.Chtimes(c.path(key), now, now) // it was used; where that can't be noted it goes sooner
	return program, true
}

// put keeps the program of key, whatever was there before.
func (c *cache) put(key cacheKey, program []byte) error {
	header := entryHeader{Magic: entryMagic, Key: key, Size: uint64(len(program)), SHA256: sha256.Sum256(program)}
	size := int64(binary.Size(header) + len(program))
	if size > c.limit {
		return nil
	}
	c.trim(size)
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, header) // to memory
	return replaceFile(c.path(key), b.Bytes(), program)
}

// trim makes room for size bytes, and removes what a crash left half written.
func (c *cache) trim(size int64) {
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
