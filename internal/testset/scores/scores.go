// Package scores is what a test set came to, as scores.json holds it: infer evaluate writes it, and others quote its figures
// without measuring anything again.
package scores

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/longform-go/longform/internal/testset/tasks"
)

// File is the name of a report on disk.
const File = "scores.json"

// METEOR is the metric of which figures are published, and Perplexity the one that only models with the same tokens share. Others
// are named by Metrics alone.
const (
	METEOR     = "METEOR"
	Perplexity = "perplexity"
)

// Metrics are the names of a group's figures, in the order in which they are shown. METEOR, ROUGE, BLEU and chrF go to 100; of
// the perplexity of the references, lower is better; lengths are means.
var Metrics = []string{METEOR, "ROUGE-1", "ROUGE-2", "ROUGE-L", "BLEU", "chrF", Perplexity, "words", "reference words"}

// Report is what came of a test set.
type Report struct {
	Data         string           `json:"data"`
	Task         string           `json:"task,omitempty"`
	Instructions string           `json:"instructions,omitempty"` // how the task makes them
	Records      int              `json:"records"`
	Whole        int              `json:"records_in_data"` // of which Records are a sample, or all
	Without      int              `json:"left_out"`        // more of the data, which have no reference
	OtherLetters float64          `json:"other_letters"`   // share of the references' letters that aren't a to z
	METEOR       string           `json:"meteor"`          // which one; see metrics.METEOR
	Confidence   float64          `json:"confidence"`
	Models       []Model          `json:"models"`
	Comparisons  []Comparison     `json:"comparisons,omitempty"`
	Published    *tasks.Published `json:"published,omitempty"`
}

// Model is what came of a model's texts.
type Model struct {
	Name          string   `json:"model"`
	InputsCut     int      `json:"inputs_cut"`     // inputs that were too long to be read whole
	ReferencesCut int      `json:"references_cut"` // references of which the perplexity leaves out the end
	All           Group    `json:"all"`
	Sources       []Group  `json:"sources,omitempty"` // where records name several
	Settings      Settings `json:"settings"`
}

// Group is some of the texts.
type Group struct {
	Source  string            `json:"source,omitempty"`
	Records int               `json:"records"`
	Figures map[string]Figure `json:"figures"` // by metric
}

// Figure is a metric of some texts and its bootstrap interval.
type Figure struct {
	Value Number `json:"value"`
	Low   Number `json:"low"`
	High  Number `json:"high"`
}

// String is the figure and its interval.
func (f Figure) String() string { return fmt.Sprintf("%.2f [%.2f, %.2f]", f.Value, f.Low, f.High) }

// Number is one that may be none, as a perplexity without tokens is; JSON has null for it.
type Number float64

// IsNone tells NaN and the infinities, which JSON hasn't got.
func (n Number) IsNone() bool { return math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) }

// MarshalJSON is a json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if n.IsNone() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON is a json.Unmarshaler.
func (n *Number) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	return json.Unmarshal(raw, (*float64)(n))
}

// Comparison is of two models' texts for the same records by a metric.
type Comparison struct {
	Metric     string `json:"metric"`
	First      string `json:"first"`
	Second     string `json:"second"`
	Wins       int    `json:"wins"` // texts of which the first model's is better; losses: worse
	Ties       int    `json:"ties"`
	Losses     int    `json:"losses"`
	Difference Number `json:"difference"` // first minus second
	P          Number `json:"p"`          // two-sided, by approximate randomization
}

// Read reads a report.
func Read(path string) (*Report, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, fmt.Errorf("%s: %w; give the %s of an infer evaluate", path, err, File)
	}
	var r Report
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("%s: damaged: %w; run infer evaluate again", path, err)
	}
	if len(r.Models) == 0 {
		return nil, fmt.Errorf("%s: it has figures of no model; give the %s of an infer evaluate", path, File)
	}
	return &r, nil
}

// Of is the report without other models than the one that was found by a name or path: pretrained.Source.Name.
func (r *Report) Of(model string) (*Report, error) {
	var others []string
	for i, m := range r.Models {
		if SamePlace(m.Settings.Model, model) {
			alone := *r
			alone.Models, alone.Comparisons = slices.Clone(r.Models[i:i+1]), nil
			return &alone, nil
		}
		others = append(others, m.Settings.Model)
	}
	return nil, fmt.Errorf("it has figures of %s, and none of %s; run infer evaluate on that", strings.Join(others, " and "), model)
}

// SamePlace tells whether two names are of one model, though one of them may be another way to the same directory.
func SamePlace(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	x, err := os.Stat(a)
	y, other := os.Stat(b)
	return err == nil && other == nil && os.SameFile(x, y)
}

// Heading says what was written after.
func (r *Report) Heading() string {
	text := fmt.Sprintf("%d records of %s", r.Records, r.Data)
	if r.Records < r.Whole {
		text = fmt.Sprintf("%d of %d records of %s", r.Records, r.Whole, r.Data)
	}
	if r.Task != "" {
		text += ", task " + r.Task
	}
	return text
}

// someLetters is more than English has, and less than German, Spanish or French have.
const someLetters = 0.01

// Remarks are what a reader has to know beside the figures.
func (r *Report) Remarks() []string {
	var lines []string
	if r.Without > 0 {
		lines = append(lines, fmt.Sprintf("%d more have no reference and were left out", r.Without))
	}
	if r.OtherLetters > someLetters {
		lines = append(lines, fmt.Sprintf("%.0f%% of the references' letters aren't a to z: ROUGE counts words of a to z and 0 to 9 alone, and METEOR's stems, synonyms and sentence ends are English's; take chrF for other languages", 100*r.OtherLetters))
	}
	for _, m := range r.Models {
		if m.InputsCut > 0 {
			lines = append(lines, fmt.Sprintf("%s reads too little for %d of the inputs: it got their beginnings", m.Name, m.InputsCut))
		}
		if m.ReferencesCut > 0 {
			lines = append(lines, fmt.Sprintf("%s reads too little for %d of the references: its perplexity is that of their beginnings", m.Name, m.ReferencesCut))
		}
	}
	for _, c := range r.Comparisons {
		perplexities := func(o Comparison) bool { return o.Metric == Perplexity && o.First == c.First && o.Second == c.Second }
		if c.Metric == METEOR && !slices.ContainsFunc(r.Comparisons, perplexities) {
			lines = append(lines, fmt.Sprintf("%s and %s read the references in other tokens: their perplexities can't be compared", c.First, c.Second))
		}
	}
	return lines
}

// Label is a metric's name; of METEOR it says which one it is.
func (r *Report) Label(metric string) string {
	if metric == METEOR {
		return r.METEOR
	}
	return metric
}
