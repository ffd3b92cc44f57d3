package tasks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"unicode"

	"github.com/parquet-go/parquet-go"

	"github.com/longform-go/longform/data"
)

// rows makes records of the rows of JSON, JSON Lines or Parquet files, found as data.ReadRecords finds them. T has a field for
// each column that is read; a column that a file lacks stays zero.
func rows[T any](source string, record func(path string, row T) (data.Record, error)) iter.Seq2[data.Record, error] {
	return func(yield func(data.Record, error) bool) {
		files, err := data.Files(source, "test")
		if err != nil {
			yield(data.Record{}, err)
			return
		}
		for _, file := range files {
			n := 0
			for row, err := range fileRows[T](file.Name) {
				n++
				var r data.Record
				if err == nil {
					r, err = record(file.Name, row)
				}
				if err != nil {
					err = fmt.Errorf("%s: record %d: %w", file.Name, n, err)
				}
				if !yield(r, err) || err != nil {
					return
				}
			}
		}
	}
}

// fileRows reads a file from begin to end, and stops at the first error.
func fileRows[T any](path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(*new(T), err)
			return
		}
		defer f.Close()
		var next func() (T, error)
		text := bufio.NewReaderSize(f, 1<<16)
		if magic, _ := text.Peek(4); bytes.Equal(magic, []byte("PAR1")) {
			next, err = parquetRows[T](f)
		} else {
			next, err = jsonRows[T](text)
		}
		if err != nil {
			yield(*new(T), err)
			return
		}
		for {
			row, err := next()
			if errors.Is(err, io.EOF) || !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// jsonRows reads the elements of an array, or one object after another.
func jsonRows[T any](text *bufio.Reader) (func() (T, error), error) {
	for {
		c, _, err := text.ReadRune()
		if err != nil {
			return nil, errors.New("the file is empty; records are expected")
		}
		if c == '\ufeff' || unicode.IsSpace(c) { // a byte order mark says UTF-8, which is what is read anyway
			continue
		}
		if err := text.UnreadRune(); err != nil {
			return nil, err
		}
		d := json.NewDecoder(text)
		more := func() bool { return true }
		if c == '[' {
			if _, err := d.Token(); err != nil {
				return nil, err
			}
			more = d.More
		}
		return func() (row T, err error) {
			if !more() {
				_, err = d.Token() // the end of the array
				if err == nil {
					err = io.EOF
				}
				return row, err
			}
			if err = d.Decode(&row); err != nil && !errors.Is(err, io.EOF) {
				err = fmt.Errorf("malformed JSON: %w", err)
			}
			return row, err
		}, nil
	}
}

// parquetRows reads a file that is open.
func parquetRows[T any](f *os.File) (next func() (T, error), err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("not a Parquet file: %w", err)
	}
	reader := parquet.NewGenericReader[T](file)
	return func() (row T, err error) {
		// The library panics on some files that are damaged beyond the footer.
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("damaged Parquet file: %v", p)
			}
		}()
		buffer := make([]T, 1)
		n, err := reader.Read(buffer)
		if n == 1 {
			err = nil // the end comes with the next
		}
		return buffer[0], err
	}, nil
}
