package device

/*
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "seam.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/gomlx/go-xla/pjrt"

	"github.com/longform-go/longform/internal/cache"
)

// plugin is a loaded PJRT plugin, registered with go-xla under name with the seam in front of its compile function.
type plugin struct {
	slot         C.int
	path         string
	name         string // what go-xla knows it by
	major, minor int    // version of the PJRT API it was built with
	few          bool   // it can call few.c
}

var (
	plugins   = map[string]*plugin{} // by kind
	pluginsMu sync.Mutex
)

// loadPlugin loads the plugin at path for kind, "cpu", "cuda" or "cuda-target", unless it is loaded already.
func loadPlugin(kind, path string) (*plugin, error) {
	pluginsMu.Lock()
	defer pluginsMu.Unlock()
	if p := plugins[kind]; p != nil {
		if p.path != path {
			return nil, fmt.Errorf("load %s: this process has loaded %s, and takes one plugin of a kind", path, p.path)
		}
		return p, nil
	}
	// go-xla tells a plugin's kind by its name, and an absolute path keeps it from searching the disk for others.
	slots := map[string]C.int{CPU: C.CPU_SLOT, CUDA: C.CUDA_SLOT, target: C.TARGET_SLOT}
	p := &plugin{slot: slots[kind], path: path, name: "/longform/" + kind}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var message *C.char
	table := C.seam_load(p.slot, cpath, &message)
	if table == nil {
		defer C.free(unsafe.Pointer(message))
		return nil, fmt.Errorf("load %s: %s", path, oneLine(C.GoString(message)))
	}
	p.major, p.minor = int(table.version.major), int(table.version.minor)
	if err := pjrt.RegisterPreloadedPlugin(p.name, uintptr(unsafe.Pointer(table))); err != nil {
		return nil, fmt.Errorf("initialize %s: %s", path, oneLine(err.Error()))
	}
	p.few = kind == CPU && C.few_register(table, C.int(min(runtime.GOMAXPROCS(0), runtime.NumCPU()))) != 0 // what a container has
	plugins[kind] = p
	return p, nil
}

func (p *plugin) version() string { return fmt.Sprintf("PJRT %d.%d", p.major, p.minor) }

// failure turns what a PJRT function returned into an error.
func (p *plugin) failure(e *C.error_t) error {
	if e == nil {
		return nil
	}
	text := C.seam_message(p.slot, e)
	defer C.free(unsafe.Pointer(text))
	return errors.New(oneLine(C.GoString(text)))
}

// compilation is what passes between Compile and the plugin's compile call, several layers of go-xla below it.
type compilation struct {
	plugin  *plugin
	cache   *cache.Cache // nil: none
	inputs  int
	becomes map[int]int

	executable *C.executable_t
	cached     bool // it came from the cache
	err        error
}

var (
	compiling   *compilation
	compilingMu sync.Mutex
)

// throughSeam runs compile, during which one program is compiled by p, or taken from the cache. In that program input i's
// memory becomes output becomes[i]. It returns the handle that describes the result.
func (p *plugin) throughSeam(kept *cache.Cache, inputs int, becomes map[int]int, compile func() error) (*executable, error) {
	compilingMu.Lock()
	defer compilingMu.Unlock()
	c := &compilation{plugin: p, cache: kept, inputs: inputs, becomes: becomes}
	compiling = c
	defer func() { compiling = nil }()
	err := compile()
	if err == nil && c.err == nil && c.executable == nil {
		c.err = errors.New("the compile call did not reach the plugin")
	}
	if c.executable == nil || err != nil || c.err != nil {
		if c.executable != nil {
			_ = p.failure(C.seam_destroy(p.slot, c.executable))
		}
		return nil, errors.Join(err, c.err)
	}
	return &executable{plugin: p, handle: c.executable, cached: c.cached}, nil
}

//export longformCompile
func longformCompile(slot C.int, args *C.compile_args_t) *C.error_t {
	c := compiling
	if c == nil || c.plugin.slot != slot {
		return C.seam_compile(slot, args, nil, 0)
	}
	program := unsafe.String((*byte)(unsafe.Pointer(args.program.code)), int(args.program.code_size))
	if c.plugin.few {
		program = callFew(program)
	}
	if len(c.becomes) > 0 {
		changed, err := aliasOutputs(program, c.inputs, c.becomes)
		if err != nil {
			c.err = err // which throughSeam returns; go-xla wants some program
			return C.seam_compile(slot, args, nil, 0)
		}
		program = changed
	}
	if e := c.compile(args, program); e != nil {
		return e
	}
	c.err = c.plugin.failure(C.seam_executable(slot, args.executable, &c.executable))
	return nil
}

// executable describes a compiled program.
type executable struct {
	plugin *plugin
	handle *C.executable_t
	cached bool
}

func (e *executable) memory() (Memory, error) {
	var m C.memory_t
	if err := e.plugin.failure(C.seam_memory(e.plugin.slot, e.handle, &m)); err != nil {
		return Memory{}, err
	}
	return Memory{
		Known:         true,
		Argument:      int64(m.argument),
		Output:        int64(m.output),
		Alias:         int64(m.alias),
		Temporary:     int64(m.temporary),
		GeneratedCode: int64(m.code),
	}, nil
}

// optimized returns the program as the compiler left it.
func (e *executable) optimized() (*hloModule, error) {
	var code, format *C.char
	var size C.size_t
	if err := e.plugin.failure(C.seam_optimized(e.plugin.slot, e.handle, &code, &size, &format)); err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(code))
	defer C.free(unsafe.Pointer(format))
	serialized := unsafe.Slice((*byte)(unsafe.Pointer(code)), int(size))
	return parseHLO(serialized, C.GoString(format))
}

func (e *executable) free() error {
	if e == nil || e.handle == nil {
		return nil
	}
	handle := e.handle
	e.handle = nil
	return e.plugin.failure(C.seam_destroy(e.plugin.slot, handle))
}

// hasLibrary says whether the dynamic linker finds a shared library, such as "libcuda.so.1".
func hasLibrary(name string) bool {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	return C.seam_library(cname) != 0
}
