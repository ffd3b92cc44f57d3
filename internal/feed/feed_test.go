package feed

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
)

// Every array of a batch arrives at the input that bears its name, and batches of one shape share a program.
func TestUpload(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		plain := data.Batch{Rows: 2, Length: 3, TargetLength: 4, Inputs: []int32{1, 2, 3, 4, 5, 6}, Lengths: []int32{3, 1}, Labels: []int32{7, 8, 9, 10, 11, 12, 13, -100}}
		segmented := plain
		segmented.TargetLength, segmented.Labels = 3, plain.Labels[:6]
		segmented.Segments, segmented.Positions = []int32{1, 1, 2, 1, 0, 0}, []int32{0, 1, 0, 0, 0, 0}
		for _, b := range []data.Batch{plain, segmented} {
			want := map[string][]int32{"inputs": b.Inputs, "lengths": b.Lengths, "labels": b.Labels}
			if b.Segments != nil {
				want["segments"], want["positions"] = b.Segments, b.Positions
			}
			for _, shape := range []Shape{ShapeOf(b), ShapeOf(b).Cut(1)} {
				buffers, err := shape.Upload(d, b)
				if err != nil {
					t.Fatal(err)
				}
				got := map[string][]int32{}
				for i, in := range shape.Inputs() {
					if !buffers[i].Shape().Equal(in.Shape) {
						t.Errorf("%s is %s, not %s", in.Name, buffers[i].Shape(), in.Shape)
					}
					raw := make([]byte, in.Shape.ByteSize())
					if err := buffers[i].Download(raw); err != nil {
						t.Fatal(err)
					}
					for ; len(raw) > 0; raw = raw[4:] {
						got[in.Name] = append(got[in.Name], int32(binary.LittleEndian.Uint32(raw)))
					}
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("uploaded %v, want %v", got, want)
				}
				Free(buffers)
				if err := buffers[0].Download(make([]byte, 24)); err == nil {
					t.Error("a freed buffer can be read")
				}
			}
		}
		other := plain
		other.Inputs = []int32{9, 9, 9, 9, 9, 9}
		if ShapeOf(plain) != ShapeOf(other) || ShapeOf(plain) == ShapeOf(segmented) {
			t.Error("shapes don't tell programs apart")
		}
		if _, err := Upload(d, data.Batch{Rows: 2, Length: 3, TargetLength: 3, Inputs: plain.Inputs, Lengths: plain.Lengths, Labels: []int32{1}}); err == nil {
			t.Error("a batch with too few labels is uploaded")
		}
	})
}
