package data

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
)

// parquetRow has a column for each of recordFields; a file may lack some.
type parquetRow struct {
	Instruction *string `parquet:"instruction,optional"`
	Input       *string `parquet:"input,optional"`
	Output      *string `parquet:"output,optional"`
	Source      *string `parquet:"source,optional"`
	Subset      *string `parquet:"subset,optional"`
}

// readParquet reads the content of the file at path.
func readParquet(path string, content []byte) (records []Record, err error) {
	// The library panics on some files that are damaged beyond the footer.
	defer func() {
		if p := recover(); p != nil {
			records, err = nil, fmt.Errorf("%s: damaged Parquet file: %v", path, p)
		}
	}()
	file, err := parquet.OpenFile(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, fmt.Errorf("%s: not a Parquet file: %w", path, err)
	}
	if err := checkColumns(file.Schema()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if file.NumRows() == 0 {
		return nil, fmt.Errorf("%s: the file has no rows; records are expected", path)
	}
	reader := parquet.NewGenericReader[parquetRow](file)
	defer reader.Close()
	rows := make([]parquetRow, 256)
	for {
		n, err := reader.Read(rows)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: row %d: %w", path, len(records)+1, err)
		}
		for _, row := range rows[:n] {
			r, err := newRecord(map[string]*string{
				"instruction": row.Instruction, "input": row.Input, "output": row.Output, "source": row.Source, "subset": row.Subset,
			})
			if err != nil {
				return nil, fmt.Errorf("%s: row %d: %w", path, len(records)+1, err)
			}
			records = append(records, r)
		}
		if err != nil {
			break
		}
	}
	if int64(len(records)) != file.NumRows() {
		return nil, fmt.Errorf("%s: damaged Parquet file: %d of its %d rows are there", path, len(records), file.NumRows())
	}
	return records, nil
}

// checkColumns refuses columns of other types than text, which the library
// would convert.
func checkColumns(schema *parquet.Schema) error {
	for _, field := range schema.Fields() {
		for _, name := range recordFields {
			if field.Name() != name {
				continue
			}
			if !field.Leaf() || field.Repeated() {
				return fmt.Errorf("column %q has to be text, this is a list or a group", name)
			}
			if field.Type().Kind() != parquet.ByteArray {
				return fmt.Errorf("column %q has to be text, this is %s", name, field.Type())
			}
		}
	}
	return nil
}
