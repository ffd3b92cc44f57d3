package training

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/rundir"
)

// judge says whether the plan fits the device. On the host itself weights and checkpoints take their part.
func (p *Plan) judge() { p.Fits = p.LimitBytes == 0 || p.PeakBytes <= p.LimitBytes }

// Check refuses a plan that can't be carried out on d, or on this machine if it is to run here: memory of the device and of
// the host, and disk for checkpoints.
func (p Plan) Check(d *device.Device, runDir string) error {
	const remedies = "lower run.micro_batch_size or data.max_length, set model.gradient_checkpointing=layer, model.precision=bf16, optim.kind=adamw8bit or model.lora.enabled, or take a smaller model"
	if d.Kind() == device.CUDA {
		if !p.Fits {
			return fmt.Errorf("the run needs at least %s of device memory and programs may use %s of %s; %s",
				rundir.Bytes(p.PeakBytes), rundir.Bytes(p.LimitBytes), d.Description(), remedies)
		}
	} else if have, known := d.MemoryLimit(); known && p.PeakBytes+p.HostBytes > have {
		return fmt.Errorf("the run needs at least %s of memory (%s for training, %s to read and save) and this machine has %s; %s",
			rundir.Bytes(p.PeakBytes+p.HostBytes), rundir.Bytes(p.PeakBytes), rundir.Bytes(p.HostBytes), rundir.Bytes(have), remedies)
	}
	if d.Target() {
		return nil // the disk is elsewhere too
	}
	if free, err := freeDisk(runDir); err == nil && p.DiskBytes > free {
		return fmt.Errorf("the run's checkpoints need %s of disk and %s has %s free; free some, lower checkpoint.keep, or choose another run.dir",
			rundir.Bytes(p.DiskBytes), runDir, rundir.Bytes(free))
	}
	return nil
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

// Check refuses a run that can't fit by what its shapes alone tell, before anything is read or compiled.
func Check(spec *pretrained.Spec, c configs.Config, d *device.Device, runDir string) error {
	return newStepper(d, spec, c).plan(c, feed.Shape{}).Check(d, runDir)
}

// Refusal is why a run that starts on d would refuse to for lack of memory or disk: by its shapes, and on a GPU by its
// compiled step for the longest batch. It is nil for one that wouldn't.
func Refusal(c configs.Config, d *device.Device) (why, err error) {
	s, shape, err := planned(c, d)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if why := s.plan(c, feed.Shape{}).Check(d, c.Run.Dir); why != nil || d.Kind() != device.CUDA {
		return why, nil
	}
	p, err := s.program(shape.Cut(c.Run.MicroBatchSize))
	if err != nil {
		return nil, err
	}
	return s.checkProgram(p), nil
}

// checkProgram refuses a compiled step that the device has no room for.
func (s *stepper) checkProgram(p *device.Program) error {
	if s.device.Kind() != device.CUDA {
		return nil // the host's memory is shared, and may be swapped
	}
	limit, known := s.device.MemoryLimit()
	m := p.Memory()
	if !known || !m.Known || total(m) <= limit {
		return nil
	}
	return fmt.Errorf("a step needs %s of device memory (%s of arguments, %s of temporaries) and programs may use %s of %s; train plan says which settings would fit",
		rundir.Bytes(total(m)), rundir.Bytes(m.Argument), rundir.Bytes(m.Temporary), rundir.Bytes(limit), s.device.Description())
}

// Fitting looks for settings with which a refused run would fit d: those that cost least first, one after the other, each
// on top of those before. It returns them as key=value, and no settings if none of them is enough. Every try compiles.
func Fitting(c configs.Config, d *device.Device) ([]string, Plan, error) {
	var settings []string
	for _, change := range changes(c) {
		c = change.to
		settings = append(settings, change.setting)
		fits, err := couldFit(c, d)
		if err != nil || !fits {
			if err != nil {
				return nil, Plan{}, err
			}
			continue
		}
		if p, err := NewPlan(c, d); err != nil || p.Fits {
			return settings, p, err
		}
	}
	return nil, Plan{}, nil
}

type change struct {
	setting string
	to      configs.Config
}

// changes are steps from c to runs that need less memory: recomputing costs a third of a step's time, smaller
// micro-batches a little, 8-bit moments less; adapters are another kind of training.
func changes(c configs.Config) []change {
	var list []change
	add := func(setting string) { list = append(list, change{setting, c}) }
	if c.Model.GradientCheckpointing != "layer" {
		c.Model.GradientCheckpointing = "layer"
		add("model.gradient_checkpointing=layer")
	}
	if c.Run.MicroBatchSize > 1 {
		c.Run.MicroBatchSize = 1
		add("run.micro_batch_size=1")
	}
	if c.Model.LoRA.Enabled {
		if c.Model.Quantize == "none" {
			c.Model.Quantize = "nf4"
			add("model.quantize=nf4")
		}
		return list
	}
	if c.Model.Precision != "bf16" {
		c.Model.Precision = "bf16"
		add("model.precision=bf16")
	}
	if c.Optim.Kind == "adamw" {
		c.Optim.Kind = "adamw8bit"
		add("optim.kind=adamw8bit")
	}
	c.Model.LoRA.Enabled = true
	add("model.lora.enabled=true")
	c.Model.Quantize = "nf4"
	add("model.quantize=nf4")
	return list
}

// couldFit says whether the shapes alone leave room: compiling takes a while.
func couldFit(c configs.Config, d *device.Device) (bool, error) {
	s, _, err := planned(c, d)
	if err != nil {
		return false, err
	}
	return s.plan(c, feed.Shape{}).Fits, nil
}

// Advice is what Fitting found, for a person.
func Advice(settings []string, p Plan) string {
	if len(settings) == 0 {
		return "no setting makes it fit; take a smaller model or a larger GPU"
	}
	return fmt.Sprintf("it would fit, with %s, by: %s", rundir.Bytes(p.PeakBytes), strings.Join(settings, " "))
}
