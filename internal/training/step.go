package training

import (
	"fmt"
	"math/rand/v2"

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

// stepper holds the state of training on a device and the programs that advance it. Where a batch is computed at once, a
// step is one program; where it is cut into micro-batches, "accumulate" adds up their gradients and "apply" updates.
// Learning rate, step number and random state are inputs, so no program is compiled twice.
type stepper struct {
	device     *device.Device
	spec       *pretrained.Spec
	model      configs.Model
	optim      configs.Optim
	optimizer  optimizer
	parameters []*device.Buffer
	state      []*device.Buffer // all slots of the first trained weight, then of the second, ...
	gradients  []*device.Buffer // sums over micro-batches, then of their loss and targets; nil until needed
	programs   map[program]*device.Program
}

// program tells the programs of a stepper apart.
type program struct {
	kind  string // "step", "accumulate" or "apply"
	shape feed.Shape
}

// outcome is what a step reports.
type outcome struct {
	loss     float32 // mean over the targets
	gradNorm float32 // before clipping
	targets  int
}

func newStepper(d *device.Device, spec *pretrained.Spec, c configs.Config) *stepper {
	return &stepper{
		device: d, spec: spec, model: c.Model, optim: c.Optim, optimizer: newOptimizer(c.Optim), programs: map[program]*device.Program{},
	}
}

// close frees what is on the device, the parameters included.
func (s *stepper) close() {
	feed.Free(s.parameters)
	feed.Free(s.state)
	feed.Free(s.gradients)
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
		for _, slot := range s.optimizer.slots(w.Shape) {
			dtype := s.spec.Stored
			if slot.exact {
				dtype = dtypes.Float32
			}
			in = append(in, device.Input{Name: slot.name + "." + w.Name, Shape: shapes.Make(dtype, slot.shape...)})
		}
	}
	return in
}

// gradientInputs are the sums over micro-batches: a float32 array for each trained weight, the loss and the targets.
func (s *stepper) gradientInputs() []device.Input {
	var in []device.Input
	for _, i := range s.trained() {
		w := s.spec.Weights[i]
		in = append(in, device.Input{Name: "gradient." + w.Name, Shape: shapes.Make(dtypes.Float32, w.Shape...)})
	}
	return append(in,
		device.Input{Name: "loss", Shape: shapes.Make(dtypes.Float32)},
		device.Input{Name: "targets", Shape: shapes.Make(dtypes.Float32)})
}

func momentInputs() []device.Input {
	return []device.Input{
		{Name: "rate", Shape: shapes.Make(dtypes.Float32)},
		{Name: "step", Shape: shapes.Make(dtypes.Float32)},
	}
}

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

// run takes one optimizer step on b, micro rows at a time. A step whose loss or gradient isn't finite changes nothing.
func (s *stepper) run(b data.Batch, micro int, rate float64, step int, seed uint64) (outcome, error) {
	at, err := s.uploadMoment(rate, step)
	if err != nil {
		return outcome{}, err
	}
	defer feed.Free(at)
	if micro >= b.Rows {
		return s.whole(b, at, seed, step)
	}
	return s.inParts(b.Split(micro), at, seed, step)
}

// inParts takes one optimizer step on all of parts together.
func (s *stepper) inParts(parts []data.Batch, at []*device.Buffer, seed uint64, step int) (outcome, error) {
	if s.gradients == nil {
		var err error
		if s.gradients, err = zeros(s.device, s.gradientInputs()); err != nil {
			return outcome{}, err
		}
	}
	for i, part := range parts {
		if err := s.accumulate(part, seed, step, i); err != nil {
			return outcome{}, err
		}
	}
	return s.apply(at)
}

func (s *stepper) uploadMoment(rate float64, step int) ([]*device.Buffer, error) {
	r, err := s.device.UploadFloat32([]float32{float32(rate)})
	if err != nil {
		return nil, err
	}
	n, err := s.device.UploadFloat32([]float32{float32(step)})
	if err != nil {
		r.Free()
		return nil, err
	}
	return []*device.Buffer{r, n}, nil
}

