package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"

	"github.com/longform-go/longform/data"
)

// rows makes records of the rows of JSON, JSON Lines or Parquet files, found as data.ReadRecords finds them. T has a field for
// each column that is read; a column that a file lacks stays zero.
func rows[T any](source string, record func(path string, row T) (data.Record, error), take func(data.Record) error) error {
	files, err := data.Files(source, "test")
	if err != nil {
		return err
	}
	for _, file := range files {
		err := eachRow(file.Name, func(row T) error {
			r, err := record(file.Name, row)
			if err != nil {
				return err
			}
			return take(r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eachRow reads a file from begin to end, and stops at the first error.
func eachRow[T any](path string, take func(T) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], 0); err == nil && string(magic[:]) == "PAR1" {
		return eachParquetRow(f, take)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return data.EachObject(path, text, func(raw []byte) error {
		var row T
		if err := json.Unmarshal(raw, &row); err != nil {
			return fmt.Errorf("malformed JSON: %w", err)
		}
		return take(row)
	})
}

func eachParquetRow[T any](f *os.File, take func(T) error) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return fmt.Errorf("%s: not a Parquet file: %w", f.Name(), err)
	}
	reader := parquet.NewGenericReader[T](file)
	for n := 1; ; n++ {
		row, err := nextRow(reader)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = take(row)
		}
		if err != nil {
			return fmt.Errorf("%s: record %d: %w", f.Name(), n, err)
		}
	}
}

func nextRow[T any](reader *parquet.GenericReader[T]) (row T, err error) {
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
}
