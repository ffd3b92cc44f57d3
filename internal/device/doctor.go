package device

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/cache"
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
	parts := findCUDAParts().findings()
	findings = append(findings, parts...)
	return append(findings, diagnoseGPU(parts[:2]), diagnoseTarget(), diagnoseCache())
}

func diagnoseCache() Finding {
	f := Finding{Name: "compiled programs"}
	c, err := openCache()
	switch {
	case err != nil:
		return f.missing(err.Error(), cache.Fix)
	case c == nil:
		return f.ok("not kept, since LONGFORM_CACHE=off")
	}
	return f.ok("kept in " + c.Dir())
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

func diagnoseGPU(parts []Finding) Finding {
	f := Finding{Name: "GPU"}
	for _, needed := range parts {
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
	detail := fmt.Sprintf("%d of %s", d.backend.NumDevices(), d.gpuName())
	if limit, known := d.MemoryLimit(); known {
		detail += fmt.Sprintf(", %.1f GB for programs", float64(limit)/1e9)
	}
	return f.ok(detail)
}

// diagnoseTarget tries what plans for a GPU that isn't here take.
func diagnoseTarget() Finding {
	f := Finding{Name: "plans for a GPU"}
	path, err := findTarget()
	if err != nil {
		return f.missing(err.Error(), targetFix)
	}
	d, err := OpenTarget("h100")
	if err != nil {
		return f.broken(err, targetFix)
	}
	defer d.Close()
	p, err := d.compileTry()
	if err != nil {
		return f.broken(err, targetFix)
	}
	p.Finalize()
	return f.ok(strings.Join(Targets(), ", ") + ", " + path)
}

// try runs a small program on d, which updates an array in place, and checks what comes out.
func try(d *Device) error {
	p, err := d.compileTry()
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

func (d *Device) compileTry() (*Program, error) {
	square := shapes.Make(dtypes.Float32, 2, 2)
	return d.Compile("try", []Input{{"x", square}}, map[int]int{0: 0}, func(g *graph.Graph, in []*graph.Node) []*graph.Node {
		return []*graph.Node{graph.MatMul(in[0], in[0])}
	})
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