// uploadBatch uploads a batch and the random state of its dropout, which follows from the seed, the step and the number of
// the micro-batch.
func (s *stepper) uploadBatch(b data.Batch, seed uint64, step, part int) ([]*device.Buffer, error) {
	in, err := feed.Upload(s.device, b)
	if err != nil {
		return nil, err
	}
	generator := rand.New(rand.NewPCG(seed, uint64(step)<<20+uint64(part)))
	state := make([]byte, RNGStateShape.ByteSize())
	for i := range state {
		state[i] = byte(generator.Uint32())
	}
	random, err := s.device.Upload(RNGStateShape, state)
	if err != nil {
		feed.Free(in)
		return nil, err
	}
	return append(in, random), nil
}

func (s *stepper) whole(b data.Batch, at []*device.Buffer, seed uint64, step int) (outcome, error) {
	p, err := s.program("step", feed.ShapeOf(b))
	if err != nil {
		return outcome{}, err
	}
	in, err := s.uploadBatch(b, seed, step, 0)
	if err != nil {
		return outcome{}, err
	}
	defer feed.Free(in)
	out, err := p.Run(concat(s.parameters, s.state, at, in))
	if err != nil {
		return outcome{}, err
	}
	return s.take(out)
}

func (s *stepper) accumulate(b data.Batch, seed uint64, step, part int) error {
	p, err := s.program("accumulate", feed.ShapeOf(b))
	if err != nil {
		return err
	}
	in, err := s.uploadBatch(b, seed, step, part)
	if err != nil {
		return err
	}
	number, err := s.device.UploadInt32([]int32{int32(part)})
	if err != nil {
		feed.Free(in)
		return err
	}
	in = append(in, number)
	defer feed.Free(in)
	out, err := p.Run(concat(s.parameters, s.gradients, in))
	if err != nil {
		return err
	}
	s.gradients = out
	return nil
}

func (s *stepper) apply(at []*device.Buffer) (outcome, error) {
	p, err := s.program("apply", feed.Shape{})
	if err != nil {
		return outcome{}, err
	}
	out, err := p.Run(concat(s.parameters, s.state, at, s.gradients))
	if err != nil {
		return outcome{}, err
	}
	return s.take(out)
}

// take puts the outputs of an update, which are the trained weights, the state and the metrics, in their places.
func (s *stepper) take(out []*device.Buffer) (outcome, error) {
	for k, i := range s.trained() {
		s.parameters[i] = out[k]
	}
	out = out[len(s.trained()):]
	s.state = out[:len(s.state)]
	metrics := out[len(s.state)]
	defer metrics.Free()
	m, err := metrics.Float32s()
	if err != nil {
		return outcome{}, err
	}
	return outcome{loss: m[0], gradNorm: m[1], targets: int(m[2])}, nil
}

func (s *stepper) program(kind string, shape feed.Shape) (*device.Program, error) {
	key := program{kind, shape}
	if p, ok := s.programs[key]; ok {
		return p, nil
	}
	var p *device.Program
	var err error
	switch kind {
	case "step":
		p, err = s.compileStep(shape)
	case "accumulate":
		p, err = s.compileAccumulate(shape)
	default:
		p, err = s.compileApply()
	}
	if err != nil {
		return nil, err
	}
	s.programs[key] = p
	return p, nil
}

// sizes are the numbers of inputs of each kind.
func (s *stepper) sizes() (parameters, state, moments int) {
	return len(s.spec.Weights), len(s.stateInputs()), len(momentInputs())
}

// updated says which input of a program that starts with parameters and state becomes which output of update.
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

func (s *stepper) compileStep(shape feed.Shape) (*device.Program, error) {
	parameters, state, moments := s.sizes()
	inputs := concat(s.spec.Inputs(), s.stateInputs(), momentInputs(), shape.Inputs(), []device.Input{randomInput})
	return s.device.Compile("step "+shape.String(), inputs, s.updated(), func(_ *Graph, in []*Node) []*Node {
		weights, in := in[:parameters], in[parameters:]
		slots, in := in[:state], in[state:]
		at, in := moment{in[0], in[1]}, in[moments:]
		gradients, loss, targets := s.differentiate(weights, shape, in)
		return s.update(weights, slots, at, gradients, loss, targets)
	})
}

