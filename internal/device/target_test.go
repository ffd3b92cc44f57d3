package device

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/testneeds"
)

// openTarget opens a GPU that isn't here.
func openTarget(t *testing.T, name string) *Device {
	t.Helper()
	if _, err := findTarget(); err != nil {
		testneeds.Missing(t, fmt.Sprintf("%v; %s", err, targetFix))
	}
	d, err := OpenTarget(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func bfloat16s(dims ...int) shapes.Shape { return shapes.Make(dtypes.BFloat16, dims...) }

// twoLayers is a step of gradient descent on two layers, with the gradients scaled to a norm of one, so that every
// update waits for all gradients.
func twoLayers(t *testing.T, d *Device) *Program {
	t.Helper()
	const rows, in, hidden = 1024, 512, 2048
	inputs := []Input{{"x", bfloat16s(rows, in)}, {"w1", bfloat16s(in, hidden)}, {"w2", bfloat16s(hidden, in)}}
	p, err := d.Compile("two layers", inputs, map[int]int{1: 1, 2: 2}, func(g *graph.Graph, in []*graph.Node) []*graph.Node {
		h := graph.Tanh(graph.MatMul(in[0], in[1]))
		loss := graph.ReduceAllMean(graph.Square(graph.ConvertDType(graph.MatMul(h, in[2]), dtypes.Float32)))
		gradients := graph.Gradient(loss, in[1], in[2])
		norm := graph.ScalarZero(g, dtypes.Float32)
		for _, dw := range gradients {
			norm = graph.Add(norm, graph.ReduceAllSum(graph.Square(graph.ConvertDType(dw, dtypes.Float32))))
		}
		rate := graph.ConvertDType(graph.Rsqrt(norm), dtypes.BFloat16)
		return []*graph.Node{loss, graph.Sub(in[1], graph.Mul(rate, gradients[0])), graph.Sub(in[2], graph.Mul(rate, gradients[1]))}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Finalize)
	return p
}

func TestTargetCompiles(t *testing.T) {
	for _, name := range Targets() {
		t.Run(name, func(t *testing.T) {
			d := openTarget(t, name)
			if !d.Target() || d.Kind() != CUDA || !strings.Contains(strings.ToLower(d.Description()), name) {
				t.Errorf("target is %v, of kind %s: %s", d.Target(), d.Kind(), d.Description())
			}
			p := twoLayers(t, d)
			const parameters, x = 2 * 512 * 2048 * 2, 1024 * 512 * 2
			if m := p.Memory(); !m.Known || m.Argument != parameters+x || m.Alias != parameters || m.Temporary < 1024*2048*2 || m.Temporary > 64<<20 {
				t.Errorf("memory is %+v, want %d bytes of arguments, %d of them aliased", m, parameters+x, parameters)
			}
			if n, bytes, err := p.Copies(); n != 0 || err != nil {
				t.Errorf("%d copies of %d bytes, error %v; want none", n, bytes, err)
			}
			if text := optimized(t, p); !strings.Contains(text, "bf16[1024,2048]") {
				t.Errorf("optimized program is\n%s", text)
			}
		})
	}
}

// Several targets may be open at once, and each program is compiled for its own.
func TestTargetsDontMix(t *testing.T) {
	old, young := openTarget(t, "a100"), openTarget(t, "h100")
	a, b, again := optimized(t, twoLayers(t, old)), optimized(t, twoLayers(t, young)), optimized(t, twoLayers(t, old))
	if a == b || a != again {
		t.Error("a program's target doesn't follow its device")
	}
}

// fusedAttention is causal attention by cuDNN with its gradient, over [batch, seq, heads, head dim].
func fusedAttention(t *testing.T, d *Device, batch, seq, heads, dim int) *Program {
	t.Helper()
	s := bfloat16s(batch, seq, heads, dim)
	p, err := d.Compile("attention", []Input{{"q", s}, {"k", s}, {"v", s}}, nil, func(g *graph.Graph, in []*graph.Node) []*graph.Node {
		out, _ := graph.BackendFusedScaledDotProductAttention(in[0], in[1], in[2], compute.AttentionAxesLayoutBSHD,
			&compute.ScaledDotProductAttentionConfig{Causal: true})
		return graph.Gradient(graph.ReduceAllSum(graph.Square(out)), in...)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Finalize)
	return p
}

func optimized(t *testing.T, p *Program) string {
	t.Helper()
	text, err := p.Optimized()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTargetFusesAttention(t *testing.T) {
	text := optimized(t, fusedAttention(t, openTarget(t, "h100"), 2, 256, 4, 64))
	for _, call := range []string{"__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"} {
		if n := strings.Count(text, call+"("); n != 1 {
			t.Errorf("%d calls of %s, want one, in\n%s", n, call, text)
		}
	}
}

// What XLA says of a GPU describes it as well as what was read.
func TestDescribe(t *testing.T) {
	d := openTarget(t, "h100")
	text, err := d.Describe()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "gpu.txtpb")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	again := openTarget(t, file)
	if again.Description() != d.Description() {
		t.Errorf("read back it is %s, not %s", again.Description(), d.Description())
	}
	if a, b := optimized(t, twoLayers(t, d)), optimized(t, twoLayers(t, again)); a != b {
		t.Errorf("compiled for the description read back a program is\n%s\nand not\n%s", b, a)
	}
	_, err = open(t, Go).Describe()
	fails(t, err, "go", "not an open GPU")
}

func TestTargetLimits(t *testing.T) {
	for name, want := range map[string]struct{ memory, flops, bandwidth float64 }{
		"a100": {80e9, 312e12, 2.04e12},
		"h100": {80e9, 989e12, 3.35e12},
		"h200": {141e9, 989e12, 4.8e12},
	} {
		d := openTarget(t, name)
		// Names count memory with a little of it missing, and programs get most of it.
		if limit, known := d.MemoryLimit(); !known || float64(limit) > want.memory || float64(limit) < 0.9*want.memory {
			t.Errorf("%s has %d bytes for programs, %v", name, limit, known)
		}
		if p, known := d.Peak(); !known || p.BF16FLOPS != want.flops || math.Abs(p.Bandwidth/want.bandwidth-1) > 0.01 {
			t.Errorf("%s can do %+v, %v; want %+v", name, p, known, want)
		}
		// What XLA is told of the bandwidth is what plans say of it.
		told, err := strconv.ParseFloat(targetField(d.target, "memory_bandwidth"), 64)
		if p, _ := d.Peak(); err != nil || math.Abs(told/p.Bandwidth-1) > 0.01 {
			t.Errorf("%s is described with a bandwidth of %v, not %v", name, told, p.Bandwidth)
		}
	}
}

func TestTargetRunsNothing(t *testing.T) {
	d := openTarget(t, "h100")
	_, err := d.UploadFloat32([]float32{1})
	fails(t, err, "upload", "isn't here")
	p, err := d.compileTry()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Finalize()
	_, err = p.Run(nil)
	fails(t, err, "run try", "isn't here")
}

func TestTargetErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("some text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenTarget("h1000")
	fails(t, err, "h1000", "a100, h100, h200", "train doctor --describe")
	_, err = OpenTarget(text)
	fails(t, err, text, "describes no GPU", "train doctor --describe")
	_, err = OpenTarget(dir)
	fails(t, err, dir)

	openTarget(t, "h100") // skips the rest where there is no plugin
	wrong := filepath.Join(dir, "wrong")
	if err := os.WriteFile(wrong, []byte("gpu_device_info { device_memory_size: many }\ndevice_description_str: \"X\""), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = OpenTarget(wrong)
	fails(t, err, wrong, "GpuTargetConfigProto")

	withoutToolkit(t)
	plugin := filepath.Join(dir, "jax_plugins", "xla_cuda13", "xla_cuda_plugin.so")
	t.Setenv("LONGFORM_PJRT_CUDA", plugin)
	_, err = OpenTarget("h100")
	fails(t, err, plugin, "make setup-target")
	for _, file := range []string{"jax_plugins/xla_cuda13/xla_cuda_plugin.so", "nvidia/cu13/bin/ptxas"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err = OpenTarget("h100")
	fails(t, err, "nvlink", plugin, "make setup-target")
}
