package device

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/go-xla/pjrt"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/testneeds"
)

// each runs test on both devices that need no GPU.
func each(t *testing.T, test func(t *testing.T, d *Device)) {
	for _, kind := range []string{CPU, Go} {
		t.Run(kind, func(t *testing.T) { test(t, open(t, kind)) })
	}
}

// open opens a device for a test.
func open(t *testing.T, kind string) *Device {
	t.Helper()
	if kind == CPU {
		if _, err := findPlugin(CPU); err != nil {
			testneeds.Missing(t, fmt.Sprintf("%v; %s", err, pluginFix(CPU)))
		}
	}
	d, err := Open(kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	if d.Kind() != kind {
		t.Fatalf("opened %q, not %q", d.Kind(), kind)
	}
	return d
}

func float32s(dims ...int) shapes.Shape { return shapes.Make(dtypes.Float32, dims...) }

func upload(t *testing.T, d *Device, values []float32, dims ...int) *Buffer {
	t.Helper()
	b, err := d.UploadFloat32(values, dims...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Free)
	return b
}

func run(t *testing.T, p *Program, in ...*Buffer) []*Buffer {
	t.Helper()
	out, err := p.Run(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range out {
		t.Cleanup(b.Free)
	}
	return out
}

func values(t *testing.T, b *Buffer) []float32 {
	t.Helper()
	v, err := b.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func fails(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one about %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q doesn't tell %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error is not one line: %q", err)
	}
}

func TestRun(t *testing.T) {
	each(t, func(t *testing.T, d *Device) {
		p, err := d.Compile("affine", []Input{{"x", float32s(2, 3)}, {"w", float32s(3, 2)}, {"b", float32s()}}, nil,
			func(g *graph.Graph, in []*graph.Node) []*graph.Node {
				y := graph.Add(graph.MatMul(in[0], in[1]), in[2])
				return []*graph.Node{y, graph.ReduceAllSum(y), y, in[0]}
			})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Finalize()
		x := upload(t, d, []float32{1, 2, 3, 4, 5, 6}, 2, 3)
		w := upload(t, d, []float32{1, 0, 0, 1, 1, 1}, 3, 2)
		b := upload(t, d, []float32{0.5})
		for range 2 { // nothing is consumed
			out := run(t, p, x, w, b)
			want := [][]float32{{4.5, 5.5, 10.5, 11.5}, {32}, {4.5, 5.5, 10.5, 11.5}, {1, 2, 3, 4, 5, 6}}
			for i, o := range out {
				if got := values(t, o); !slices.Equal(got, want[i]) {
					t.Errorf("output %d is %v, want %v", i, got, want[i])
				}
				o.Free()
			}
			if s := out[0].Shape(); !s.Equal(float32s(2, 2)) {
				t.Errorf("output 0 has shape %s", s)
			}
		}
	})
}

// step is x -= rate*i for three parameters of one shape, which it returns in another order than it takes them in.
func step(t *testing.T, d *Device) *Program {
	t.Helper()
	s := float32s(64, 32)
	inputs := []Input{{"a.b", s}, {"rate", float32s()}, {"a_b", s}, {"c", s}}
	p, err := d.Compile("step", inputs, map[int]int{0: 2, 2: 3, 3: 1},
		func(g *graph.Graph, in []*graph.Node) []*graph.Node {
			// Every update waits for something that reads every parameter, as a norm of all gradients does.
			sum := graph.ReduceAllSum(graph.Add(graph.Add(in[0], in[2]), in[3]))
			rate := graph.Mul(in[1], graph.OnePlus(graph.MulScalar(sum, 0)))
			next := func(i int) *graph.Node { return graph.Sub(in[i], graph.MulScalar(rate, float64(i+1))) }
			return []*graph.Node{sum, next(3), next(0), next(2)}
		})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Finalize)
	return p
}

func TestStateIsUpdatedInPlace(t *testing.T) {
	const size = 64 * 32
	each(t, func(t *testing.T, d *Device) {
		p := step(t, d)
		rate := upload(t, d, []float32{0.25})
		var in [4]*Buffer
		for _, i := range []int{0, 2, 3} {
			in[i] = upload(t, d, slices.Repeat([]float32{float32(10 * i)}, size), 64, 32)
		}
		in[1] = rate
		for range 3 {
			before := in
			out := run(t, p, in[:]...)
			in = [4]*Buffer{out[2], rate, out[3], out[1]}
			for _, i := range []int{0, 2, 3} {
				fails(t, before[i].Download(make([]byte, 4*size)), "consumed")
				_, err := p.Run(before[:])
				fails(t, err, "step", "consumed")
				before[i].Free() // does nothing
			}
		}
		for _, i := range []int{0, 2, 3} {
			want := float32(10*i) - 3*0.25*float32(i+1)
			for _, v := range values(t, in[i]) {
				if v != want {
					t.Fatalf("parameter %d is %v, want %v", i, v, want)
				}
			}
		}
		values(t, rate) // not consumed
	})
}

func TestXLAHoldsStateOnce(t *testing.T) {
	d := open(t, CPU)
	p := step(t, d)
	m := p.Memory()
	state := int64(3 * 64 * 32 * 4)
	if !m.Known || m.Alias != state || m.Argument < state || m.Output < state {
		t.Errorf("memory is %+v, want %d bytes aliased", m, state)
	}
	n, bytes, err := p.Copies()
	if err != nil || n != 0 {
		t.Errorf("%d copies of %d bytes, error %v; want none", n, bytes, err)
	}
	text, err := p.Optimized()
	if err != nil || !strings.Contains(text, "f32[64,32]") || !strings.Contains(text, "ENTRY") {
		t.Errorf("optimized program is %q, error %v", text, err)
	}
	if t.Failed() {
		t.Log(text)
	}
}

// Exchanging two parameters can't be done in place: XLA has to copy, and Copies has to see it.
func TestCopiesAreCounted(t *testing.T) {
	d := open(t, CPU)
	s := float32s(64, 32)
	p, err := d.Compile("exchange", []Input{{"a", s}, {"b", s}}, map[int]int{0: 0, 1: 1},
		func(g *graph.Graph, in []*graph.Node) []*graph.Node { return []*graph.Node{in[1], in[0]} })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Finalize()
	n, bytes, err := p.Copies()
	if err != nil || n == 0 || bytes != int64(n*64*32*4) {
		t.Errorf("%d copies of %d bytes, error %v; want some", n, bytes, err)
	}
	a, b := upload(t, d, slices.Repeat([]float32{1}, 64*32), 64, 32), upload(t, d, slices.Repeat([]float32{2}, 64*32), 64, 32)
	out := run(t, p, a, b)
	if x, y := values(t, out[0]), values(t, out[1]); x[7] != 2 || y[7] != 1 {
		t.Errorf("exchanged 1 and 2 are %v and %v", x[7], y[7])
	}
}

func TestUploadDownload(t *testing.T) {
	types := []dtypes.DType{dtypes.Bool, dtypes.Int8, dtypes.Int16, dtypes.Int32, dtypes.Int64, dtypes.Uint8,
		dtypes.Uint16, dtypes.Uint32, dtypes.Uint64, dtypes.Float16, dtypes.BFloat16, dtypes.Float32, dtypes.Float64}
	each(t, func(t *testing.T, d *Device) {
		for _, dtype := range types {
			for _, dims := range [][]int{nil, {3}, {2, 3, 5}, {0}, {4, 0}} {
				s := shapes.Make(dtype, dims...)
				data := make([]byte, s.ByteSize()+1)[1:] // not aligned
				for i := range data {
					data[i] = byte(7*i + 1)
					if dtype == dtypes.Bool {
						data[i] &= 1
					}
				}
				sent := slices.Clone(data)
				b, err := d.Upload(s, data)
				if err != nil {
					t.Fatal(err)
				}
				clear(data) // the device has its own copy
				got := make([]byte, len(data)+1)[1:]
				if err := b.Download(got); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, sent) {
					t.Errorf("%s came back as %v, not %v", s, got, sent)
				}
				fails(t, b.Download(make([]byte, len(data)+1)), "bytes")
				b.Free()
				b.Free()
				fails(t, b.Download(got), "freed")
			}
		}
		_, err := d.Upload(float32s(2), make([]byte, 7))
		fails(t, err, "8 bytes", "7")
		_, err = d.Upload(shapes.Make(dtypes.Int4, 2), make([]byte, 1))
		fails(t, err, "whole bytes")
		ids, err := d.UploadInt32([]int32{1, -2}, 2)
		if err != nil {
			t.Fatal(err)
		}
		defer ids.Free()
		_, err = ids.Float32s()
		fails(t, err, "not float32")
	})
}

