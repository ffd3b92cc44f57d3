package device

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// Input is one argument of a program.
type Input struct {
	Name  string // for people; needs not be unique
	Shape shapes.Shape
}

// Program is a computation compiled for one device.
type Program struct {
	device     *Device
	name       string
	inputs     []Input
	outputs    []shapes.Shape
	donated    []bool // inputs whose memory becomes an output
	graph      *graph.Graph
	executable *executable // nil on the Go backend

	memory     Memory
	memoryOnce sync.Once
}

// Memory is what a program takes on its device, in bytes, as the compiler planned it before anything runs.
type Memory struct {
	Known         bool // false on the Go backend, which plans nothing, and where XLA doesn't tell
	Argument      int64
	Output        int64
	Alias         int64 // of Output, what lies in the memory of arguments
	Temporary     int64
	GeneratedCode int64
}

// Compile compiles what build makes of inputs, of which it needs to know only the shapes.
//
// becomes[i] = j says that input i's memory becomes output j, of the same shape and element type: Run consumes that
// input, and a training step updates its state in place instead of holding it twice.
//
// What gomlx panics with inside build comes back as an error.
func (d *Device) Compile(name string, inputs []Input, becomes map[int]int,
	build func(g *graph.Graph, in []*graph.Node) []*graph.Node) (p *Program, err error) {
	defer recovered(&err, "compile %s", name)
	if d.backend == nil {
		return nil, errClosed
	}
	g := graph.NewGraph(d.backend, name)
	defer func() {
		if p == nil {
			g.Finalize()
		}
	}()
	in := parameters(g, inputs)
	out := build(g, in)
	if len(out) == 0 {
		return nil, fmt.Errorf("compile %s: it has no outputs", name)
	}
	if i := slices.Index(out, nil); i >= 0 {
		return nil, fmt.Errorf("compile %s: output %d is nil", name, i)
	}
	built := &Program{
		device:  d,
		name:    name,
		inputs:  slices.Clone(inputs),
		outputs: make([]shapes.Shape, len(out)),
		donated: make([]bool, len(inputs)),
		graph:   g,
	}
	for j, node := range out {
		built.outputs[j] = node.Shape()
	}
	if err := built.pair(becomes); err != nil {
		return nil, fmt.Errorf("compile %s: %w", name, err)
	}
	if d.plugin == nil {
		for j, node := range out {
			if slices.Contains(in, node) {
				out[j] = graph.Identity(node) // the backend makes no room for inputs behind its last output
			}
		}
		err = g.Compile(out...)
	} else {
		built.executable, err = d.plugin.throughSeam(d.cache, len(inputs), becomes, func() error { return g.Compile(out...) })
	}
	if err != nil {
		return nil, fmt.Errorf("compile %s: %s", name, oneLine(err.Error()))
	}
	return built, nil
}

func parameters(g *graph.Graph, inputs []Input) []*graph.Node {
	in := make([]*graph.Node, len(inputs))
	for i, input := range inputs {
		// Backends replace characters in names and then want them unique.
		in[i] = graph.Parameter(g, fmt.Sprintf("p%d_%s", i, input.Name), input.Shape)
	}
	return in
}

// pair checks becomes and notes which inputs it consumes.
func (p *Program) pair(becomes map[int]int) error {
	taken := map[int]int{}
	for i, j := range becomes {
		if i < 0 || i >= len(p.inputs) || j < 0 || j >= len(p.outputs) {
			return fmt.Errorf("input %d cannot become output %d: there are %d inputs and %d outputs",
				i, j, len(p.inputs), len(p.outputs))
		}
		if !p.inputs[i].Shape.Equal(p.outputs[j]) {
			return fmt.Errorf("input %d (%s) %s cannot become output %d, which is %s",
				i, p.inputs[i].Name, p.inputs[i].Shape, j, p.outputs[j])
		}
		if other, ok := taken[j]; ok {
			return fmt.Errorf("inputs %d and %d cannot both become output %d", min(i, other), max(i, other), j)
		}
		taken[j] = i
		p.donated[i] = true
	}
	return nil
}

