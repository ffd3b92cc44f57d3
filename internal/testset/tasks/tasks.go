// Package tasks turns the sets that the LongForm paper measures models on, in the form in which each is published, into
// instructions and references, and knows the figures that were published for them.
//
// The paper's code for this isn't published. Each task says what is known of its prompts, and what is chosen here.
package tasks

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/longform-go/longform/data"
)

// Task is one of the sets.
type Task struct {
	Name string
	// Files says what holds the set, and Instructions how it becomes instructions and references.
	Files, Instructions string
	Published           *Published // nil if no figures are known

	// records hands out those of a source in their order, those without a reference included. Its errors, and those of take, say
	// where they are.
	records func(source string, take func(data.Record) error) error
}

// anyRecords is the task of records that are instructions and references already.
var anyRecords = Task{Files: "JSON, JSONL or Parquet with input and output, as for training", records: plain}

// Named are the paper's tasks.
var Named = []Task{longForm, recipeNLG, eli5, writingPrompts, news}

// Find looks a task up; without a name it is any records.
func Find(name string) (Task, error) {
	if name == "" {
		return anyRecords, nil
	}
	var names []string
	for _, t := range Named {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return Task{}, fmt.Errorf("--task is %q; it is one of %s", name, strings.Join(names, ", "))
}

// Set is what was read of a source.
type Set struct {
	Records []data.Record
	Whole   int // how many the source has
	Without int // how many more it has that were left out, since they lack a reference
}

// seed makes every sample of a source the same.
const seed = 1

// Read reads n records of a source drawn at random, the same ones every time, or all if n is 0; they keep their order.
func (t Task) Read(source string, n int) (Set, error) {
	type placed struct {
		at     int
		record data.Record
	}
	var kept []placed
	var s Set
	random := rand.New(rand.NewPCG(seed, 0))
	err := t.records(source, func(r data.Record) error {
		if !utf8.ValidString(r.Input) || !utf8.ValidString(r.Output) || !utf8.ValidString(r.Source) || !utf8.ValidString(r.Subset) {
			return errors.New("invalid UTF-8; save the file as UTF-8")
		}
		if strings.TrimSpace(r.Output) == "" {
			s.Without++
			return nil
		}
		p := placed{s.Whole, r}
		s.Whole++
		if n == 0 || len(kept) < n {
			kept = append(kept, p)
		} else if i := random.IntN(s.Whole); i < n { // so that all have had the same chance (Vitter's algorithm R)
			kept[i] = p
		}
		return nil
	})
	switch {
	case err != nil:
		return Set{}, err
	case s.Whole == 0:
		return Set{}, fmt.Errorf("%s: none of its %d records has a reference", source, s.Without)
	case n > s.Whole:
		return Set{}, fmt.Errorf("--sample is %d; %s has %d records", n, source, s.Whole)
	}
	slices.SortFunc(kept, func(a, b placed) int { return a.at - b.at })
	for _, p := range kept {
		s.Records = append(s.Records, p.record)
	}
	return s, nil
}

// plain reads records as training does, but of the test split.
func plain(source string, take func(data.Record) error) error {
	records, err := data.ReadRecords(source, "test")
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := take(r); err != nil {
			return err
		}
	}
	return nil
}
