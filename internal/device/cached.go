package device

/*
#include <stdlib.h>
#include "seam.h"
*/
import "C"

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/longform-go/longform/internal/cache"
)

// openCache opens the cache of compiled programs.
func openCache() (*cache.Cache, error) {
	c, err := cache.Open("programs")
	if err != nil {
		return nil, fmt.Errorf("compiled programs aren't kept: %w", err)
	}
	return c, nil
}

// compile makes args' executable of program: it takes it from the cache, or has the plugin compile it and keeps it. That
// something can't be kept or loaded is no error, it is compiled then.
func (c *compilation) compile(args *C.compile_args_t, program string) *C.error_t {
	slot := c.plugin.slot
	key, keyed := cache.Key{}, false
	if c.cache != nil {
		var err error
		key, err = c.plugin.key(c.cache, args, program)
		keyed = err == nil
	}
	if keyed {
		stored, ok := c.cache.Get(key)
		data := (*C.char)(unsafe.Pointer(unsafe.SliceData(stored)))
		if ok && c.plugin.failure(C.seam_deserialize(slot, args.client, data, C.size_t(len(stored)), &args.executable)) == nil {
			c.cached = true
			return nil
		}
	}
	text := C.CString(program)
	defer C.free(unsafe.Pointer(text))
	if e := C.seam_compile(slot, args, text, C.size_t(len(program))); e != nil || !keyed {
		return e
	}
	var compiled *C.executable_t
	if c.plugin.failure(C.seam_executable(slot, args.executable, &compiled)) != nil {
		return nil
	}
	defer func() { _ = c.plugin.failure(C.seam_destroy(slot, compiled)) }()
	var serialized *C.char
	var size C.size_t
	if c.plugin.failure(C.seam_serialize(slot, compiled, &serialized, &size)) == nil {
		_ = c.cache.Put(key, unsafe.Slice((*byte)(unsafe.Pointer(serialized)), int(size)))
		C.free(unsafe.Pointer(serialized))
	}
	return nil
}

// key names what the plugin compiles from args with the program text: the hash of text, options and everything else
// that the compiler looks at.
func (p *plugin) key(kept *cache.Cache, args *C.compile_args_t, text string) (cache.Key, error) {
	h := sha256.New()
	add := func(part string) {
		_ = binary.Write(h, binary.LittleEndian, uint64(len(part)))
		_, _ = io.WriteString(h, part)
	}
	add(text)
	add(view(args.program.format, args.program.format_size))
	add(view(args.options, args.options_size))
	content, err := contentHash(kept, p.path)
	if err != nil {
		return cache.Key{}, err
	}
	add(content)
	add(p.version())
	var name *C.char
	var size C.size_t
	if err := p.failure(C.seam_version(p.slot, args.client, &name, &size)); err != nil {
		return cache.Key{}, err
	}
	add(view(name, size))
	if err := p.failure(C.seam_kind(p.slot, args.client, &name, &size)); err != nil {
		return cache.Key{}, err
	}
	add(view(name, size))
	for _, part := range environment(p.path) {
		add(part)
	}
	return cache.Key(h.Sum(nil)), nil
}

func view(s *C.char, size C.size_t) string {
	return unsafe.String((*byte)(unsafe.Pointer(s)), int(size))
}

// environment lists what XLA's compilers look at besides the program and the device: flags, the CPU that they tune for and
// how many threads they split work between, and NVIDIA's driver and libraries.
func environment(pluginPath string) []string {
	var parts []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "XLA_") || strings.HasPrefix(name, "TF_") || name == "NPROC" || name == "PJRT_NPROC" {
			parts = append(parts, v)
		}
	}
	slices.Sort(parts)
	parts = append(parts, fmt.Sprintf("%s, %d CPUs", runtime.GOARCH, runtime.NumCPU()), processor())
	driver, _ := os.ReadFile("/proc/driver/nvidia/version")
	parts = append(parts, string(driver))
	libraries, _ := filepath.Glob(filepath.Join(filepath.Dir(pluginPath), "..", "..", "nvidia", "*", "*", "*"))
	for _, path := range libraries {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			parts = append(parts, fmt.Sprintf("%s %d", filepath.Base(path), info.Size()))
		}
	}
	return parts
}

// processor is the model of the first CPU and what it can do, as Linux tells.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan() && s.Text() != ""; {
		name, _, _ := strings.Cut(s.Text(), ":")
		switch strings.TrimSpace(name) {
		case "vendor_id", "cpu family", "model", "model name", "stepping", "flags", "Features", "CPU part":
			lines = append(lines, s.Text())
		}
	}
	return strings.Join(lines, "\n")
}

// contentHash is the hash of a file's content. Plugins take half a second to read, so it is kept in the cache under the
// path, size, times and inode of the file.
func contentHash(kept *cache.Cache, path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("stat %s: no inode", path)
	}
	same := cache.Key(sha256.Sum256(fmt.Appendf(nil, "content %s %d %d %v %v", path, s.Ino, s.Size, s.Mtim, s.Ctim)))
	if known, ok := kept.Get(same); ok {
		return string(known), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	content := string(h.Sum(nil))
	_ = kept.Put(same, []byte(content)) // else it is read again
	return content, nil
}
