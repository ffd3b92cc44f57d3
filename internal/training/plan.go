package training

import (
	"strings"

	"github.com/gomlx/compute/dtypes"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained"
)

// Plan is what a run will need, known before its first step.
type Plan struct {
	Device     string `json:"device"`
	Parameters int64  `json:"parameters"`
	Trained    int64  `json:"trained_parameters"`
	// TokensPerStep is the most tokens of one optimizer step.
	TokensPerStep int64 `json:"tokens_per_step"`
	// ArgumentBytes are parameters, optimizer state and batch; AliasBytes is how much of them is updated in place;
	// TemporaryBytes what the program takes besides. They are known when XLA compiles.
	ArgumentBytes  int64 `json:"argument_bytes"`
	AliasBytes     int64 `json:"alias_bytes"`
	TemporaryBytes int64 `json:"temporary_bytes"`
	PeakBytes      int64 `json:"peak_bytes"`
	// LimitBytes is what programs may use on the device, 0 if that isn't known. Fits says that PeakBytes is within it.
	LimitBytes int64 `json:"memory_limit_bytes"`
	Fits       bool  `json:"fits"`
	// StateBytes are the trained parameters and the optimizer's state: what has to be aliased.
	StateBytes int64 `json:"state_bytes"`
	// Copies counts the arrays of the state that the optimized program copies: none, when it is updated in place.
	Copies int `json:"copies"`
	// FusedAttention says that there is attention in one kernel, forward and backward; Unfused why some or all isn't, on
	// a device that could.
	FusedAttention bool     `json:"fused_attention"`
	Unfused        []string `json:"unfused_attention,omitempty"`
	// ModelFLOPs are the operations of a step that the model asks for, ProgramFLOPs those of the matrix products that the
	// program computes, with what it recomputes; TrafficBytes what its kernels read and write.
	ModelFLOPs   float64 `json:"model_flops"`
	ProgramFLOPs float64 `json:"program_flops"`
	TrafficBytes float64 `json:"traffic_bytes"`
	// PeakFLOPS and Bandwidth are what the GPU can do a second; 0 if that isn't known.
	PeakFLOPS float64 `json:"peak_flops"`
	Bandwidth float64 `json:"bandwidth"`
	// HostBytes is the most memory that weights and checkpoints take on the host.
	HostBytes int64 `json:"host_bytes"`
	// CheckpointBytes is the size of one checkpoint, DiskBytes that of all that are kept, with one being written.
	CheckpointBytes int64 `json:"checkpoint_bytes"`
	DiskBytes       int64 `json:"disk_bytes"`
	// Known says whether the device's figures are known: the Go backend plans nothing.
	Known bool `json:"known"`
}

// TokensPerSecond is the speed of training at a model FLOPs utilization, from 0 to 1, on a GPU that is known.
func (p Plan) TokensPerSecond(mfu float64) float64 {
	return mfu * p.PeakFLOPS * float64(p.TokensPerStep) / p.ModelFLOPs
}

// LeastSeconds is the time of a step at the limit of the hardware: its matrix products at the GPU's peak, or its traffic
// at full bandwidth, whichever takes longer.
func (p Plan) LeastSeconds() float64 {
	return max(p.ProgramFLOPs/p.PeakFLOPS, p.TrafficBytes/p.Bandwidth)
}

// NewPlan compiles the step of a configuration on d, for its longest batch, and adds up what it needs. No weights and no
// data are read.
func NewPlan(c configs.Config, d *device.Device) (Plan, error) {
	s, shape, err := planned(c, d)
	if err != nil {
		return Plan{}, err
	}
	defer s.close()
	return s.planCompiled(c, shape)
}

func (s *stepper) planCompiled(c configs.Config, shape feed.Shape) (Plan, error) {
	plan := s.plan(c, shape)
	p, err := s.program(shape.Cut(c.Run.MicroBatchSize))
	if err != nil {
		return Plan{}, err
	}
	if m := p.Memory(); m.Known {
		plan.Known = true
		plan.ArgumentBytes, plan.AliasBytes, plan.TemporaryBytes = m.Argument, m.Alias, m.Temporary
		plan.PeakBytes = total(m)
		if plan.Copies, _, err = p.Copies(); err != nil {
			return Plan{}, err
		}
		if plan.ProgramFLOPs, plan.TrafficBytes, err = p.Cost(); err != nil {
			return Plan{}, err
		}
		plan.judge()
	}
	if s.fused {
		text, err := p.Optimized()
		if err != nil {
			return Plan{}, err
		}
		plan.FusedAttention = strings.Contains(text, "__cudnn$fmha")
	}
	plan.Unfused = s.unfused
	return plan, nil
}

// planned is the stepper of a configuration and the shape of its longest batch.
func planned(c configs.Config, d *device.Device) (*stepper, feed.Shape, error) {
	source, err := pretrained.Find(c.Model.Path)
	if err != nil {
		return nil, feed.Shape{}, err
	}
	defer source.Close()
	spec, err := NewSpec(c.Model, source.Config)
	if err != nil {
		return nil, feed.Shape{}, err
	}
	shape := feed.Shape{Rows: c.Run.BatchSize, Length: c.Data.MaxLength, TargetLength: c.Data.MaxLength, Segmented: c.Data.Packing == data.PackingBarrier}
	if spec.Config.EncoderDecoder() {
		shape.TargetLength = c.Data.MaxTargetLength
	}
	return newStepper(d, spec, c), shape, nil
}

// plan is what follows from the shapes alone.
func (s *stepper) plan(c configs.Config, shape feed.Shape) Plan {
	p := Plan{Device: s.device.Description()}
	p.Parameters, p.Trained = Count(s.spec)
	p.LimitBytes, _ = s.device.MemoryLimit()
	if peak, known := s.device.Peak(); known {
		p.PeakFLOPS, p.Bandwidth = peak.BF16FLOPS, peak.Bandwidth
	}
	if shape.Rows > 0 {
		// The backward pass takes the gradient of each product by both of its factors; a frozen weight needs none.
		passes := 3.0
		if s.spec.LoRA != nil {
			passes = 2 + float64(p.Trained)/float64(p.Parameters)
		}
		p.ModelFLOPs = passes * float64(c.Run.BatchSize) * s.spec.Config.ForwardFLOPs(shape.Length, shape.TargetLength)
	}
	p.TokensPerStep = int64(c.Run.BatchSize) * int64(shape.Length)
	if s.spec.Config.EncoderDecoder() {
		p.TokensPerStep += int64(c.Run.BatchSize) * int64(shape.TargetLength)
	}
	for _, in := range s.stateInputs() {
		p.StateBytes += int64(in.Shape.ByteSize())
	}
	frozen := int64(0)
	for i, in := range s.spec.Inputs() {
		if i >= len(s.spec.Weights) || s.spec.Weights[i].Frozen { // scales of frozen weights follow them all
			frozen += int64(in.Shape.ByteSize())
		} else {
			p.StateBytes += int64(in.Shape.ByteSize())
		}
	}
	p.PeakBytes = frozen + p.StateBytes // at least; compiling tells the rest
	p.judge()
	p.CheckpointBytes = p.StateBytes
	kept := int64(1) // the one at the end
	if between := c.Checkpoint.Every > 0 && (c.Run.Steps == 0 || c.Run.Steps > c.Checkpoint.Every); between || c.Checkpoint.Best {
		kept += int64(c.Checkpoint.Keep)
	}
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
