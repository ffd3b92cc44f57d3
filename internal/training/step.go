package training

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// stepper holds the state of training on a device and the programs that advance it. A step is one program, which loops
// over micro-batches where the batch is cut. The optimizer's numbers and random keys are inputs, so there is one program
// for each shape of batches.
type stepper struct {
	device     *device.Device
	spec       *pretrained.Spec
	model      configs.Model
	optim      configs.Optim
	optimizer  optimizer
	parameters []*device.Buffer
	state      []*device.Buffer // all slots of the first trained weight, then of the second, ...
	halted     *device.Buffer   // whether a step wasn't finite, so that none changes anything any more; nil: no
	programs   map[feed.Shape]*device.Program
	compiling  chan error // how compileEarly went; nil when that is known
	fused      bool       // attention may be one kernel
	unfused    []string   // why it isn't, where it may be
	told       bool       // of unfused
	// early updates each matrix as soon as its gradient is there: see update.
	early bool
}

// outcome is what a step reports.
type outcome struct {
	loss     float32 // mean over the targets
	gradNorm float32 // before clipping
	targets  int
}

func newStepper(d *device.Device, spec *pretrained.Spec, c configs.Config) *stepper {
	return &stepper{
		device: d, spec: spec, model: c.Model, optim: c.Optim, optimizer: newOptimizer(c.Optim), programs: map[feed.Shape]*device.Program{},
		fused: d.Kind() == device.CUDA,
		// XLA on the CPU would copy the matrices that the backward pass still reads.
		early: c.Optim.ClipNorm == 0 && d.Kind() == device.CUDA,
	}
}

// close frees what is on the device, the parameters included.
func (s *stepper) close() {
	_ = s.waitEarly()
	feed.Free(s.parameters)
	feed.Free(s.state)
	s.halted.Free()
	for _, p := range s.programs {
		p.Finalize()
	}
}

// trained lists the indices of the weights that get a gradient.
func (s *stepper) trained() []int {
	var indices []int
	for i, w := range s.spec.Weights {
		if !w.Frozen {
			indices = append(indices, i)
		}
	}
	return indices
}

// stateInputs are the optimizer's arrays, in the order of s.state.
func (s *stepper) stateInputs() []device.Input {
	var in []device.Input
	for _, i := range s.trained() {
		w := s.spec.Weights[i]
		for _, slot := range s.optimizer.slots(w.Shape, s.spec.Stored) {
			in = append(in, device.Input{Name: slot.name + "." + w.Name, Shape: slot.shape})
		}
	}
	return in
}

var haltedInput = device.Input{Name: "halted", Shape: shapes.Make(dtypes.Bool)}

// zeros uploads arrays of zeros.
func zeros(d *device.Device, in []device.Input) ([]*device.Buffer, error) {
	var buffers []*device.Buffer
	for _, i := range in {
		b, err := d.Upload(i.Shape, make([]byte, i.Shape.ByteSize()))
		if err != nil {
			feed.Free(buffers)
			return nil, err
		}
		buffers = append(buffers, b)
	}
	return buffers, nil
}

// upload puts a batch on the device, cut to shape, with the numbers and the random keys of its step.
func (s *stepper) upload(b data.Batch, shape feed.Shape, rate float64, step int, seed uint64) ([]*device.Buffer, error) {
	at, err := uploadMoment(s.device, s.optim, rate, step, seed)
	if err != nil {
		return nil, err
	}
	in, err := s.uploadBatch(b, shape, seed, step)
	if err != nil {
		feed.Free(at)
		return nil, err
	}
	return append(at, in...), nil
}

