// Package feed is the one place that knows in which order and shape a batch enters a program.
package feed

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/models"
)

// Shape is what a program is compiled for: batches of one Shape share a program.
type Shape struct {
	// Parts is the number of micro-batches, of Rows rows each, that the arrays are cut into along an axis of their own
	// in front of the others; 0 where there is no such axis.
	Parts                      int
	Rows, Length, TargetLength int
	Segmented                  bool // several documents in a row
}

// ShapeOf is the shape of b.
func ShapeOf(b data.Batch) Shape {
	return Shape{Rows: b.Rows, Length: b.Length, TargetLength: b.TargetLength, Segmented: b.Segments != nil}
}

// Cut is the shape with its rows, which have to be a multiple of rows, in micro-batches of rows.
func (s Shape) Cut(rows int) Shape {
	s.Parts, s.Rows = s.Rows/rows, rows
	return s
}

// String is the shape as it appears in the names of programs.
func (s Shape) String() string {
	text := fmt.Sprintf("%dx%d", s.Rows, max(s.Length, s.TargetLength))
	if s.Parts > 1 {
		text = fmt.Sprintf("%dx%s", s.Parts, text)
	}
	return text
}

// Inputs are a batch as inputs of a program.
func (s Shape) Inputs() []device.Input {
	in := []device.Input{
		{Name: "inputs", Shape: shapes.Make(dtypes.Int32, s.Rows, s.Length)},
		{Name: "lengths", Shape: shapes.Make(dtypes.Int32, s.Rows)},
		{Name: "labels", Shape: shapes.Make(dtypes.Int32, s.Rows, s.TargetLength)},
	}
	if s.Segmented {
		in = append(in,
			device.Input{Name: "segments", Shape: shapes.Make(dtypes.Int32, s.Rows, s.Length)},
			device.Input{Name: "positions", Shape: shapes.Make(dtypes.Int32, s.Rows, s.Length)})
	}
	if s.Parts > 0 {
		for i := range in {
			in[i].Shape = shapes.Make(dtypes.Int32, append([]int{s.Parts}, in[i].Shape.Dimensions...)...)
		}
	}
	return in
}

// Batch gives the nodes of Inputs, or of one of their parts, their names.
func (s Shape) Batch(nodes []*Node) models.Batch {
	b := models.Batch{Inputs: nodes[0], Lengths: nodes[1], Labels: nodes[2]}
	if s.Segmented {
		b.Segments, b.Positions = nodes[3], nodes[4]
	}
	return b
}

// Upload puts a batch on d, in the order of its shape's Inputs. The caller frees the buffers.
func Upload(d *device.Device, b data.Batch) ([]*device.Buffer, error) {
	return ShapeOf(b).Upload(d, b)
}

// Upload puts a batch of that shape, cut or not, on d, in the order of Inputs. The caller frees the buffers.
func (s Shape) Upload(d *device.Device, b data.Batch) ([]*device.Buffer, error) {
	arrays := [][]int32{b.Inputs, b.Lengths, b.Labels}
	if b.Segments != nil {
		arrays = append(arrays, b.Segments, b.Positions)
	}
	var buffers []*device.Buffer
	for i, in := range s.Inputs() {
		buffer, err := d.UploadInt32(arrays[i], in.Shape.Dimensions...)
		if err != nil {
			Free(buffers)
			return nil, err
		}
		buffers = append(buffers, buffer)
	}
	return buffers, nil
}

// Free frees buffers.
func Free(buffers []*device.Buffer) {
	for _, b := range buffers {
		b.Free()
	}
}
