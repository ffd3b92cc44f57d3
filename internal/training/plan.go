package training

import (
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/gomlx/compute/dtypes"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/rundir"
)

// Plan is what a run will need, known before its first step.
type Plan struct {
	Parameters int64 `json:"parameters"`
	Trained    int64 `json:"trained_parameters"`
	// TokensPerStep is the most tokens of one optimizer step.
	TokensPerStep int64 `json:"tokens_per_step"`
	// ArgumentBytes are parameters, optimizer state, gradient sums and batch; AliasBytes is how much of them is updated
	// in place; TemporaryBytes what the largest program takes besides. They are known when XLA compiles.
	ArgumentBytes  int64 `json:"argument_bytes"`
	AliasBytes     int64 `json:"alias_bytes"`
	TemporaryBytes int64 `json:"temporary_bytes"`
	PeakBytes      int64 `json:"peak_bytes"`
	// StateBytes are the trained parameters and the optimizer's state: what has to be aliased.
	StateBytes int64 `json:"state_bytes"`
	// Copies counts the arrays of the state that the optimized program copies: none, when it is updated in place.
	Copies int `json:"copies"`
	// HostBytes is the most memory that weights and checkpoints take on the host.
	HostBytes int64 `json:"host_bytes"`
	// CheckpointBytes is the size of one checkpoint, DiskBytes that of all that are kept, with one being written.
	CheckpointBytes int64 `json:"checkpoint_bytes"`
	DiskBytes       int64 `json:"disk_bytes"`
	// Known says whether the device's figures are known: the Go backend plans nothing.
	Known bool `json:"known"`
}

// NewPlan compiles the step of a configuration on d, for its longest batch, and adds up what it needs. No weights and no
// data are read.
func NewPlan(c configs.Config, d *device.Device) (Plan, error) {
	source, err := pretrained.Find(c.Model.Path)
	if err != nil {
		return Plan{}, err
	}
	defer source.Close()
	spec, err := NewSpec(c.Model, source.Config)
	if err != nil {
		return Plan{}, err
	}
	shape := feed.Shape{Rows: c.Run.MicroBatchSize, Length: c.Data.MaxLength, TargetLength: c.Data.MaxLength, Segmented: c.Data.Packing == data.PackingBarrier}
	if spec.Config.EncoderDecoder() {
		shape.TargetLength = c.Data.MaxTargetLength
	}
	s := newStepper(d, spec, c)
	defer s.close()
	kinds := []string{"step"}
	if c.Run.MicroBatchSize < c.Run.BatchSize {
		kinds = []string{"accumulate", "apply"}
	}
	plan := s.plan(c, shape)
	for _, kind := range kinds {
		p, err := s.program(kind, shape)
		if err != nil {
			return Plan{}, err
		}
		if err := plan.add(p); err != nil {
			return Plan{}, err
		}
	}
	if len(kinds) > 1 {
		// While micro-batches accumulate, the optimizer's state waits beside them.
		waiting := int64(0)
		for _, in := range s.stateInputs() {
			waiting += int64(in.Shape.ByteSize())
		}
		accumulate, err := s.program("accumulate", shape)
		if err != nil {
			return Plan{}, err
		}
		plan.PeakBytes = max(plan.PeakBytes, total(accumulate.Memory())+waiting)
	}
	return plan, nil
}

// plan is what follows from the shapes alone.
func (s *stepper) plan(c configs.Config, shape feed.Shape) Plan {
	var p Plan
	p.Parameters, p.Trained = Count(s.spec)
	p.TokensPerStep = int64(c.Run.BatchSize) * int64(shape.Length)
	if s.spec.Config.EncoderDecoder() {
		p.TokensPerStep += int64(c.Run.BatchSize) * int64(shape.TargetLength)
	}
	for _, in := range s.stateInputs() {
		p.StateBytes += int64(in.Shape.ByteSize())
	}
	frozen := int64(0)
	for i, in := range s.spec.Inputs() {
		if s.spec.Weights[i].Frozen {
			frozen += int64(in.Shape.ByteSize())
		} else {
			p.StateBytes += int64(in.Shape.ByteSize())
		}
	}
	p.PeakBytes = frozen + p.StateBytes // at least; compiling tells the rest
	p.CheckpointBytes = p.StateBytes
	kept := int64(c.Checkpoint.Keep) + 1
	if c.Checkpoint.Best {
		kept++
	}
	p.DiskBytes = kept * p.CheckpointBytes
	if c.Checkpoint.Async {
		p.HostBytes = p.CheckpointBytes // a copy waits on the host to be written
	}
	for _, w := range s.spec.Weights { // the largest tensor, as it is read or drawn
		p.HostBytes = max(p.HostBytes, int64(w.Size())*int64(dtypes.Float32.Size())*2)
	}
	return p
}

// add takes a program's figures into the plan.
func (p *Plan) add(program *device.Program) error {
	m := program.Memory()
	if !m.Known {
		return nil
	}
	p.Known = true
	p.ArgumentBytes = max(p.ArgumentBytes, m.Argument)
	p.AliasBytes = max(p.AliasBytes, m.Alias)
	p.TemporaryBytes = max(p.TemporaryBytes, m.Temporary)
	p.PeakBytes = max(p.PeakBytes, total(m))
	copies, _, err := program.Copies()
	p.Copies += copies
	return err
}

// Check refuses a plan that can't be carried out on this machine: memory of a CPU device, and disk for checkpoints.
func (p Plan) Check(d *device.Device, runDir string) error {
	if d.Kind() != device.CUDA {
		if have, err := hostMemory(); err == nil && p.PeakBytes+p.HostBytes > have {
			return fmt.Errorf("the run needs at least %s of memory (%s for training, %s to read and save) and this machine has %s; lower run.micro_batch_size or data.max_length, set model.gradient_checkpointing, model.precision=bf16 or model.lora.enabled, or take a smaller model",
				rundir.Bytes(p.PeakBytes+p.HostBytes), rundir.Bytes(p.PeakBytes), rundir.Bytes(p.HostBytes), rundir.Bytes(have))
		}
	}
	if free, err := freeDisk(runDir); err == nil && p.DiskBytes > free {
		return fmt.Errorf("the run's checkpoints need %s of disk and %s has %s free; free some, lower checkpoint.keep, or choose another run.dir",
			rundir.Bytes(p.DiskBytes), runDir, rundir.Bytes(free))
	}
	return nil
}

// hostMemory is the memory of this machine in bytes.
func hostMemory() (int64, error) {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0, err
	}
	return int64(info.Totalram) * int64(info.Unit), nil
}

// freeDisk is what a user may still write where dir is or will be made.
func freeDisk(dir string) (int64, error) {
	for {
		var s syscall.Statfs_t
		err := syscall.Statfs(dir, &s)
		if err == nil {
			return int64(s.Bavail) * s.Bsize, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return 0, err
		}
		dir = parent
	}
}

// Count says how many parameters a model has and how many of them are trained.
func Count(spec *pretrained.Spec) (all, trained int64) {
	for _, w := range spec.Weights {
		all += int64(w.Size())
		if !w.Frozen {
			trained += int64(w.Size())
		}
	}
	return all, trained
}

// Check refuses a run that can't fit this machine by what its shapes alone tell, before anything is read or compiled.
func Check(spec *pretrained.Spec, c configs.Config, d *device.Device, runDir string) error {
	return newStepper(d, spec, c).plan(c, feed.Shape{}).Check(d, runDir)
}
