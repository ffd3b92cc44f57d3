package gguf

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
)

// Tensor is a tensor to be written.
type Tensor struct {
	Info
	// Data fills dst, whose length is Bytes, with the tensor's data. It is called once, when its turn to be written has come,
	// and mustn't keep dst.
	Data func(dst []byte) error
}

// Write makes the file path, version 3 with tensors at multiples of 32 bytes in the order given, and forces it to disk. The
// file mustn't exist yet; if anything fails, none is left.
func Write(path string, metadata []KV, tensors []Tensor) (err error) {
	head, err := encodeHeader(metadata, tensors)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("write GGUF file: %w", err)
	}
	done := false
	defer func() { // also when Data panics
		if !done {
			file.Close()
			os.Remove(path)
		}
	}()
	w := bufio.NewWriterSize(file, 1<<20)
	_, err = w.Write(head)
	if err = cmp.Or(err, encodeData(w, tensors)); err == nil {
		err = cmp.Or(w.Flush(), file.Sync(), file.Close())
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	done = true
	return nil
}

// encodeData streams the tensors, each padded to the alignment.
func encodeData(w io.Writer, tensors []Tensor) error {
	var buf []byte
	for _, t := range tensors {
		size := t.Bytes()
		buf = slices.Grow(buf[:0], int(pad(size, Alignment)))[:pad(size, Alignment)]
		clear(buf[size:])
		if err := t.Data(buf[:size]); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// encodeHeader is all that stands before the data, padded to the alignment.
func encodeHeader(metadata []KV, tensors []Tensor) ([]byte, error) {
	b := binary.LittleEndian.AppendUint32([]byte(magic), version)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(tensors)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(metadata)))
	taken := map[string]bool{alignmentKey: true} // it is always 32 here
	for _, kv := range metadata {
		if taken[kv.Key] || kv.Key == "" || len(kv.Key) > maxKey {
			return nil, fmt.Errorf("metadata key %q is taken or impossible", kv.Key)
		}
		taken[kv.Key] = true
		var err error
		if b, err = appendValue(appendText(b, kv.Key), kv.Value); err != nil {
			return nil, fmt.Errorf("metadata %q: %w", kv.Key, err)
		}
	}
	clear(taken)
	at := int64(0)
	for _, t := range tensors {
		size, err := t.bytes()
		switch {
		case err != nil:
			return nil, err
		case taken[t.Name] || t.Name == "" || len(t.Name) > maxKey:
			return nil, fmt.Errorf("tensor name %q is taken or impossible", t.Name)
		case at+size < at:
			return nil, errors.New("the tensors are too large")
		}
		taken[t.Name] = true
		b = binary.LittleEndian.AppendUint32(appendText(b, t.Name), uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) {
			b = binary.LittleEndian.AppendUint64(b, uint64(d))
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(t.Type))
		b = binary.LittleEndian.AppendUint64(b, uint64(at))
		at = pad(at+size, Alignment)
	}
	return append(b, make([]byte, pad(int64(len(b)), Alignment)-int64(len(b)))...), nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends a value behind its kind; an array's elements have their kind once, before their number.
func appendValue(b []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case string:
		return appendText(binary.LittleEndian.AppendUint32(b, uint32(kindString)), v), nil
	case []string:
		b = appendArray(b, kindString, len(v))
		for _, s := range v {
			b = appendText(b, s)
		}
		return b, nil
	}
	v := reflect.ValueOf(value)
	if k, ok := kinds[v.Kind()]; ok {
		b = binary.LittleEndian.AppendUint32(b, uint32(k))
	} else if v.Kind() != reflect.Slice {
		return nil, fmt.Errorf("a value of type %T can't be written", value)
	} else if k, ok := kinds[v.Type().Elem().Kind()]; ok {
		b = appendArray(b, k, v.Len())
	}
	return binary.Append(b, binary.LittleEndian, value) // refuses other slices
}

func appendArray(b []byte, k kind, n int) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(kindArray))
	b = binary.LittleEndian.AppendUint32(b, uint32(k))
	return binary.LittleEndian.AppendUint64(b, uint64(n))
}

// kinds are the kinds of numbers and truth values.
var kinds = map[reflect.Kind]kind{
	reflect.Uint8: kindUint8, reflect.Int8: kindInt8, reflect.Uint16: kindUint16, reflect.Int16: kindInt16,
	reflect.Uint32: kindUint32, reflect.Int32: kindInt32, reflect.Float32: kindFloat32, reflect.Bool: kindBool,
	reflect.Uint64: kindUint64, reflect.Int64: kindInt64, reflect.Float64: kindFloat64,
}