// Device memory isn't the garbage collector's: what is freed has to be freed at once, and all of it.
func TestNothingLeaks(t *testing.T) {
	d := open(t, CPU)
	p := step(t, d)
	before := pjrt.BuffersAlive()
	var in [4]*Buffer
	for i, s := range p.inputs {
		b, err := d.Upload(s.Shape, make([]byte, s.Shape.ByteSize()))
		if err != nil {
			t.Fatal(err)
		}
		in[i] = b
	}
	for range 5 {
		out, err := p.Run(in[:])
		if err != nil {
			t.Fatal(err)
		}
		out[0].Free()
		in = [4]*Buffer{out[2], in[1], out[3], out[1]}
		if alive := pjrt.BuffersAlive() - before; alive != 4 {
			t.Fatalf("%d buffers are alive, want 4", alive)
		}
	}
	for _, b := range in {
		b.Free()
	}
	if alive := pjrt.BuffersAlive() - before; alive != 0 {
		t.Errorf("%d buffers are alive, want none", alive)
	}
}

func TestUnusedInputs(t *testing.T) {
	each(t, func(t *testing.T, d *Device) {
		p, err := d.Compile("unused", []Input{{"x", float32s(2)}, {"y", float32s(3)}, {"z", float32s(2)}}, map[int]int{0: 0},
			func(g *graph.Graph, in []*graph.Node) []*graph.Node { return []*graph.Node{in[0]} })
		if err != nil {
			t.Fatal(err)
		}
		defer p.Finalize()
		out := run(t, p, upload(t, d, []float32{1, 2}, 2), upload(t, d, []float32{1, 2, 3}, 3), upload(t, d, []float32{3, 4}, 2))
		if got := values(t, out[0]); !slices.Equal(got, []float32{1, 2}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestEmptyArrays(t *testing.T) {
	each(t, func(t *testing.T, d *Device) {
		p, err := d.Compile("empty", []Input{{"x", float32s(0, 3)}, {"y", float32s(2, 3)}}, map[int]int{1: 1},
			func(g *graph.Graph, in []*graph.Node) []*graph.Node {
				return []*graph.Node{graph.MulScalar(in[0], 2), graph.MulScalar(in[1], 2)}
			})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Finalize()
		out := run(t, p, upload(t, d, nil, 0, 3), upload(t, d, make([]float32, 6), 2, 3))
		if v := values(t, out[0]); len(v) != 0 {
			t.Errorf("empty array has %v", v)
		}
	})
}

func TestCompileErrors(t *testing.T) {
	two := []Input{{"x", float32s(2, 3)}, {"y", float32s(3, 2)}}
	same := func(g *graph.Graph, in []*graph.Node) []*graph.Node { return in }
	tests := []struct {
		name    string
		becomes map[int]int
		build   func(g *graph.Graph, in []*graph.Node) []*graph.Node
		words   []string
	}{
		{"shape", map[int]int{0: 1}, same, []string{"input 0 (x)", "output 1", "[2, 3]", "[3, 2]"}},
		{"dtype", map[int]int{0: 0}, func(g *graph.Graph, in []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.ConvertDType(in[0], dtypes.BFloat16)}
		}, []string{"Float32", "BFloat16"}},
		{"no such output", map[int]int{0: 2}, same, []string{"output 2"}},
		{"no such input", map[int]int{2: 0}, same, []string{"input 2"}},
		{"taken", map[int]int{0: 0, 1: 0}, func(g *graph.Graph, in []*graph.Node) []*graph.Node {
			return []*graph.Node{in[0], in[1]}
		}, []string{"output 0"}},
		{"gomlx panics", nil, func(g *graph.Graph, in []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.Add(in[0], in[1])}
		}, []string{"Add"}},
		{"build panics", nil, func(g *graph.Graph, in []*graph.Node) []*graph.Node { panic("no way\nat all") },
			[]string{"no way at all"}},
		{"no outputs", nil, func(g *graph.Graph, in []*graph.Node) []*graph.Node { return nil }, []string{"no outputs"}},
		{"nil output", nil, func(g *graph.Graph, in []*graph.Node) []*graph.Node { return []*graph.Node{in[0], nil} },
			[]string{"output 1 is nil"}},
	}
	each(t, func(t *testing.T, d *Device) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				p, err := d.Compile("wrong", two, test.becomes, test.build)
				fails(t, err, append(test.words, "compile wrong")...)
				if p != nil {
					t.Error("a program came with the error")
				}
			})
		}
	})
}

