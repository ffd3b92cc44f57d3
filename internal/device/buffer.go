package device

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

var (
	errFreed  = errors.New("the buffer was freed, or consumed by a program that it was given to")
	errClosed = errors.New("the device was closed")
)

// Buffer is one array in a device's memory. It stays there until Free, or until a program consumes it: the garbage
// collector doesn't see device memory. A buffer must not be freed or consumed while another goroutine uses it.
type Buffer struct {
	device *Device
	shape  shapes.Shape
	raw    compute.Buffer // nil once freed or consumed
}

// Upload copies an array to the device: its elements in row-major order, each as little-endian bytes.
func (d *Device) Upload(shape shapes.Shape, data []byte) (b *Buffer, err error) {
	defer recovered(&err, "upload %s", shape)
	if d.backend == nil {
		return nil, errClosed
	}
	if d.Target() {
		return nil, fmt.Errorf("upload %s: the GPU isn't here, it is only compiled for", shape)
	}
	size, err := byteSize(shape)
	if err != nil {
		return nil, fmt.Errorf("upload %s: %w", shape, err)
	}
	if len(data) != size {
		return nil, fmt.Errorf("upload %s: it takes %d bytes, not %d", shape, size, len(data))
	}
	var flat any = data
	switch {
	case d.kind == Go:
		// The Go backend wants a slice of the element's type, which bytes may not be aligned for.
		flat = dtypes.MakeAnySlice(shape.DType, shape.Size())
		copy(dtypes.UnsafeByteSliceFromAny(flat), data)
	case size == 0:
		flat = make([]byte, 1) // PJRT wants a pointer, though it reads nothing
	}
	raw, err := d.backend.BufferFromFlatData(0, flat, shape)
	if err != nil {
		return nil, fmt.Errorf("upload %s: %s", shape, oneLine(err.Error()))
	}
	return &Buffer{device: d, shape: shape.Clone(), raw: raw}, nil
}

// UploadFloat32 copies values to the device as an array of dims; without dims, a scalar.
func (d *Device) UploadFloat32(values []float32, dims ...int) (*Buffer, error) {
	return d.Upload(shapes.Make(dtypes.Float32, dims...), bytesOf(values))
}

// UploadInt32 copies values to the device as an array of dims; without dims, a scalar.
func (d *Device) UploadInt32(values []int32, dims ...int) (*Buffer, error) {
	return d.Upload(shapes.Make(dtypes.Int32, dims...), bytesOf(values))
}

// Shape of the array, also of one already freed.
func (b *Buffer) Shape() shapes.Shape { return b.shape }

// Download copies the array to dst, which has exactly its bytes (Shape().ByteSize()), laid out as Upload takes them.
func (b *Buffer) Download(dst []byte) (err error) {
	defer recovered(&err, "download %s", b.shape)
	if err := b.usable(); err != nil {
		return fmt.Errorf("download %s: %w", b.shape, err)
	}
	if int64(len(dst)) != b.shape.ByteSize() {
		return fmt.Errorf("download %s: it takes %d bytes, not %d", b.shape, b.shape.ByteSize(), len(dst))
	}
	if len(dst) == 0 {
		return nil
	}
	if b.device.kind == Go {
		flat, err := b.raw.Data()
		if err != nil {
			return fmt.Errorf("download %s: %s", b.shape, oneLine(err.Error()))
		}
		copy(dst, dtypes.UnsafeByteSliceFromAny(flat))
		return nil
	}
	if err := b.raw.ToFlatData(dst); err != nil {
		return fmt.Errorf("download %s: %s", b.shape, oneLine(err.Error()))
	}
	return nil
}

// Float32s copies a float32 array from the device.
func (b *Buffer) Float32s() ([]float32, error) {
	if b.shape.DType != dtypes.Float32 {
		return nil, fmt.Errorf("download %s: it is not float32", b.shape)
	}
	values := make([]float32, b.shape.Size())
	return values, b.Download(bytesOf(values))
}

// Int32s copies an int32 array from the device.
func (b *Buffer) Int32s() ([]int32, error) {
	if b.shape.DType != dtypes.Int32 {
		return nil, fmt.Errorf("download %s: it is not int32", b.shape)
	}
	values := make([]int32, b.shape.Size())
	return values, b.Download(bytesOf(values))
}

// Free gives the memory back. Freeing a buffer twice, or one that a program consumed, does nothing.
func (b *Buffer) Free() {
	if b == nil || b.raw == nil {
		return
	}
	raw := b.raw
	b.raw = nil
	if b.device.backend == nil {
		return // closing the device freed its memory
	}
	_ = raw.Finalize()
}

func (b *Buffer) usable() error {
	switch {
	case b.raw == nil:
		return errFreed
	case b.device.backend == nil:
		return errClosed
	}
	return nil
}

// byteSize of an array, for element types that take whole bytes.
func byteSize(shape shapes.Shape) (int, error) {
	if !shape.Ok() || shape.IsTuple() || shape.IsDynamic() || shape.DType.IsPacked() {
		return 0, errors.New("its elements don't take whole bytes, or its size isn't known")
	}
	return int(shape.ByteSize()), nil
}

func bytesOf[T float32 | int32](values []T) []byte {
	if len(values) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), 4*len(values))
}
