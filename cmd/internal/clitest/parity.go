package clitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// How far numbers may be from those that transformers and torch compute, relative to them.
const (
	lossTolerance = 1e-3
	normTolerance = 1e-2
	nllTolerance  = 1e-4
)

// expected is what a reference checkpoint's expected.json says, as far as a command prints it.
type expected struct {
	Tokenize []struct {
		Text string  `json:"text"`
		IDs  []int32 `json:"ids"`
	} `json:"tokenize"`
	Score    []score   `json:"score"`
	Generate []written `json:"generate"`
	AdamW    struct {
		Losses    []float64 `json:"losses"`
		GradNorms []float64 `json:"grad_norms"`
	} `json:"adamw"`
}

type score struct {
	Input   string  `json:"input"`
	Tokens  int     `json:"tokens"`
	MeanNLL float64 `json:"mean_nll"`
}

type written struct {
	Prompt string  `json:"prompt"`
	Mode   string  `json:"mode"`
	NewIDs []int32 `json:"new_ids"`
	Text   string  `json:"text"`
}

// texts are those of one way of decoding.
func (e expected) texts(mode string) []written {
	return slices.DeleteFunc(e.Generate, func(w written) bool { return w.Mode != mode })
}

func readExpected(ts *testscript.TestScript, model string) expected {
	var e expected
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(model, "expected.json"))), &e))
	return e
}

// lines reads JSON Lines.
func lines[T any](ts *testscript.TestScript, file string) []T {
	var all []T
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(file)))
	for {
		var line T
		err := d.Decode(&line)
		if errors.Is(err, io.EOF) {
			return all
		}
		ts.Check(err)
		all = append(all, line)
	}
}

// near checks one number; those that aren't finite are near to nothing.
func near(ts *testscript.TestScript, what string, number int, got, want, tolerance float64) {
	if !(math.Abs(got-want) <= tolerance*math.Abs(want)) {
		ts.Fatalf("%s %d is %v, want %v within %v of it", what, number, got, want, tolerance)
	}
}

// losses MODEL METRICS checks a run of the reference recipe.
func losses(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: losses model metrics.jsonl")
	}
	want := readExpected(ts, args[0]).AdamW
	got := lines[struct {
		Step     int     `json:"step"`
		Loss     float64 `json:"loss"`
		GradNorm float64 `json:"grad_norm"`
	}](ts, args[1])
	if len(got) != len(want.Losses) || len(got) == 0 {
		ts.Fatalf("%d steps, want %d", len(got), len(want.Losses))
	}
	for i, step := range got {
		if step.Step != i+1 {
			ts.Fatalf("line %d is of step %d", i+1, step.Step)
		}
		near(ts, "loss of step", step.Step, step.Loss, want.Losses[i], lossTolerance)
		near(ts, "gradient norm of step", step.Step, step.GradNorm, want.GradNorms[i], normTolerance)
	}
}

// scores MODEL OUTPUT checks the output of infer score --json for the checkpoint's own records; scores OUTPUT OUTPUT
// TOLERANCE compares two outputs.
func scores(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 && len(args) != 3 {
		ts.Fatalf("usage: [!] scores model output | scores output output tolerance")
	}
	tolerance := nllTolerance
	var want []score
	if len(args) == 2 {
		want = readExpected(ts, args[0]).Score
	} else {
		var err error
		tolerance, err = strconv.ParseFloat(args[2], 64)
		ts.Check(err)
		want = lines[score](ts, args[0])
	}
	got := lines[score](ts, args[1])
	if len(got) != len(want) || len(got) == 0 {
		ts.Fatalf("%d records scored, want %d", len(got), len(want))
	}
	for i, s := range got {
		if s.Input != want[i].Input || s.Tokens != want[i].Tokens {
			ts.Fatalf("record %d has input %q and %d tokens, want %q and %d", i, s.Input, s.Tokens, want[i].Input, want[i].Tokens)
		}
		if neg {
			if math.Abs(s.MeanNLL-want[i].MeanNLL) <= tolerance*want[i].MeanNLL {
				ts.Fatalf("record %d has the same mean_nll, %v", i, s.MeanNLL)
			}
			continue
		}
		near(ts, "mean_nll of record", i, s.MeanNLL, want[i].MeanNLL, tolerance)
	}
}

// prompts MODEL MODE FILE writes the prompts of the checkpoint's texts of a mode, for infer generate --prompts.
func prompts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: prompts model mode file")
	}
	var file bytes.Buffer
	for _, g := range readExpected(ts, args[0]).texts(args[1]) {
		ts.Check(json.NewEncoder(&file).Encode(map[string]string{"prompt": g.Prompt}))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), file.Bytes(), 0o644))
}

// texts MODEL MODE OUTPUT checks what infer generate --json wrote after those prompts.
func texts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: texts model mode output")
	}
	want := readExpected(ts, args[0]).texts(args[1])
	got := lines[struct {
		Prompt string  `json:"prompt"`
		Text   string  `json:"text"`
		IDs    []int32 `json:"token_ids"`
		Reason string  `json:"finish_reason"`
	}](ts, args[2])
	if len(got) != len(want) || len(got) == 0 {
		ts.Fatalf("%d texts, want %d", len(got), len(want))
	}
	for i, g := range got {
		w := want[i]
		if g.Prompt != w.Prompt || g.Text != w.Text || !slices.Equal(g.IDs, w.NewIDs) {
			ts.Fatalf("after %q it wrote %q %v, want after %q %q %v", g.Prompt, g.Text, g.IDs, w.Prompt, w.Text, w.NewIDs)
		}
		if g.Reason != "stop" && g.Reason != "length" {
			ts.Fatalf("text %d ended because of %q", i, g.Reason)
		}
	}
}

// tokenLines MODEL FILE writes the checkpoint's texts, for the standard input of infer tokenize.
func tokenLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tokenlines model file")
	}
	var file bytes.Buffer
	for _, t := range readExpected(ts, args[0]).Tokenize {
		ts.Check(json.NewEncoder(&file).Encode(t.Text))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), file.Bytes(), 0o644))
}

// tokens MODEL OUTPUT checks what infer tokenize --json made of those texts.
func tokens(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tokens model output")
	}
	want := readExpected(ts, args[0]).Tokenize
	got := lines[struct {
		IDs []int32 `json:"ids"`
	}](ts, args[1])
	if len(got) != len(want) || len(got) == 0 {
		ts.Fatalf("%d texts, want %d", len(got), len(want))
	}
	for i, g := range got {
		if g.IDs == nil || !slices.Equal(g.IDs, want[i].IDs) {
			ts.Fatalf("%q is %v, want %v", want[i].Text, g.IDs, want[i].IDs)
		}
	}
}