func TestRunErrors(t *testing.T) {
	each(t, func(t *testing.T, d *Device) {
		other := open(t, Go)
		p, err := d.Compile("p", []Input{{"x", float32s(2)}, {"y", float32s(2)}}, map[int]int{0: 0},
			func(g *graph.Graph, in []*graph.Node) []*graph.Node { return []*graph.Node{graph.Add(in[0], in[1])} })
		if err != nil {
			t.Fatal(err)
		}
		x := upload(t, d, []float32{1, 2}, 2)
		tests := []struct {
			name  string
			in    []*Buffer
			words []string
		}{
			{"count", []*Buffer{x}, []string{"2 inputs, not 1"}},
			{"nil", []*Buffer{x, nil}, []string{"input 1 (y) is nil"}},
			{"shape", []*Buffer{x, upload(t, d, []float32{1}, 1)}, []string{"input 1 (y)", "[1]", "[2]"}},
			{"device", []*Buffer{x, upload(t, other, []float32{1, 2}, 2)}, []string{"another device"}},
			{"consumed twice", []*Buffer{x, x}, []string{"one buffer"}},
		}
		for _, test := range tests {
			_, err := p.Run(test.in)
			fails(t, err, append(test.words, "run p")...)
		}
		values(t, x) // none of them consumed it
		p.Finalize()
		p.Finalize()
		_, err = p.Run([]*Buffer{x, x})
		fails(t, err, "finalized")
	})
}