// start starts one optimizer step on what was uploaded, which it frees, and returns its metrics, for fetch to wait for. A
// step whose loss or gradient isn't finite changes nothing, except that early updates see to their gradients alone; neither do
// the steps after it change anything, unless skip says that they go on.
func (s *stepper) start(shape feed.Shape, in []*device.Buffer, skip bool) (*device.Buffer, error) {
	defer feed.Free(in)
	p, err := s.program(shape)
	if err == nil {
		err = s.checkProgram(p)
	}
	if err != nil {
		return nil, err
	}
	if s.halted == nil {
		if s.halted, err = s.device.Upload(haltedInput.Shape, []byte{0}); err != nil {
			return nil, err
		}
	}
	out, err := p.Run(concat(s.parameters, s.state, []*device.Buffer{s.halted}, in))
	if err != nil {
		return nil, err
	}
	metrics := s.take(out)
	if skip {
		s.halted.Free()
		s.halted = nil
	}
	return metrics, nil
}

// fetch waits for a step and returns what it reports. It frees the metrics.
func fetch(metrics *device.Buffer) (outcome, error) {
	defer metrics.Free()
	m, err := metrics.Float32s()
	if err != nil {
		return outcome{}, err
	}
	return outcome{loss: m[0], gradNorm: m[1], targets: int(m[2])}, nil
}

// uploadMoment uploads the inputs of a moment.
func uploadMoment(d *device.Device, c configs.Optim, rate float64, step int, seed uint64) (at []*device.Buffer, err error) {
	var words []uint32
	for _, s := range scalars(c, rate, step) {
		words = append(words, math.Float32bits(float32(s.value)))
	}
	words = append(words, randomKey(seed, step, roundingPart))
	for i, in := range momentInputs() {
		b, err := d.Upload(in.Shape, binary.LittleEndian.AppendUint32(nil, words[i]))
		if err != nil {
			feed.Free(at)
			return nil, err
		}
		at = append(at, b)
	}
	return at, nil
}

// randomKey is the key of a micro-batch, or of roundingPart, of a step of a run with seed.
func randomKey(seed uint64, step, part int) uint32 {
	return uint32(rand.NewPCG(seed, uint64(step)<<20+uint64(part)).Uint64())
}

// roundingPart is larger than the number of any micro-batch.
const roundingPart = 1<<20 - 1

// uploadBatch uploads a batch, cut to shape, and the random keys of the dropout of its micro-batches.
func (s *stepper) uploadBatch(b data.Batch, shape feed.Shape, seed uint64, step int) ([]*device.Buffer, error) {
	in, err := shape.Upload(s.device, b)
	if err != nil {
		return nil, err
	}
	var keys []byte
	for part := range shape.Parts {
		keys = binary.LittleEndian.AppendUint32(keys, randomKey(seed, step, part))
	}
	random, err := s.device.Upload(randomInput(shape.Parts).Shape, keys)
	if err != nil {
		feed.Free(in)
		return nil, err
	}
	return append(in, random), nil
}

// take puts the outputs of a program, which are those of update, in their places, and returns the metrics.
func (s *stepper) take(out []*device.Buffer) (metrics *device.Buffer) {
	for k, i := range s.trained() {
		s.parameters[i] = out[k]
	}
	out = out[len(s.trained()):]
	n := len(s.state)
	s.halted.Free()
	s.state, s.halted, metrics = out[:n], out[n], out[n+1]
	return metrics
}

// compileEarly compiles the program for a shape in the background. Program waits for it.
func (s *stepper) compileEarly(shape feed.Shape) {
	compiling := make(chan error, 1)
	go func() {
		p, err := s.compileOrUnfuse(shape)
		if err == nil {
			s.programs[shape] = p
		}
		compiling <- err
	}()
	s.compiling = compiling
}

func (s *stepper) waitEarly() error {
	if s.compiling == nil {
		return nil
	}
	err := <-s.compiling
	s.compiling = nil
	return err
}

func (s *stepper) program(shape feed.Shape) (*device.Program, error) {
	if err := s.waitEarly(); err != nil {
		return nil, err
	}
	if p, ok := s.programs[shape]; ok {
		return p, nil
	}
	p, err := s.compileOrUnfuse(shape)
	if err != nil {
		return nil, err
	}
	s.programs[shape] = p
	return p, nil
}