func (s *stepper) compileAccumulate(shape feed.Shape) (*device.Program, error) {
	parameters, _, _ := s.sizes()
	sums := s.gradientInputs()
	becomes := map[int]int{}
	for i := range sums {
		becomes[parameters+i] = i
	}
	inputs := concat(s.spec.Inputs(), sums, shape.Inputs(), []device.Input{randomInput, partInput})
	return s.device.Compile("accumulate "+shape.String(), inputs, becomes, func(_ *Graph, in []*Node) []*Node {
		last := len(in) - 1
		first := Equal(in[last], ZerosLike(in[last]))
		gradients, loss, targets := s.differentiate(in[:parameters], shape, in[parameters+len(sums):last])
		var out []*Node
		for i, g := range append(gradients, loss, targets) {
			sum := in[parameters+i]
			out = append(out, Add(Where(first, ZerosLike(sum), sum), to32(g)))
		}
		return out
	})
}

func (s *stepper) compileApply() (*device.Program, error) {
	parameters, state, moments := s.sizes()
	inputs := concat(s.spec.Inputs(), s.stateInputs(), momentInputs(), s.gradientInputs())
	return s.device.Compile("apply", inputs, s.updated(), func(_ *Graph, in []*Node) []*Node {
		weights, in := in[:parameters], in[parameters:]
		slots, in := in[:state], in[state:]
		at, in := moment{in[0], in[1]}, in[moments:]
		n := len(in) - 2
		return s.update(weights, slots, at, in[:n], in[n], in[n+1])
	})
}

var (
	randomInput = device.Input{Name: "random", Shape: RNGStateShape}
	partInput   = device.Input{Name: "part", Shape: shapes.Make(dtypes.Int32)} // number of the micro-batch; with 0 the sums begin
)

// differentiate returns the gradients of the summed loss by the trained weights, the summed loss and the number of targets.
// in are the batch and the random state.
func (s *stepper) differentiate(weights []*Node, shape feed.Shape, in []*Node) (gradients []*Node, loss, targets *Node) {
	m := s.spec.Model(weights)
	t := blocks.NewTraining(s.model.GradientCheckpointing, in[len(in)-1])
	rows, counts, objective := models.Loss(m, shape.Batch(in), t)
	loss, targets = ReduceAllSum(rows), ReduceAllSum(counts)
	var by []*Node
	for _, i := range s.trained() {
		by = append(by, weights[i])
	}
	return Gradient(objective, by...), loss, targets
}

// update returns the trained weights, the state, and the metrics (mean loss, gradient norm, targets), after one step along
// the gradients of the mean loss, clipped to the global norm as torch's clip_grad_norm_ does.
func (s *stepper) update(weights, slots []*Node, at moment, gradients []*Node, loss, targets *Node) []*Node {
	share := Inverse(MaxScalar(targets, 1.0))
	var squares *Node
	for i, g := range gradients {
		gradients[i] = Mul(to32(g), share)
		square := ReduceAllSum(Square(gradients[i]))
		if squares == nil {
			squares = square
		} else {
			squares = Add(squares, square)
		}
	}
	norm := Sqrt(squares)
	mean := Mul(loss, share)
	if s.optim.ClipNorm > 0 {
		clip := MinScalar(Mul(Inverse(AddScalar(norm, 1e-6)), Scalar(norm.Graph(), dtypes.Float32, s.optim.ClipNorm)), 1.0)
		for i, g := range gradients {
			gradients[i] = Mul(g, clip)
		}
	}
	finite := LogicalAnd(IsFinite(norm), IsFinite(mean))

	var newWeights, newSlots []*Node
	for k, i := range s.trained() {
		w := weights[i]
		n := len(s.optimizer.slots(s.spec.Weights[i].Shape))
		old := slots[:n]
		slots = slots[n:]
		advanced := make([]*Node, n)
		for j, now := range s.optimizer.advance(gradients[k], all32(old), at) {
			advanced[j] = Where(finite, like(now, old[j]), old[j])
		}
		// Computed from the state that is kept: the old state is then read only where the new one takes its place, and
		// XLA updates both without a copy.
		next := s.optimizer.update(to32(w), gradients[k], all32(advanced), at)
		newWeights = append(newWeights, Where(finite, like(next, w), w))
		newSlots = append(newSlots, advanced...)
	}
	metrics := Concatenate([]*Node{Reshape(mean, 1), Reshape(norm, 1), Reshape(targets, 1)}, 0)
	return concat(newWeights, newSlots, []*Node{metrics})
}

// memory is what the programs that are compiled take at most, in bytes.
func (s *stepper) memory() device.Memory {
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
