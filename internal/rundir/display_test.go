package rundir

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
)

// play shows a short run, of which the first step takes a minute to compile
// and the others two seconds each.
func play(d *Display) {
	at := time.Unix(0, 0)
	d.now = func() time.Time { return at }
	for i := 1; i <= 4; i++ {
		at = at.Add(2 * time.Second)
		if i == 1 {
			at = at.Add(time.Minute)
		}
		s := step(i)
		if i == 3 {
			s.Loss, s.GradNorm = float32(math.NaN()), float32(math.Inf(1))
		}
		d.Step(s)
	}
	d.Eval(Eval{Step: 4, Loss: 1.25})
	d.Note("checkpoint step-000004")
}

var summary = Summary{
	Step: 4, Steps: 4, Time: 68 * time.Second, Tokens: 1_234_567, FirstLoss: 4, LastLoss: 1, Best: &Eval{Step: 4, Loss: 1.25},
	PeakMemory: 1_500_000_000, Checkpoint: "run/checkpoints/step-000004", Plots: "run/plots",
	Resume:   "train resume run",
	Generate: `infer generate --model run/checkpoints/step-000004 --prompt "Hello"`,
}

func TestPlainLines(t *testing.T) {
	var out bytes.Buffer
	d := NewDisplay(&out, false, 1000)
	play(d)
	d.Done(summary)
	want := `step 1/1000  loss 4.000  grad 0.33  lr 3.0e-04  10,000 tok/s  eta ?
step 2/1000  loss 2.000  grad 0.17  lr 1.5e-04  10,000 tok/s  eta 33m16s
step 3/1000  loss NaN  grad +Inf  lr 1.0e-04  10,000 tok/s  eta 33m14s
step 4/1000  loss 1.000  grad 0.083  lr 7.5e-05  10,000 tok/s  eta 33m12s
step 4/1000  validation loss 1.250  perplexity 3.49
checkpoint step-000004
stopped after step 4 of 1,000
  time        1m08s for 4 steps, 1.2M tokens, 18,155 tokens/s
  loss        4.000 at first, 1.000 at last
  validation  1.250 at best, after step 4
  peak memory 1.5 GB
  checkpoint  run/checkpoints/step-000004
  plots       run/plots
  go on with  train resume run
  generate    infer generate --model run/checkpoints/step-000004 --prompt "Hello"
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSummaryLeavesOutWhatIsUnknown(t *testing.T) {
	got := Summary{Step: 1200, Steps: 1200, FirstLoss: 3, LastLoss: 2}.text(1200)
	want := `done after step 1,200
  time        0.0s for 1,200 steps, 0 tokens
  loss        3.000 at first, 2.000 at last
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestBar plays the run on a terminal that understands carriage return and
// "erase line", and looks at what stays on it.
func TestBar(t *testing.T) {
	var out bytes.Buffer
	d := NewDisplay(&out, true, 1000)
	play(d)
	lines := screen(out.String())
	if len(lines) != 3 {
		t.Fatalf("got %q", lines)
	}
	for i, want := range []string{"step 4/1000  validation loss 1.250  perplexity 3.49", "checkpoint step-000004"} {
		if lines[i] != want {
			t.Errorf("line %d: got %q, want %q", i, lines[i], want)
		}
	}
	for _, want := range []string{"0% |", "4/1000  loss 1.000  eta 33m12s  10,000 tok/s"} {
		if !strings.Contains(lines[2], want) {
			t.Errorf("the bar %q lacks %q", lines[2], want)
		}
	}
	d.Done(summary)
	lines = screen(out.String())
	if len(lines) < 3 || lines[2] != "stopped after step 4 of 1,000" {
		t.Errorf("the bar stays: %q", lines)
	}
}

func screen(text string) []string {
	var lines []string
	for row := range strings.Lines(text) {
		shown := ""
		for _, part := range strings.Split(strings.TrimSuffix(row, "\n"), "\r") {
			if i := strings.LastIndex(part, "\033[2K"); i >= 0 {
				shown, part = "", part[i+len("\033[2K"):]
			}
			if rest, erased := strings.CutSuffix(part, "\033[0K"); erased {
				shown = rest
			} else {
				shown = part + shown[min(len(part), len(shown)):]
			}
		}
		lines = append(lines, shown)
	}
	return lines
}

func TestPace(t *testing.T) {
	var p pace
	at := time.Unix(0, 0)
	if _, known := p.left(10); known {
		t.Error("known without a step")
	}
	for i := 1; i <= 200; i++ {
		each := time.Second
		if i == 1 || i == 20 {
			each = time.Hour
		}
		at = at.Add(each)
		p.mark(10*i, at)
		left, known := p.left(500)
		switch {
		case i == 1 && known:
			t.Error("known after the step that compiles")
		case i > 1 && i < 20 && left != 50*time.Second, i >= 20+paceWindow && left != 50*time.Second:
			t.Fatalf("after %d marks: %v left", i, left)
		}
	}
	if len(p.steps) != paceWindow {
		t.Errorf("%d marks kept", len(p.steps))
	}
}
