// Package evaluation computes the likelihood that a model gives to texts, of each and on average.
package evaluation

import (
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// Scorer computes the negative log-likelihood of batches. It compiles one program for each shape of batch.
type Scorer struct {
	device   *device.Device
	spec     *pretrained.Spec
	programs map[feed.Shape]*device.Program
}

// NewScorer prepares to score with models of spec.
func NewScorer(d *device.Device, spec *pretrained.Spec) *Scorer {
	return &Scorer{device: d, spec: spec, programs: map[feed.Shape]*device.Program{}}
}

// Close frees the programs.
func (s *Scorer) Close() {
	for _, p := range s.programs {
		p.Finalize()
	}
}

// Score returns, for each row of b, the negative log-likelihood of its labels, in nats, and how many there are.
func (s *Scorer) Score(parameters []*device.Buffer, b data.Batch) (sums, counts []float32, err error) {
	program, err := s.program(feed.ShapeOf(b))
	if err != nil {
		return nil, nil, err
	}
	inputs, err := feed.Upload(s.device, b)
	if err != nil {
		return nil, nil, err
	}
	defer feed.Free(inputs)
	out, err := program.Run(append(parameters[:len(parameters):len(parameters)], inputs...))
	if err != nil {
		return nil, nil, err
	}
	defer feed.Free(out)
	if sums, err = out[0].Float32s(); err != nil {
		return nil, nil, err
	}
	counts, err = out[1].Float32s()
	return sums, counts, err
}

func (s *Scorer) program(shape feed.Shape) (*device.Program, error) {
	if p, ok := s.programs[shape]; ok {
		return p, nil
	}
	p, err := s.compile(shape, s.device.Kind() == device.CUDA)
	if err != nil && s.device.Kind() == device.CUDA { // cuDNN refuses some shapes only here
		p, err = s.compile(shape, false)
	}
	if err != nil {
		return nil, err
	}
	s.programs[shape] = p
	return p, nil
}

func (s *Scorer) compile(shape feed.Shape, fused bool) (*device.Program, error) {
	parameters := s.spec.Inputs()
	return s.device.Compile("score "+shape.String(), append(parameters, shape.Inputs()...), nil,
		func(_ *Graph, in []*Node) []*Node {
			m := s.spec.Model(in[:len(parameters)])
			sum, count, _ := models.Loss(m, shape.Batch(in[len(parameters):]), &blocks.Training{Fused: fused})
			return []*Node{sum, count}
		})
}

// MeanLoss is the mean negative log-likelihood over all labels of one pass of batches, with their number.
func (s *Scorer) MeanLoss(parameters []*device.Buffer, batches []data.Batch) (mean float64, targets int64, err error) {
	total := 0.0
	for _, b := range batches {
		sums, counts, err := s.Score(parameters, b)
		if err != nil {
			return 0, 0, err
		}
		for i := range sums {
			total += float64(sums[i])
			targets += int64(counts[i])
		}
	}
	return total / float64(max(targets, 1)), targets, nil
}
