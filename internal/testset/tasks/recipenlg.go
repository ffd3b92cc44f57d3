package tasks

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/longform-go/longform/data"
)

// recipeNLG is RecipeNLG (Bień et al., 2020): 2,231,142 recipes in one CSV file, without a test split.
//
// The instruction is the recipe example on LongForm's model cards, whose ingredients have no amounts: those of the column NER.
// Which recipes the paper drew isn't known, nor how it joined their directions.
var recipeNLG = Task{
	Name:         "recipenlg",
	Files:        "RecipeNLG's full_dataset.csv",
	Instructions: `"Write directions of a cooking recipe with these ingredients: " and NER; the directions, a line each`,
	Published:    published("recipe generation", 0),
	records:      recipes,
}

// recipes reads the file row by row: it has more than two gigabytes.
func recipes(path string, take func(data.Record) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%w; give RecipeNLG's full_dataset.csv", err)
	}
	defer f.Close()
	rows := csv.NewReader(f)
	rows.ReuseRecord = true
	column, err := recipeColumns(rows)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		r, err := recipe(row, column)
		if err == nil {
			err = take(r)
		}
		if err != nil {
			line, _ := rows.FieldPos(0)
			return fmt.Errorf("%s:%d: %w", path, line, err)
		}
	}
}

// recipeColumns finds the columns by the names in the first row.
func recipeColumns(rows *csv.Reader) (map[string]int, error) {
	head, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; give RecipeNLG's full_dataset.csv")
	}
	if err != nil {
		return nil, fmt.Errorf("%w; give RecipeNLG's full_dataset.csv", err)
	}
	column := map[string]int{}
	for _, name := range []string{"directions", "NER", "source"} {
		if column[name] = slices.Index(head, name); column[name] < 0 {
			return nil, fmt.Errorf("no column %q in it, but %s; give RecipeNLG's full_dataset.csv", name, strings.Join(head, ", "))
		}
	}
	return column, nil
}

func recipe(row []string, column map[string]int) (data.Record, error) {
	list := func(name string) (texts []string, err error) {
		if err = json.Unmarshal([]byte(row[column[name]]), &texts); err != nil {
			err = fmt.Errorf("column %s is no list of texts: %w", name, err)
		}
		return texts, err
	}
	ingredients, err := list("NER")
	if err != nil {
		return data.Record{}, err
	}
	directions, err := list("directions")
	if err != nil {
		return data.Record{}, err
	}
	return data.Record{
		Input:  "Write directions of a cooking recipe with these ingredients: " + strings.Join(ingredients, ", "),
		Output: strings.Join(directions, "\n"),
		Source: strings.Clone(row[column["source"]]), // a row's texts share their memory
	}, nil
}
