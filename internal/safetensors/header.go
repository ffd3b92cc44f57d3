package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"
)

// entry is a tensor and the place of its data, counted from the header's end.
type entry struct {
	Info
	begin, end int64
}

type header struct {
	metadata map[string]string
	tensors  []entry // in the order of their data
}

// size is the number of data bytes that the header describes.
func (h header) size() int64 {
	if len(h.tensors) == 0 {
		return 0
	}
	return h.tensors[len(h.tensors)-1].end
}

// parseHeader decodes a header token by token, because decoding into a map
// keeps the last of two equal keys without a word. Unknown keys of a tensor are
// passed over, as other readers do.
func parseHeader(raw []byte) (header, error) {
	var h header
	if len(raw) == 0 || raw[0] != '{' {
		return h, errors.New("the header doesn't start with '{'")
	}
	if !utf8.Valid(raw) {
		return h, errors.New("the header isn't UTF-8")
	}
	d := decoder{json.NewDecoder(bytes.NewReader(raw))}
	d.UseNumber()
	err := d.object(func(key string) error {
		if key == "__metadata__" {
			h.metadata = map[string]string{}
			return d.object(func(key string) (err error) {
				h.metadata[key], err = d.text()
				return err
			})
		}
		t, err := d.tensor(key)
		h.tensors = append(h.tensors, t)
		return err
	})
	if err != nil {
		return h, fmt.Errorf("the header is malformed: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return h, errors.New("the header is malformed: something follows the JSON object")
	}
	return h, h.layOut()
}

// layOut orders the tensors by their data and checks that they cover it
// without holes or overlaps, each with the bytes that its shape takes.
func (h header) layOut() error {
	slices.SortStableFunc(h.tensors, func(a, b entry) int {
		// Empty tensors come before the one that shares their offset.
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	var at int64
	for _, t := range h.tensors {
		want, err := t.bytes()
		switch {
		case err != nil:
			return err
		case t.end < t.begin:
			return fmt.Errorf("tensor %q: data offsets [%d, %d] run backwards", t.Name, t.begin, t.end)
		case t.end-t.begin != want:
			return fmt.Errorf("tensor %q: %s %v takes %d bytes but its data offsets hold %d", t.Name, t.DType, t.Shape, want, t.end-t.begin)
		case t.begin > at:
			return fmt.Errorf("tensor %q: %d unused bytes before its data at offset %d", t.Name, t.begin-at, t.begin)
		case t.begin < at:
			return fmt.Errorf("tensor %q: its data at offset %d overlaps the tensor before it", t.Name, t.begin)
		}
		at = t.end
	}
	return nil
}

// decoder reads the pieces of a header.
type decoder struct{ *json.Decoder }

// object reads an object, giving each key to value, which reads what belongs
// to it. A second occurrence of a key is an error.
func (d decoder) object(value func(key string) error) error {
	if err := d.delim('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.text()
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("%q occurs twice", key)
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	return d.delim('}')
}

func (d decoder) tensor(name string) (entry, error) {
	t := entry{Info: Info{Name: name}}
	var shape, offsets []int64
	err := d.object(func(key string) (err error) {
		switch key {
		case "dtype":
			t.DType, err = d.text()
		case "shape":
			shape, err = d.numbers()
		case "data_offsets":
			offsets, err = d.numbers()
		default:
			var skipped json.RawMessage
			err = d.Decode(&skipped)
		}
		return err
	})
	switch {
	case err != nil:
		return t, fmt.Errorf("tensor %q: %w", name, err)
	case t.DType == "":
		return t, fmt.Errorf("tensor %q has no dtype", name)
	case shape == nil:
		return t, fmt.Errorf("tensor %q has no shape", name)
	case len(offsets) != 2:
		return t, fmt.Errorf("tensor %q needs two data_offsets, not %d", name, len(offsets))
	}
	t.Shape = make([]int, len(shape))
	for i, n := range shape {
		t.Shape[i] = int(n)
		if int64(t.Shape[i]) != n { // where int has 32 bits
			return t, fmt.Errorf("tensor %q: dimension %d is too large", name, n)
		}
	}
	t.begin, t.end = offsets[0], offsets[1]
	return t, nil
}

// numbers reads an array of whole numbers, none of them negative.
func (d decoder) numbers() ([]int64, error) {
	if err := d.delim('['); err != nil {
		return nil, err
	}
	numbers := []int64{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		text, ok := token.(json.Number)
		n, err := strconv.ParseUint(string(text), 10, 63)
		if !ok || err != nil {
			return nil, fmt.Errorf("%v isn't a whole number from 0 to 2^63-1", token)
		}
		numbers = append(numbers, int64(n))
	}
	return numbers, d.delim(']')
}

func (d decoder) text() (string, error) {
	token, err := d.Token()
	if err != nil {
		return "", err
	}
	text, ok := token.(string)
	if !ok {
		return "", fmt.Errorf("%v stands where a string should", token)
	}
	return text, nil
}

func (d decoder) delim(want json.Delim) error {
	token, err := d.Token()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("%v stands where %v should", token, want)
	}
	return nil
}
