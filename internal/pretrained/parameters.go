package pretrained

import (
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// Spec says what the parameters of a model are, before there are any: names, shapes and element types. It is all that a
// plan needs.
type Spec struct {
	Config  models.Config
	LoRA    *models.LoRA // nil trains all weights
	Stored  dtypes.DType // of weights that are trained
	Compute dtypes.DType // of activations, and of frozen weights
	Weights []*blocks.Weight
	joined  bool
}

// NewSpec lists the weights of config, with the adapters of lora when it isn't nil.
func NewSpec(config models.Config, lora *models.LoRA, stored, compute dtypes.DType) (*Spec, error) {
	s := &Spec{Config: config, LoRA: lora, Stored: stored, Compute: compute}
	m, err := s.declare()
	if err != nil {
		return nil, err
	}
	s.Weights = models.Weights(m)
	return s, nil
}

// Joined is s with the weights of each blocks.Joint in one array, to compute with, not to train or to save. With quantized ones
// all stay by themselves.
func (s *Spec) Joined() *Spec {
	joined := *s
	joined.joined = !slices.ContainsFunc(s.Weights, func(w *blocks.Weight) bool { return w.Quantized })
	return &joined
}

// parts are weights, those of s.Weights or of a Model, by the input that they are in.
func (s *Spec) parts(weights []*blocks.Weight) [][]*blocks.Weight {
	var parts [][]*blocks.Weight
	for _, w := range weights {
		switch {
		case !s.joined || w.Joint == nil:
			parts = append(parts, []*blocks.Weight{w})
		case w == w.Joint.Weights[0]:
			parts = append(parts, w.Joint.Weights)
		}
	}
	return parts
}

func (s *Spec) declare() (models.Model, error) {
	m := s.Config.New()
	if s.LoRA != nil {
		if err := models.AddLoRA(m, *s.LoRA); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Model is the model with its weights bound to nodes, which are in the order of s.Inputs.
func (s *Spec) Model(nodes []*Node) models.Model {
	m, err := s.declare()
	if err != nil {
		panic(err) // NewSpec declared the same
	}
	parts := s.parts(models.Weights(m))
	absmax := nodes[len(parts):]
	for i, part := range parts {
		switch w := part[0]; {
		case w.Quantized:
			w.BindCodes(nodes[i], decodeNF4(absmax[0], s.Compute, w.Shape))
			absmax = absmax[1:]
		case len(part) > 1:
			w.Joint.Bind(ConvertDType(nodes[i], s.Compute))
		default:
			w.Bind(ConvertDType(nodes[i], s.Compute))
		}
	}
	return m
}

// dtype is the element type that a weight is kept in which isn't quantized.
func (s *Spec) dtype(w *blocks.Weight) dtypes.DType {
	if w.Frozen {
		return s.Compute
	}
	return s.Stored
}

// Inputs are the parameters as inputs of a program: one for each of s.Weights, its codes if it is quantized, or for those that
// are joined, and then the scales of the quantized ones.
func (s *Spec) Inputs() []device.Input {
	parts := s.parts(s.Weights)
	in := make([]device.Input, len(parts))
	for i, part := range parts {
		w := part[0]
		if w.Quantized {
			codes, absmax := nf4Shapes(w)
			in[i] = device.Input{Name: w.Name, Shape: codes}
			in = append(in, device.Input{Name: w.Name + ".absmax", Shape: absmax})
			continue
		}
		dims := slices.Clone(w.Shape)
		if len(part) > 1 {
			dims[0] = w.Joint.Rows()
		}
		in[i] = device.Input{Name: w.Name, Shape: shapes.Make(s.dtype(w), dims...)}
	}
	return in
}

// Parameters are a model's weights on a device, in the order of Inputs.
type Parameters struct {
	*Spec
	Values []*device.Buffer
}

// Free frees the device memory.
func (p *Parameters) Free() {
	for _, v := range p.Values {
		v.Free()
	}
	p.Values = nil
}

// Tensors are the weights as a checkpoint holds them: all of them, or only the adapters under PEFT's names. Joined ones have no
// tensors of their own.
func (p *Parameters) Tensors() []safetensors.Tensor {
	if p.joined {
		panic("weights that are joined to compute with can't be saved")
	}
	var tensors []safetensors.Tensor
	for i, w := range p.Weights {
		if p.LoRA != nil && w.Frozen {
			continue
		}
		name := w.Name
		if p.LoRA != nil {
			name = adapterPrefix + name
		}
		tensors = append(tensors, Tensor(name, p.Values[i]))
	}
	return tensors
}

// Tensor is a device array as a tensor of a checkpoint; it is downloaded when it is written.
func Tensor(name string, b *device.Buffer) safetensors.Tensor {
	return safetensors.Tensor{
		Info: safetensors.Info{Name: name, DType: dtypeName(b.Shape().DType), Shape: b.Shape().Dimensions},
		Data: b.Download,
	}
}