// Run starts the program and returns its outputs, which XLA may still be computing: Download waits for them, and is where
// an error on the way shows. The caller frees the outputs, and may free the inputs at once. When the program has started,
// the inputs whose memory becomes an output are invalid, even if it fails; an error about the inputs themselves leaves them
// as they were. The Go backend computes before it returns.
func (p *Program) Run(in []*Buffer) (out []*Buffer, err error) {
	defer recovered(&err, "run %s", p.name)
	raw, err := p.arguments(in)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", p.name, err)
	}
	for i, b := range in {
		if p.donated[i] {
			b.raw = nil
		}
	}
	p.makeRoom()
	results, err := p.graph.Executable().Execute(raw, p.donated, 0)
	if err != nil {
		for i, donated := range p.donated {
			if donated && p.device.kind != Go { // the Go backend has taken its buffers back
				_ = raw[i].Finalize()
			}
		}
		return nil, fmt.Errorf("run %s: %s", p.name, oneLine(err.Error()))
	}
	out = make([]*Buffer, len(results))
	for j, r := range results {
		out[j] = &Buffer{device: p.device, shape: p.outputs[j], raw: r}
	}
	return out, nil
}

// arguments checks in against the program's inputs.
func (p *Program) arguments(in []*Buffer) ([]compute.Buffer, error) {
	if p.graph == nil {
		return nil, errors.New("the program was finalized")
	}
	if p.device.backend == nil {
		return nil, errClosed
	}
	if p.device.Target() {
		return nil, errTarget
	}
	if len(in) != len(p.inputs) {
		return nil, fmt.Errorf("it takes %d inputs, not %d", len(p.inputs), len(in))
	}
	raw := make([]compute.Buffer, len(in))
	given := make(map[*Buffer]int, len(in))
	for i, b := range in {
		if b == nil {
			return nil, fmt.Errorf("input %d (%s) is nil", i, p.inputs[i].Name)
		}
		if err := b.usable(); err != nil {
			return nil, fmt.Errorf("input %d (%s): %w", i, p.inputs[i].Name, err)
		}
		if b.device != p.device {
			return nil, fmt.Errorf("input %d (%s) is on another device", i, p.inputs[i].Name)
		}
		if !b.shape.Equal(p.inputs[i].Shape) {
			return nil, fmt.Errorf("input %d (%s) is %s, not %s", i, p.inputs[i].Name, b.shape, p.inputs[i].Shape)
		}
		if other, ok := given[b]; ok && (p.donated[i] || p.donated[other]) {
			return nil, fmt.Errorf("inputs %d and %d are one buffer, which the program consumes", other, i)
		} else if !ok || p.donated[i] {
			given[b] = i
		}
		raw[i] = b.raw
	}
	return raw, nil
}

// Memory returns what the compiler planned. Adding it up takes XLA a while, so it is asked only here, and not once the
// program is finalized.
func (p *Program) Memory() Memory {
	p.memoryOnce.Do(func() {
		if p.executable != nil && p.executable.handle != nil {
			p.memory, _ = p.executable.memory() // else it isn't known
		}
	})
	return p.memory
}

// Cached says whether the program was compiled by an earlier run and only loaded by this one.
func (p *Program) Cached() bool { return p.executable != nil && p.executable.cached }

// Optimized returns the program as XLA's compiler left it: a line an instruction, with its shape, opcode, custom call
// target and operands, so that what was fused, copied or sent between devices can be counted. It needs XLA.
func (p *Program) Optimized() (string, error) {
	module, err := p.optimized()
	if err != nil {
		return "", err
	}
	return module.String(), nil
}

// Copies counts the whole arrays that the program copies because an input's memory becomes an output: copies of such
// an input, and copies into such an output. A step that updates its state in place has none. It needs XLA.
func (p *Program) Copies() (n int, bytes int64, err error) {
	module, err := p.optimized()
	if err != nil {
		return 0, 0, err
	}
	return module.aliasCopies()
}

func (p *Program) optimized() (*hloModule, error) {
	if p.executable == nil || p.executable.handle == nil {
		return nil, fmt.Errorf("%s has no optimized program: it isn't compiled by XLA, or was finalized", p.name)
	}
	module, err := p.executable.optimized()
	if err != nil {
		return nil, fmt.Errorf("optimized program of %s: %w", p.name, err)
	}
	return module, nil
}

// Finalize frees the program. Outputs of earlier runs stay.
func (p *Program) Finalize() {
	if p == nil || p.graph == nil {
		return
	}
	if p.device.backend != nil { // else closing the device freed it
		_ = p.executable.free()
		p.graph.Finalize()
	}
	p.graph = nil
}
