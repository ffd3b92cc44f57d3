package training

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute/shapes"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/safetensors"
)

// progress is where a run stands, beside weights and optimizer state: it goes into a checkpoint's manifest.
type progress struct {
	Step     int           `json:"step"`
	Position data.Position `json:"position"` // of the next batch
	Tokens   int64         `json:"tokens"`
	Targets  int64         `json:"targets"`
	// FirstLoss and LastLoss are those of the first and the last step that wasn't skipped; nil before it.
	FirstLoss *float32     `json:"first_loss,omitempty"`
	LastLoss  *float32     `json:"last_loss,omitempty"`
	Best      *rundir.Eval `json:"best,omitempty"`
	// Config is the resolved configuration that led here; a resumed run must not change what decides its course.
	Config string `json:"config"`
}

// snapshot is the state after a step as a checkpoint. Its tensors are read from the device when they are written.
func (s *Setup) snapshot(st *stepper, p progress) (checkpoint.Snapshot, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return checkpoint.Snapshot{}, err
	}
	parameters := pretrained.Parameters{Spec: s.Spec, Values: st.parameters}
	out := checkpoint.Snapshot{
		Step: p.Step, Progress: raw, Weights: parameters.Tensors(), WeightsName: checkpoint.ModelFile,
		Files: maps.Clone(s.files),
	}
	for i, in := range st.stateInputs() {
		out.State = append(out.State, pretrained.Tensor(in.Name, st.state[i]))
	}
	if s.Spec.LoRA == nil {
		out.Files["config.json"], err = s.Model.JSON(pretrained.TorchName(s.Spec.Stored))
		return out, err
	}
	base, err := s.Source.Base()
	if err != nil {
		return checkpoint.Snapshot{}, err
	}
	out.WeightsName = checkpoint.AdapterFile
	delete(out.Files, "generation_config.json")
	out.Files["adapter_config.json"], err = pretrained.AdapterConfig(*s.Spec.LoRA, base, s.Model.EncoderDecoder())
	return out, err
}

// held copies a snapshot's tensors to the host, so that it can be written while the device goes on.
func held(s checkpoint.Snapshot) (checkpoint.Snapshot, error) {
	for _, tensors := range [][]safetensors.Tensor{s.Weights, s.State} {
		for i, t := range tensors {
			raw := make([]byte, t.Bytes())
			if err := t.Data(raw); err != nil {
				return checkpoint.Snapshot{}, fmt.Errorf("tensor %s: %w", t.Name, err)
			}
			tensors[i].Data = func(dst []byte) error { copy(dst, raw); return nil }
		}
	}
	return s, nil
}

// restore reads the optimizer's state from a checkpoint.
func restore(d *device.Device, dir string, in []device.Input) ([]*device.Buffer, error) {
	if len(in) == 0 {
		return nil, nil
	}
	path := filepath.Join(dir, checkpoint.StateFile)
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	have := map[string]safetensors.Info{}
	for _, info := range f.Tensors() {
		have[info.Name] = info
	}
	var buffers []*device.Buffer
	for _, i := range in {
		b, err := restoreOne(d, f, have[i.Name], i.Shape)
		if err != nil {
			feed.Free(buffers)
			return nil, fmt.Errorf("%s: %s: %w", path, i.Name, err)
		}
		buffers = append(buffers, b)
	}
	return buffers, nil
}

func restoreOne(d *device.Device, f *safetensors.File, info safetensors.Info, shape shapes.Shape) (*device.Buffer, error) {
	if info.Name == "" {
		return nil, fmt.Errorf("it is missing; the checkpoint was written by another optimizer")
	}
	raw := make([]byte, shape.ByteSize())
	if err := f.Read(info.Name, raw); err != nil {
		return nil, err
	}
	return d.Upload(shape, raw)
}

// mayChange are the keys that a resumed run may change: how long it goes on, what it tells and keeps, and where it runs.
var mayChange = map[string]bool{
	"run.dir": true, "run.steps": true, "run.epochs": true, "run.log_every": true, "run.eval_every": true,
	"run.on_nonfinite": true, "checkpoint.every": true, "checkpoint.keep": true, "checkpoint.best": true,
	"checkpoint.async": true, "device.backend": true, "tracking.tensorboard": true, "tracking.mlflow": true,
	"tracking.wandb": true, "tracking.experiment": true,
}

// sameCourse refuses a configuration that would continue another run than the one that was saved.
func sameCourse(saved string, now configs.Config) error {
	before, err := configs.Parse("manifest.json", []byte(saved))
	if err != nil {
		return fmt.Errorf("the configuration in the checkpoint can't be read: %w", err)
	}
	for _, difference := range configs.Diff(before, now) { // "key: before -> now"
		if key, change, _ := strings.Cut(difference, ": "); !mayChange[key] && !strings.HasPrefix(key, "launch.") {
			return fmt.Errorf("%s was changed since the checkpoint (%s), and a resumed run can't change it; put it back, or start a new run with model.path set to the checkpoint", key, change)
		}
	}
	return nil
}
