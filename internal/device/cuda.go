package device

/*
#include <stdlib.h>
#include "gpu.h"
*/
import "C"

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"unsafe"
)

// cudaParts are what a GPU needs besides itself, as they were found.
type cudaParts struct {
	driver     string // version of the driver, such as 580.65.06; empty if the kernel doesn't tell
	driverCUDA int    // newest CUDA that the driver's library knows: 13000 for 13.0; 0 without that library
	plugin     string // path of XLA's plugin, empty without one
	pjrt       string // version of its API
	err        error  // why the plugin isn't found or can't be loaded
	cudnn      string // path of cuDNN's library, or its name where the dynamic linker finds it
	cudnnIs    int    // its version: 91002 for 9.10.2; 0 without it
	compiler   error  // what NVIDIA's compiler lacks
}

// The driver's library, which comes with the NVIDIA driver and not with CUDA.
const cudaDriver = "libcuda.so.1"

func findCUDAParts() cudaParts {
	var c cudaParts
	text, _ := os.ReadFile("/proc/driver/nvidia/version")
	c.driver = driverVersion(string(text))
	c.driverCUDA = libraryVersion(cudaDriver, func(name *C.char) int { return int(C.gpu_driver_version(name)) })
	packages := ""
	if c.plugin, c.err = findPlugin(CUDA); c.err == nil {
		packages = filepath.Join(filepath.Dir(c.plugin), "..", "..", "nvidia")
		c.compiler = hasCompiler(c.plugin)
		var p *plugin
		if p, c.err = loadPlugin(CUDA, c.plugin); c.err == nil {
			c.pjrt = p.version()
		}
	}
	// pip puts it beside the plugin, and a system's package where the dynamic linker looks.
	c.cudnn = "libcudnn.so.9"
	if found, _ := filepath.Glob(filepath.Join(packages, "*", "lib", c.cudnn)); len(found) > 0 {
		c.cudnn = found[0]
	}
	c.cudnnIs = libraryVersion(c.cudnn, func(name *C.char) int { return int(C.gpu_cudnn_version(name)) })
	return c
}

func libraryVersion(name string, ask func(*C.char) int) int {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	return ask(cname)
}

// driverVersion finds a version such as 580.65.06 in the kernel module's description of itself.
func driverVersion(text string) string {
	return regexp.MustCompile(`\b\d{3,}\.\d+(\.\d+)?\b`).FindString(text)
}

// The oldest driver for each major version of CUDA (CUDA Toolkit release notes, minor version compatibility).
var oldestDriver = map[int]int{12: 525, 13: 580}

// The oldest cuDNN that JAX's package of the plugin for a major version of CUDA asks for.
var oldestCuDNN = map[int]int{12: 90800, 13: 91200}

// pluginCUDA is the major version of CUDA that the plugin is built for, as JAX's packages have it in their path.
func (c cudaParts) pluginCUDA() int {
	m := regexp.MustCompile(`xla_cuda(\d+)`).FindStringSubmatch(c.plugin)
	if m == nil {
		return 0
	}
	major, _ := strconv.Atoi(m[1])
	return major
}

// findings says of each part whether it is there and fits the others.
func (c cudaParts) findings() []Finding {
	return []Finding{c.findDriver(), c.findPlugin(), c.findCompiler(), c.findCuDNN()}
}

func (c cudaParts) findDriver() Finding {
	f := Finding{Name: "NVIDIA driver"}
	if c.driverCUDA == 0 {
		return f.missing(cudaDriver+" not found, or it has no version", driverFix)
	}
	detail := fmt.Sprintf("CUDA %d.%d", c.driverCUDA/1000, c.driverCUDA%1000/10)
	if c.driver != "" {
		detail = "version " + c.driver + ", " + detail
	}
	if needed := c.pluginCUDA(); needed > c.driverCUDA/1000 {
		fix := "install a newer NVIDIA driver"
		if oldest := oldestDriver[needed]; oldest > 0 {
			fix = fmt.Sprintf("install the NVIDIA driver, %d or newer", oldest)
		}
		return f.broken(fmt.Errorf("%s, and the XLA plugin is for CUDA %d", detail, needed), fix)
	}
	return f.ok(detail)
}

func (c cudaParts) findPlugin() Finding {
	f := Finding{Name: "XLA CUDA plugin"}
	switch {
	case c.plugin == "":
		return f.missing(c.err.Error(), pluginFix(CUDA))
	case c.err != nil:
		return f.broken(c.err, pluginFix(CUDA))
	}
	detail := c.pjrt
	if major := c.pluginCUDA(); major > 0 {
		detail += fmt.Sprintf(", CUDA %d", major)
	}
	return f.ok(detail + ", " + c.plugin)
}

func (c cudaParts) findCompiler() Finding {
	f := Finding{Name: "CUDA compiler"}
	switch {
	case c.plugin == "":
		return f.missing("needs the XLA CUDA plugin", pluginFix(CUDA))
	case c.compiler != nil:
		return f.missing(c.compiler.Error(), pluginFix(CUDA))
	}
	return f.ok("ptxas, nvlink and libdevice")
}

func (c cudaParts) findCuDNN() Finding {
	f := Finding{Name: "cuDNN"}
	if c.cudnnIs == 0 {
		return f.missing(c.cudnn+" not found", pluginFix(CUDA))
	}
	version := func(v int) string {
		if v < 90000 { // cuDNN 8 and older
			return fmt.Sprintf("%d.%d.%d", v/1000, v%1000/100, v%100)
		}
		return fmt.Sprintf("%d.%d.%d", v/10000, v%10000/100, v%100)
	}
	detail := fmt.Sprintf("version %s, %s", version(c.cudnnIs), c.cudnn)
	oldest := max(90000, oldestCuDNN[c.pluginCUDA()])
	if c.cudnnIs < oldest || c.cudnnIs >= 100000 {
		return f.broken(fmt.Errorf("%s; XLA needs %s or a newer 9", detail, version(oldest)), pluginFix(CUDA))
	}
	return f.ok(detail)
}
