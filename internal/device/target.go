package device

/*
#include <stdlib.h>
#include "target.h"
*/
import "C"

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"unsafe"

	"github.com/gomlx/go-xla/compute/xla"
	"google.golang.org/protobuf/encoding/protowire"
)

// target is the kind of plugin that compiles for a GPU that isn't here. go-xla takes it for CUDA by its name.
const target = "cuda-target"

//go:embed targets/*.txtpb
var targets embed.FS

var errTarget = errors.New("it is compiled for a GPU that isn't here")

// Targets names the GPUs whose descriptions are built in.
func Targets() []string {
	files, _ := targets.ReadDir("targets")
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(f.Name(), path.Ext(f.Name()))
	}
	return names
}

// OpenTarget opens a GPU that isn't here, to compile for it and to ask the programs what they need: "h100", "h200",
// "a100", or the name of a file that `train doctor --describe` wrote where such a GPU is. It is of kind "cuda", and
// holds no buffers and runs nothing. Compiling takes XLA's CUDA plugin with NVIDIA's assembler and linker, and no driver.
//
// XLA chooses between kernels by timing them where there is a GPU. Here it takes its defaults, and counts no workspace for
// cuDNN, so the same program may take a few hundred megabytes more there.
func OpenTarget(name string) (d *Device, err error) {
	defer recovered(&err, "target %s", name)
	quiet()
	description, err := targetDescription(name)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	path, err := findTarget()
	if err != nil {
		return nil, fmt.Errorf("target %s: %w; %s", name, err, targetFix)
	}
	p, err := loadPlugin(target, path)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w; %s", name, err, targetFix)
	}
	opening.Lock()
	defer opening.Unlock()
	text, extra := C.CString(description), targetOptions()
	defer C.free(unsafe.Pointer(text))
	e := C.target_describe(text, C.size_t(len(description)), (*C.char)(unsafe.Pointer(unsafe.SliceData(extra))), C.size_t(len(extra)))
	if err := p.failure(e); err != nil {
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	backend, err := xla.NewWithOptions(p.name, nil)
	if err != nil {
		return nil, fmt.Errorf("target %s: %s", name, oneLine(err.Error()))
	}
	return &Device{kind: CUDA, backend: backend, plugin: p, client: newestClient(p), target: description}, nil
}

// targetDescription returns a text GpuTargetConfigProto.
func targetDescription(name string) (string, error) {
	if slices.Contains(Targets(), name) {
		text, err := targets.ReadFile("targets/" + name + ".txtpb")
		return string(text), err
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("it is neither one of %s nor a file that train doctor --describe wrote", strings.Join(Targets(), ", "))
	}
	if err != nil {
		return "", err
	}
	if err := checkDescription(string(text)); err != nil {
		return "", fmt.Errorf("%w; take a file that train doctor --describe wrote", err)
	}
	return string(text), nil
}

// checkDescription wants what is read of a description here; XLA checks the rest.
func checkDescription(text string) error {
	for _, field := range []string{"gpu_device_info", "device_memory_size", "device_description_str"} {
		if !strings.Contains(text, field) {
			return fmt.Errorf("it describes no GPU: there is no %s", field)
		}
	}
	return nil
}

// targetField returns a number or string of a GPU's description, "" if it isn't there.
func targetField(description, name string) string {
	m := regexp.MustCompile(`\b` + name + `:\s*("[^"]*"|[^\s}]+)`).FindStringSubmatch(description)
	if m == nil {
		return ""
	}
	return strings.Trim(m[1], `"`)
}

// targetOptions is the part of a serialized CompileOptionsProto that says xla_gpu_autotune_level=0: there is no GPU to
// tune on. It overrides one debug option of one compilation, where XLA_FLAGS would hold for the process and is read
// only once. Parts of a serialized message may follow each other.
func targetOptions() []byte {
	var value, entry, options []byte
	value = protowire.AppendVarint(protowire.AppendTag(value, 3, protowire.VarintType), 0)
	entry = protowire.AppendString(protowire.AppendTag(entry, 1, protowire.BytesType), "xla_gpu_autotune_level")
	entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), value)
	return protowire.AppendBytes(protowire.AppendTag(options, 7, protowire.BytesType), entry) // env_option_overrides
}

// Target says whether the device is a GPU that isn't here.
func (d *Device) Target() bool { return d.target != "" }