// compileOrUnfuse compiles a step, without fused attention where only the compiler finds out that it can't be: cuDNN
// refuses some shapes.
func (s *stepper) compileOrUnfuse(shape feed.Shape) (*device.Program, error) {
	p, err := s.compile(shape)
	if err == nil || !s.fused {
		return p, err
	}
	s.fused = false
	unfused, again := s.compile(shape)
	if again != nil {
		return nil, err // attention wasn't the reason
	}
	s.unfused = []string{err.Error()}
	return unfused, nil
}

// note says, once, why attention isn't fused on a device that could.
func (s *stepper) note() string {
	if s.told || len(s.unfused) == 0 {
		return ""
	}
	s.told = true
	return "attention is not fused everywhere: " + strings.Join(s.unfused, "; ")
}

// sizes are the numbers of inputs of each kind.
func (s *stepper) sizes() (parameters, state, moments int) {
	return len(s.spec.Inputs()), len(s.stateInputs()), len(momentInputs())
}

// updated says which input of a program, which starts with parameters and state, becomes which output of update.
func (s *stepper) updated() map[int]int {
	becomes := map[int]int{}
	parameters, state, _ := s.sizes()
	for k, i := range s.trained() {
		becomes[i] = k
	}
	for i := range state {
		becomes[parameters+i] = len(s.trained()) + i
	}
	return becomes
}

func (s *stepper) compile(shape feed.Shape) (*device.Program, error) {
	parameters, state, moments := s.sizes()
	inputs := concat(s.spec.Inputs(), s.stateInputs(), []device.Input{haltedInput}, momentInputs(), shape.Inputs(), []device.Input{randomInput(shape.Parts)})
	return s.device.Compile("step "+shape.String(), inputs, s.updated(), func(_ *Graph, in []*Node) []*Node {
		weights, in := in[:parameters], in[parameters:]
		slots, in := in[:state], in[state:]
		halted, in := in[0], in[1:]
		at, in := momentOf(in[:moments]), in[moments:]
		gradients, loss, targets := s.accumulate(weights, shape, in)
		return s.update(weights, slots, halted, at, gradients, loss, targets)
	})
}

// randomInput are the random keys of micro-batches.
func randomInput(parts int) device.Input {
	return device.Input{Name: "random", Shape: shapes.Make(dtypes.Uint32, parts)}
}

// accumulate adds up what differentiate returns for each micro-batch. in are the batch and the random keys.
func (s *stepper) accumulate(weights []*Node, shape feed.Shape, in []*Node) (gradients []*Node, loss, targets *Node) {
	g := weights[0].Graph()
	held := dtypes.Float32
	if s.optim.Gradients == "bfloat16" {
		held = dtypes.BFloat16
	}
	var sums []*Node
	for _, i := range s.trained() {
		sums = append(sums, Zeros(g, shapes.Make(held, s.spec.Weights[i].Shape...)))
	}
	zero := ScalarZero(g, dtypes.Float32)
	sums = device.Scan(weights, in, append(sums, zero, zero), func(weights, in, sums []*Node) []*Node {
		gradients, loss, targets := s.differentiate(weights, shape, in)
		var next []*Node
		for i, part := range append(gradients, loss, targets) {
			next = append(next, like(Add(to32(sums[i]), to32(part)), sums[i]))
		}
		return next
	})
	n := len(sums) - 2
	return sums[:n], sums[n], sums[n+1]
}

// differentiate returns the gradients of the summed loss by the trained weights, the summed loss and the number of targets.
// in are a micro-batch and its random key.
func (s *stepper) differentiate(weights []*Node, shape feed.Shape, in []*Node) (gradients []*Node, loss, targets *Node) {
	m := s.spec.Model(weights)
	t := &blocks.Training{Recompute: blocks.Recompute(s.model.GradientCheckpointing), Fused: s.fused, Random: in[len(in)-1]}
	rows, counts, objective := models.Loss(m, shape.Batch(in), t)
	s.unfused = t.Unfused()
	loss, targets = ReduceAllSum(rows), ReduceAllSum(counts)
	var by []*Node
	for _, i := range s.trained() {
		by = append(by, weights[i])
	}
	return Gradient(objective, by...), loss, targets
}

