// Package data turns records of instructions and texts into batches of token
// ids: reading records, a model family's prompt format, the tokenizer, and the
// order, padding and packing of batches, with a position that training can go
// back to. It knows nothing of models or devices.
package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Record is one example of instruction tuning, as the LongForm dataset has it.
type Record struct {
	Input  string // the instruction
	Output string // the text that follows it; never blank
	Source string // the corpus the text is from, if known
	Subset string // the part of that corpus, if known
}

// ReadRecords reads all records of a source, which is one of
//
//   - a file: a JSON array, JSON Lines, or Parquet, told apart by its content;
//   - a directory, or "directory:validation": the files of one split, by the
//     rules of the Hugging Face hub;
//   - "owner/name", "owner/name:validation" or "hub:owner/name": a dataset of
//     the Hugging Face hub, downloaded at first use.
//
// Where the source names no split, it is the one given, "train" or "test", or
// all files where none is of any split.
//
// A record holds input and output, or instruction, input and output; of the
// latter, Input is the instruction, then a line with the input unless that is
// empty. Other fields than these, source and subset are left alone. Nothing is
// skipped: the first record that isn't whole is an error that names its file
// and line (for Parquet, its row).
func ReadRecords(source, split string) ([]Record, error) {
	files, err := Files(source, split)
	if err != nil {
		return nil, err
	}
	records, _, err := readFiles(files)
	return records, err
}

// jsonText is a file with records as a JSON array or one JSON object a line.
type jsonText struct {
	path  string
	bytes []byte
}

func (t jsonText) records() ([]Record, error) {
	var records []Record
	err := t.each(func(raw []byte) error {
		r, err := parseRecord(raw)
		records = append(records, r)
		return err
	})
	return records, err
}

// EachObject hands out the elements of a JSON array or the lines of JSON Lines, one after another. The first that isn't whole, or
// that take refuses, is an error that names path and line.
func EachObject(path string, text []byte, take func(raw []byte) error) error {
	return jsonText{path, text}.each(take)
}

func (t jsonText) each(take func(raw []byte) error) error {
	for _, bom := range []string{"\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(t.bytes, []byte(bom)) {
			return t.errorAt(0, errors.New("the text is UTF-16; save it as UTF-8"))
		}
	}
	if !utf8.Valid(t.bytes) {
		return t.errorAt(invalidUTF8(t.bytes), errors.New("invalid UTF-8; save the file as UTF-8"))
	}
	// A byte order mark in front says UTF-8, which is what is read anyway.
	start := len(t.bytes) - len(bytes.TrimLeft(bytes.TrimPrefix(t.bytes, []byte("\ufeff")), " \t\r\n"))
	switch {
	case start == len(t.bytes):
		return t.errorAt(0, errors.New("the file is empty; records are expected"))
	case t.bytes[start] == '[':
		return t.array(start, take)
	}
	return t.lines(start, take)
}

// array reads a JSON array that begins at start.
func (t jsonText) array(start int, take func(raw []byte) error) error {
	d := json.NewDecoder(bytes.NewReader(t.bytes[start:]))
	malformed := func(element int) error {
		// The decoder doesn't tell where it stopped; a look at the whole does.
		var syntax *json.SyntaxError
		errors.As(json.Unmarshal(t.bytes[start:], new([]json.RawMessage)), &syntax)
		return t.errorAt(start+int(syntax.Offset)-1, fmt.Errorf("element %d: malformed JSON: %w", element, syntax))
	}
	if _, err := d.Token(); err != nil {
		return malformed(1)
	}
	n := 0
	for d.More() {
		n++
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return malformed(n)
		}
		if err := take(raw); err != nil {
			return t.errorAt(start+int(d.InputOffset())-len(raw), fmt.Errorf("element %d: %w", n, err))
		}
	}
	if _, err := d.Token(); err != nil {
		return malformed(n + 1)
	}
	end := start + int(d.InputOffset())
	if rest := bytes.TrimLeft(t.bytes[end:], " \t\r\n"); len(rest) > 0 {
		return t.errorAt(len(t.bytes)-len(rest), errors.New("malformed JSON: text after the end of the array"))
	}
	if n == 0 {
		return t.errorAt(start, errors.New("the array is empty; records are expected"))
	}
	return nil
}

