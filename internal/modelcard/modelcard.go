// Package modelcard writes the README.md of an exported model, which the Hugging Face hub shows as its card: what the model is,
// what it was trained on and how, what was measured, and how to use it. It says what is known and nothing else.
package modelcard

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/hub"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/testset/scores"
)

// File is the name that the hub looks for.
const File = "README.md"

// Card is what is known of a model.
type Card struct {
	Name           string // of its directory
	Family         string // llama, opt or t5
	Parameters     int64
	EncoderDecoder bool
	// Model and Base are what it was made of: directories or names of the hub. Base is empty where there is none.
	Model, Base string
	Made        Making
	Run         *Run             // that trained it; nil where there is none
	Scores      []*scores.Report // of its texts for test sets; see ReadScores
	Version     string           // of longform
}

// Making is how a model came out of Card.Model and Card.Base.
type Making string

// What a card can tell of.
const (
	Copied     Making = "copied"     // it is Model
	Trained    Making = "trained"    // from Base, or from random weights without one
	Merged     Making = "merged"     // Model is an adapter of Base
	Added      Making = "added"      // Model is a weight difference to Base
	Subtracted Making = "subtracted" // it is the weight difference of Model to Base, and no model
)

//go:embed card.md
var text string

var card = template.Must(template.New(File).Funcs(template.FuncMap{
	"shown": shown, "code": code, "sources": sources, "settings": settings, "figures": figures,
	"percent": func(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) },
	"commas":  rundir.Commas, "short": rundir.Short, "exp": math.Exp,
}).Parse(text))

// Markdown is the card.
func (c Card) Markdown() ([]byte, error) {
	var b bytes.Buffer
	if err := card.Execute(&b, c); err != nil {
		return nil, fmt.Errorf("model card: %w", err)
	}
	return b.Bytes(), nil
}

// shown is a model's name on the hub as it is, and the last element of any other path, which is nobody else's business; of a
// run's checkpoint, the run's.
func shown(name string) string {
	if isOnHub(name) {
		return name
	}
	if dir, ok := runOf(name); ok {
		name = string(dir)
	}
	return filepath.Base(name)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// code is a text as a Python string.
func code(s string) string { return fmt.Sprintf("%q", s) }

// isOnHub tells a model's name on the hub from a directory and a GGUF file, as pretrained.Find does.
func isOnHub(model string) bool {
	return hub.IsName(model) && filepath.Ext(model) != ".gguf" && !exists(model)
}

// shownData is shown of a data set.
func shownData(name string) string {
	if _, _, ok := data.HubName(name); ok {
		return strings.TrimPrefix(name, "hub:")
	}
	return filepath.Base(name)
}

// onHub are the repositories among data sets.
func onHub(names []string) []string {
	var found []string
	for _, name := range names {
		if repository, _, ok := data.HubName(name); ok {
			found = append(found, repository)
		}
	}
	return found
}

// Whole tells a model from a difference.
func (c Card) Whole() bool { return c.Made != Subtracted }

// Pipeline is the task that the hub files the model under.
func (c Card) Pipeline() string {
	if c.EncoderDecoder {
		return "text2text-generation"
	}
	return "text-generation"
}

// AutoClass is what opens the model in transformers.
func (c Card) AutoClass() string {
	if c.EncoderDecoder {
		return "AutoModelForSeq2SeqLM"
	}
	return "AutoModelForCausalLM"
}

// Prompt is an instruction as the model was shown it.
func (c Card) Prompt() string {
	const instruction = "Write a short recipe for tomato soup."
	if c.Run == nil {
		return instruction
	}
	return c.Format().Prompt(instruction)
}

// Format is how the run wrote records down.
func (c Card) Format() data.Format {
	f := data.Format{EncoderDecoder: c.EncoderDecoder, EOI: data.EOIText}
	switch {
	case c.EncoderDecoder:
		f.EOI = data.EOINone
	case c.Run.Config.Data.EOI != "":
		f.EOI = c.Run.Config.Data.EOI
	}
	return f
}

var license = regexp.MustCompile(`(?m)^license: *([a-z0-9][a-z0-9.-]*) *$`)

// License is what the base's own card names; empty where there is none to read.
func (c Card) License() string {
	from := c.Base
	if c.Made == Copied {
		from = c.Model
	}
	if from == "" {
		return ""
	}
	raw, err := os.ReadFile(filepath.Join(from, File))
	if err != nil {
		return ""
	}
	parts := strings.SplitN(string(raw), "---\n", 3)
	if len(parts) < 3 || parts[0] != "" {
		return ""
	}
	if found := license.FindStringSubmatch(parts[1]); found != nil {
		return found[1]
	}
	return ""
}