// update returns the trained weights, the state, whether the run is halted, and the metrics (mean loss, gradient norm,
// targets), after one step along the gradients of the mean loss, clipped to the global norm as torch's clip_grad_norm_ does.
//
// The first update waits for all gradients: clipping has to, and if one of them isn't finite, everything stays as it is.
// Early updates of matrices wait for their own gradient only, so that its memory can serve for the next: a matrix whose
// gradient isn't finite then stays, as do the vectors, which wait for all, and everything when the loss isn't finite.
func (s *stepper) update(weights, slots []*Node, halted *Node, at moment, gradients []*Node, loss, targets *Node) []*Node {
	share := Inverse(MaxScalar(targets, 1.0))
	mean := Mul(loss, share)
	squares := make([]*Node, len(gradients))
	sum := ScalarZero(loss.Graph(), dtypes.Float32)
	for i, g := range gradients {
		gradients[i] = Mul(to32(g), share)
		squares[i] = ReduceAllSum(Square(gradients[i]))
		sum = Add(sum, squares[i])
	}
	norm := Sqrt(sum)
	if s.optim.ClipNorm > 0 {
		clip := MinScalar(Mul(Inverse(AddScalar(norm, 1e-6)), at.clip), 1.0)
		for i, g := range gradients {
			gradients[i] = Mul(g, clip)
		}
	}

	// Fused with the test of one weight's gradient, that of the loss would make all updates wait for this one.
	sound := OptimizationBarrier(LogicalAnd(LogicalNot(halted), IsFinite(mean)))
	round := rounding{at.key}
	const arrays = 5 // of one weight, at most
	var newWeights, newSlots []*Node
	for k, i := range s.trained() {
		finite := LogicalAnd(sound, IsFinite(norm))
		if s.early && weights[i].Rank() > 1 {
			finite = LogicalAnd(sound, IsFinite(squares[k]))
		}
		n := len(s.optimizer.slots(s.spec.Weights[i].Shape, s.spec.Stored))
		stored := concat([]*Node{weights[i]}, slots[:n])
		slots = slots[n:]
		kept := make([]*Node, len(stored))
		s.optimizer.step(stored, gradients[k], at, func(j int, next *Node) *Node {
			kept[j] = Where(finite, round.like(next, stored[j], arrays*k+j), stored[j])
			return kept[j]
		})
		newWeights = append(newWeights, kept[0])
		newSlots = append(newSlots, kept[1:]...)
	}
	metrics := Concatenate([]*Node{Reshape(mean, 1), Reshape(norm, 1), Reshape(targets, 1)}, 0)
	halted = LogicalOr(halted, LogicalNot(LogicalAnd(IsFinite(norm), IsFinite(mean))))
	return concat(newWeights, newSlots, []*Node{halted, metrics})
}

// memory is what the programs that are compiled take at most, in bytes.
func (s *stepper) memory() device.Memory {
	_ = s.waitEarly()
	var most device.Memory
	for _, p := range s.programs {
		if m := p.Memory(); m.Known && total(m) > total(most) {
			most = m
		}
	}
	return most
}

// total is the device memory of a program while it runs.
func total(m device.Memory) int64 { return m.Argument + m.Output - m.Alias + m.Temporary }

func concat[T any](lists ...[]T) []T {
	var all []T
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// batchName names a batch by its records, for messages about it.
func batchName(b data.Batch) string {
	const most = 16
	if len(b.Records) > most {
		return fmt.Sprintf("records %v and %d more", b.Records[:most], len(b.Records)-most)
	}
	return fmt.Sprintf("records %v", b.Records)
}
