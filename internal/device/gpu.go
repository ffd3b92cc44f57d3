package device

/*
#include <stdlib.h>
#include "gpu.h"
*/
import "C"

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// client is the plugin's side of an open device. go-xla has it too, and tells less of it.
type client struct {
	plugin *plugin
	handle *C.client_t
}

// newestClient returns what p made last.
func newestClient(p *plugin) *client { return &client{plugin: p, handle: C.seam_client(p.slot)} }

// device returns the kind of the first device, the bytes that programs may use on it, and the most that were in use at a
// time; 0 where that isn't known.
func (c *client) device() (kind string, limit, peak int64, err error) {
	var text *C.char
	var size C.size_t
	var may, did C.int64_t
	err = c.plugin.failure(C.gpu_device(c.plugin.slot, c.handle, &text, &size, &may, &did))
	return C.GoStringN(text, C.int(size)), int64(may), int64(did), err
}

// attribute returns what describes all devices under a name, "" if there is no such thing.
func (c *client) attribute(name string) (string, error) {
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var text *C.char
	var size C.size_t
	err := c.plugin.failure(C.gpu_attribute(c.plugin.slot, c.handle, cname, &text, &size))
	return C.GoStringN(text, C.int(size)), err
}

// GPU is what one can do at most.
type GPU struct {
	BF16FLOPS float64 // a second, of dense bfloat16 matrix products
	Bandwidth float64 // bytes a second to and from its memory
}

// By the names that CUDA gives them. Figures are of NVIDIA's data sheets, without sparsity.
var gpus = map[string]GPU{
	"NVIDIA H200":           {989e12, 4.8e12},
	"NVIDIA H200 NVL":       {835e12, 4.8e12},
	"NVIDIA H100 80GB HBM3": {989e12, 3.35e12},
	"NVIDIA H100 NVL":       {835e12, 3.9e12},
	"NVIDIA H100 PCIe":      {756e12, 2e12},
	"NVIDIA A100-SXM4-80GB": {312e12, 2.039e12},
	"NVIDIA A100 80GB PCIe": {312e12, 1.935e12},
	"NVIDIA A100-SXM4-40GB": {312e12, 1.555e12},
	"NVIDIA A100-PCIE-40GB": {312e12, 1.555e12},
}

// Peak returns what the GPU can do at most, if it is one that is known.
func (d *Device) Peak() (peak GPU, known bool) {
	peak, known = gpus[d.gpuName()]
	return peak, known
}

// gpuName is what CUDA calls the GPU, "" if there is none.
func (d *Device) gpuName() string {
	switch {
	case d.Target():
		return targetField(d.target, "device_description_str")
	case d.kind == CUDA && d.backend != nil:
		name, _, _, _ := d.client.device()
		return name
	}
	return ""
}

// memoryFraction of a GPU's memory is for programs, in one piece that is taken when the device is opened, so that a run
// that a plan says fits isn't stopped by fragments. The rest is for CUDA's context, kernels and libraries. XLA's default
// is three quarters.
const memoryFraction = 0.92

var memoryOptions = fmt.Sprintf(",preallocate=true,memory_fraction=%v", memoryFraction)

// MemoryLimit returns the bytes that programs may use on the device: of a GPU the part that is set aside for them, and
// else the machine's memory, or what its container may use of it.
func (d *Device) MemoryLimit() (bytes int64, known bool) {
	switch {
	case d.Target():
		size, err := strconv.ParseFloat(targetField(d.target, "device_memory_size"), 64)
		return int64(size * memoryFraction), err == nil
	case d.backend == nil:
		return 0, false
	case d.kind == CUDA:
		_, limit, _, err := d.client.device()
		return limit, err == nil && limit > 0
	}
	return thisMachine()
}

var thisMachine = sync.OnceValues(func() (bytes int64, known bool) {
	return machineMemory("/proc/meminfo", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
})

// PeakMemory returns the most bytes that were in use on a GPU at a time, as its allocator counts them. It isn't known of
// other devices.
func (d *Device) PeakMemory() (bytes int64, known bool) {
	if d.kind != CUDA || d.backend == nil || d.Target() {
		return 0, false
	}
	_, _, peak, err := d.client.device()
	return peak, err == nil && peak > 0
}

// machineMemory reads Linux's account of the memory and the limits of control groups that exist.
func machineMemory(account string, limits ...string) (bytes int64, known bool) {
	text, _ := os.ReadFile(account)
	m := regexp.MustCompile(`MemTotal:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		return 0, false
	}
	bytes, _ = strconv.ParseInt(string(m[1]), 10, 64)
	bytes *= 1024
	for _, file := range limits {
		text, _ := os.ReadFile(file)
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			bytes = min(bytes, limit)
		}
	}
	return bytes, true
}

// Describe returns the description of a GPU that OpenTarget takes in a file.
func (d *Device) Describe() (string, error) {
	if d.kind != CUDA || d.backend == nil {
		return "", fmt.Errorf("describe device %s: it is not an open GPU", d.kind)
	}
	text, err := d.client.attribute("target_config")
	if err == nil {
		err = checkDescription(text)
	}
	if err != nil {
		return "", fmt.Errorf("describe %s: %w", d.Description(), err)
	}
	return text, nil
}
