package device

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// State of something that a device needs.
type State string

// The states. Missing is what isn't installed; broken is what is there and doesn't work.
const (
	OK      State = "ok"
	Missing State = "missing"
	Broken  State = "broken"
)

// Finding is what Diagnose found out about one thing, in one line each.
type Finding struct {
	Name   string
	State  State
	Detail string
	Fix    string // the command or step that mends or betters it; empty if there is nothing to do
}

// Diagnose looks for everything that a device needs, and tries out what it finds with a small program.
func Diagnose() []Finding {
	quiet()
	findings := []Finding{diagnoseGo(), diagnoseCPU()}
	driver := diagnoseDriver()
	plugin, path := diagnoseCUDAPlugin()
	library := diagnoseCuDNN(path)
	return append(findings, driver, plugin, library, diagnoseGPU(driver, plugin))
}

func diagnoseGo() Finding {
	f := Finding{Name: "pure Go"}
	d, err := openGo()
	if err != nil {
		return f.broken(err, "")
	}
	defer d.Close()
	if err := try(d); err != nil {
		return f.broken(err, "")
	}
	if simd == "without SIMD" {
		f.Fix = "build with GOEXPERIMENT=simd, which is several times faster"
	}
	return f.ok(d.Description())
}

func diagnoseCPU() Finding {
	f := Finding{Name: "XLA CPU plugin"}
	if _, err := findPlugin(CPU); err != nil {
		return f.missing(err.Error(), pluginFix(CPU))
	}
	d, err := openXLA(CPU, nil)
	if err != nil {
		return f.broken(err, pluginFix(CPU))
	}
	defer d.Close()
	if err := try(d); err != nil {
		return f.broken(err, pluginFix(CPU))
	}
	return f.ok(d.Description())
}

func diagnoseDriver() Finding {
	f := Finding{Name: "NVIDIA driver"}
	if !hasLibrary(cudaDriver) {
		return f.missing(cudaDriver+" not found", driverFix)
	}
	text, err := os.ReadFile("/proc/driver/nvidia/version")
	if err != nil {
		return f.ok(cudaDriver + ", version unknown")
	}
	return f.ok("version " + driverVersion(string(text)))
}

// driverVersion finds a version such as 580.65.06 in the kernel module's description of itself.
func driverVersion(text string) string {
	version := regexp.MustCompile(`\b\d{3,}\.\d+(\.\d+)?\b`).FindString(text)
	if version == "" {
		return "unknown"
	}
	return version
}

func diagnoseCUDAPlugin() (Finding, string) {
	f := Finding{Name: "XLA CUDA plugin"}
	path, err := findPlugin(CUDA)
	if err != nil {
		return f.missing(err.Error(), pluginFix(CUDA)), ""
	}
	p, err := loadPlugin(CUDA, path)
	if err != nil {
		return f.broken(err, pluginFix(CUDA)), path
	}
	return f.ok(p.version() + ", " + path), path
}

// diagnoseCuDNN looks where pip puts it beside the plugin, and where the dynamic linker looks.
func diagnoseCuDNN(plugin string) Finding {
	f := Finding{Name: "cuDNN"}
	const library = "libcudnn.so.9"
	if plugin != "" {
		packages := filepath.Join(filepath.Dir(plugin), "..", "..", "nvidia")
		if found, _ := filepath.Glob(filepath.Join(packages, "*", "lib", library)); len(found) > 0 {
			return f.ok(filepath.Clean(found[0]))
		}
	}
	if hasLibrary(library) {
		return f.ok(library)
	}
	return f.missing(library+" not found", `run python3 -m pip install "jax[cuda13]"`)
}

func diagnoseGPU(driver, plugin Finding) Finding {
	f := Finding{Name: "GPU"}
	for _, needed := range []Finding{driver, plugin} {
		if needed.State != OK {
			return f.missing("needs the "+needed.Name, needed.Fix)
		}
	}
	const fix = "check that nvidia-smi lists a GPU that this process may use"
	d, err := openXLA(CUDA, []Option{WithoutTF32})
	if err != nil {
		return f.broken(err, fix)
	}
	defer d.Close()
	if err := try(d); err != nil {
		return f.broken(err, fix)
	}
	var devices []string
	for i := range d.backend.NumDevices() {
		devices = append(devices, oneLine(d.backend.DeviceDescription(compute.DeviceNum(i))))
	}
	return f.ok(strings.Join(devices, "; "))
}

// try runs a small program on d, which updates an array in place, and checks what comes out.
func try(d *Device) error {
	square := shapes.Make(dtypes.Float32, 2, 2)
	p, err := d.Compile("try", []Input{{"x", square}}, map[int]int{0: 0},
		func(g *graph.Graph, in []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.MatMul(in[0], in[0])}
		})
	if err != nil {
		return err
	}
	defer p.Finalize()
	x, err := d.UploadFloat32([]float32{1, 2, 3, 4}, 2, 2)
	if err != nil {
		return err
	}
	defer x.Free()
	out, err := p.Run([]*Buffer{x})
	if err != nil {
		return err
	}
	defer out[0].Free()
	got, err := out[0].Float32s()
	if want := []float32{7, 10, 15, 22}; err == nil && !slices.Equal(got, want) {
		err = fmt.Errorf("a small matrix product gave %v, not %v", got, want)
	}
	return err
}

func (f Finding) ok(detail string) Finding {
	f.State, f.Detail = OK, detail
	return f
}

func (f Finding) missing(detail, fix string) Finding {
	f.State, f.Detail, f.Fix = Missing, detail, fix
	return f
}

func (f Finding) broken(err error, fix string) Finding {
	f.State, f.Detail, f.Fix = Broken, err.Error(), fix
	return f
}
