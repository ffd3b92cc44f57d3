package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/longform-go/longform/internal/cache"
)

// encodingVersion is part of what kept token ids are found by. It has to be
// raised when Encode makes something else of the same records and settings.
const encodingVersion = 1

// EncodeFiles reads the records of files, one after another, and encodes them as
// Encode does. The examples are kept on disk, so that whoever encodes the same
// content with the same tokenizer and format, in this process or another, reads
// them from there. What isn't there, or is damaged, is made anew.
func EncodeFiles(tok *Tokenizer, f Format, files []File) ([]Example, Report, error) {
	if err := f.validate(tok); err != nil {
		return nil, Report{}, err
	}
	kept, _ := cache.Open("tokens") // nil where nothing can be kept
	if kept != nil {
		sums := make([]fileSum, len(files))
		for i, file := range files {
			var err error
			if sums[i], err = file.sum(); err != nil {
				return nil, Report{}, err
			}
		}
		if content, found := kept.Get(keyOf(tok, f, sums)); found {
			if examples, report, err := unmarshalExamples(content); err == nil {
				return examples, report, nil
			}
		}
	}
	records, sums, err := readFiles(files)
	if err != nil {
		return nil, Report{}, err
	}
	examples, report, err := Encode(tok, f, records)
	if err == nil && kept != nil {
		// Under the sums of what was read: a file may have changed since it was looked at.
		_ = kept.Put(keyOf(tok, f, sums), marshalExamples(examples, report)) // else it is made again
	}
	return examples, report, err
}

// readFiles gives the records of all files and the sums of what was read.
func readFiles(files []File) ([]Record, []fileSum, error) {
	var records []Record
	var sums []fileSum
	for _, file := range files {
		content, err := file.content()
		if err != nil {
			return nil, nil, err
		}
		read, err := file.records(content)
		if err != nil {
			return nil, nil, err
		}
		records, sums = append(records, read...), append(sums, sha256.Sum256(content))
	}
	return records, sums, nil
}

// keyOf names what files with these contents become.
func keyOf(tok *Tokenizer, f Format, files []fileSum) cache.Key {
	b, err := json.Marshal(struct {
		Version   int
		Library   string
		Tokenizer fileSum
		Format    Format
		Files     []fileSum
	}{encodingVersion, tokenizersVersion(), sha256.Sum256(tok.JSON()), f, files})
	if err != nil {
		panic(err) // numbers and texts always marshal
	}
	return sha256.Sum256(b)
}

// tokenizersVersion is that of the library that turns text into ids, as far as
// this program knows what it was built from.
func tokenizersVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, module := range info.Deps {
		if module.Path == "github.com/daulet/tokenizers" {
			return module.Version + " " + module.Sum
		}
	}
	return ""
}

// marshalExamples writes, little-endian: the length of the report as JSON and
// the report; the number of examples; the lengths of Input and Labels of each;
// and the ids of all, in the same order. An example's number is its Record.
func marshalExamples(examples []Example, report Report) []byte {
	head, err := json.Marshal(report)
	if err != nil {
		panic(err) // numbers always marshal
	}
	size := 4 + len(head) + 4
	for _, e := range examples {
		size += 4 * (2 + len(e.Input) + len(e.Labels))
	}
	order := binary.LittleEndian
	b := order.AppendUint32(make([]byte, 0, size), uint32(len(head)))
	b = order.AppendUint32(append(b, head...), uint32(len(examples)))
	for _, e := range examples {
		b = order.AppendUint32(b, uint32(len(e.Input)))
		b = order.AppendUint32(b, uint32(len(e.Labels)))
	}
	for _, e := range examples {
		for _, ids := range [][]int32{e.Input, e.Labels} {
			for _, id := range ids {
				b = order.AppendUint32(b, uint32(id))
			}
		}
	}
	return b
}

var errExamples = errors.New("not what marshalExamples writes")

func unmarshalExamples(b []byte) ([]Example, Report, error) {
	var report Report
	take := func(n int) []byte { // nil where less is left
		if n < 0 || n > len(b) {
			return nil
		}
		taken := b[:n:n]
		b = b[n:]
		return taken
	}
	number := func() int {
		if n := take(4); n != nil {
			return int(binary.LittleEndian.Uint32(n))
		}
		return -1
	}
	if err := json.Unmarshal(take(number()), &report); err != nil {
		return nil, report, fmt.Errorf("%w: %w", errExamples, err)
	}
	count := number()
	lengths := take(8 * count)
	if lengths == nil || len(b)%4 != 0 {
		return nil, report, errExamples
	}
	ids := make([]int32, len(b)/4)
	for i := range ids {
		ids[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
	}
	examples := make([]Example, count)
	for i := range examples {
		part := func(at int) []int32 {
			n := int(binary.LittleEndian.Uint32(lengths[4*at:]))
			if n > len(ids) {
				return nil
			}
			taken := ids[:n:n]
			ids = ids[n:]
			return taken
		}
		examples[i] = Example{Input: part(2 * i), Labels: part(2*i + 1), Record: i}
		if examples[i].Input == nil || examples[i].Labels == nil {
			return nil, report, errExamples
		}
	}
	if len(ids) > 0 {
		return nil, report, errExamples
	}
	return examples, report, nil
}