// lines reads one record a line, however long, from start to the end.
func (t jsonText) lines(start int, take func(raw []byte) error) error {
	for at := start; at < len(t.bytes); {
		line, _, _ := bytes.Cut(t.bytes[at:], []byte("\n"))
		if len(bytes.TrimSpace(line)) == 0 {
			if len(bytes.TrimSpace(t.bytes[at:])) == 0 {
				break
			}
			return t.errorAt(at, errors.New("blank line between records; remove it"))
		}
		if err := take(line); err != nil {
			return t.errorAt(at, err)
		}
		at += len(line) + 1
	}
	return nil
}

// errorAt names the file and the line of a byte of it.
func (t jsonText) errorAt(at int, err error) error {
	line := 1 + bytes.Count(t.bytes[:min(at, len(t.bytes))], []byte("\n"))
	return fmt.Errorf("%s:%d: %w", t.path, line, err)
}

func invalidUTF8(b []byte) int {
	at := 0
	for at < len(b) {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n == 1 {
			return at
		}
		at += n
	}
	return at
}

// parseRecord reads one JSON object.
func parseRecord(raw []byte) (Record, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) {
			return Record{}, fmt.Errorf("a record has to be an object, this is a JSON %s", mismatch.Value)
		}
		return Record{}, fmt.Errorf("malformed JSON: %w; each line has to be one whole object", err)
	}
	fields := map[string]*string{}
	for _, name := range recordFields {
		raw, ok := object[name]
		if !ok || string(raw) == "null" {
			continue
		}
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return Record{}, fmt.Errorf("%q has to be text, this is %.20s", name, raw)
		}
		if loneSurrogate(raw) {
			return Record{}, fmt.Errorf("%q holds half of a surrogate pair, which is no character", name)
		}
		fields[name] = &s
	}
	r, err := newRecord(fields)
	if err != nil && len(object) > 0 {
		err = fmt.Errorf("%w (the record has %s)", err, strings.Join(slices.Sorted(maps.Keys(object)), ", "))
	}
	return r, err
}

var recordFields = []string{"instruction", "input", "output", "source", "subset"}

// newRecord makes a record of the recordFields that are there.
func newRecord(fields map[string]*string) (Record, error) {
	text := func(name string) string {
		if s := fields[name]; s != nil {
			return *s
		}
		return ""
	}
	for _, name := range recordFields { // JSON was seen to be UTF-8, Parquet wasn't
		if !utf8.ValidString(text(name)) {
			return Record{}, fmt.Errorf("%q holds invalid UTF-8", name)
		}
	}
	r := Record{Input: text("input"), Output: text("output"), Source: text("source"), Subset: text("subset")}
	switch {
	case fields["output"] == nil:
		return r, errors.New("the record has no output")
	case strings.TrimSpace(r.Output) == "":
		return r, errors.New("the record's output is empty")
	case fields["instruction"] == nil && fields["input"] == nil:
		return r, errors.New("the record has neither input nor instruction")
	}
	if instruction := text("instruction"); fields["instruction"] != nil {
		if r.Input != "" {
			instruction += "\n" + r.Input
		}
		r.Input = instruction
	}
	return r, nil
}

// loneSurrogate tells whether a JSON string has an escaped surrogate without
// its other half; encoding/json puts U+FFFD there without a word.
func loneSurrogate(raw []byte) bool {
	half := func(at int) (first, second bool) {
		if at+6 > len(raw) || raw[at] != '\\' || raw[at+1] != 'u' || raw[at+2]|0x20 != 'd' {
			return false, false
		}
		c := raw[at+3] | 0x20
		return c == '8' || c == '9' || c == 'a' || c == 'b', c >= 'c' && c <= 'f'
	}
	for at := 0; at < len(raw); at++ {
		if raw[at] != '\\' {
			continue
		}
		first, second := half(at)
		if second {
			return true
		}
		if first {
			if _, second = half(at + 6); !second {
				return true
			}
			at += 6
		}
		at++ // the character behind the backslash
	}
	return false
}