func TestClosedDevice(t *testing.T) {
	each(t, func(t *testing.T, d *Device) {
		p := step(t, d)
		b := upload(t, d, []float32{1})
		d.Close()
		d.Close()
		fails(t, b.Download(make([]byte, 4)), "closed")
		_, err := d.UploadFloat32([]float32{1})
		fails(t, err, "closed")
		_, err = p.Run(nil)
		fails(t, err, "closed")
		_, err = d.Compile("p", nil, nil, nil)
		fails(t, err, "closed")
	})
}

func TestOpenErrors(t *testing.T) {
	_, err := Open("tpu")
	fails(t, err, "tpu", "auto, cuda, cpu, go")
	t.Setenv("LONGFORM_PJRT_CPU", "/nowhere/plugin.so")
	_, err = Open(CPU)
	fails(t, err, "LONGFORM_PJRT_CPU", "/nowhere/plugin.so")
	t.Setenv("LONGFORM_PJRT_CPU", "plugin.so")
	_, err = Open(CPU)
	fails(t, err, "absolute")
}

func TestAuto(t *testing.T) {
	d, err := Open(Auto)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	better := slices.Index([]string{CUDA, CPU, Go}, d.Kind())
	if len(d.Notes()) != better {
		t.Errorf("%s was taken with notes %q; want %d of them", d.Kind(), d.Notes(), better)
	}
	if d.Description() == "" {
		t.Error("no description")
	}
}
