package rundir

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const (
	barWidth   = 30
	barSides   = len(" 100% ||  ") + 1 // the percentage and the ends of the bar
	redraw     = 50 * time.Millisecond // no eye follows more
	paceWindow = 64                    // steps that the time left is judged by
)

// Display tells a person how training goes: a progress bar on a terminal, one
// line a logged step elsewhere. Its methods may be called concurrently.
type Display struct {
	mu    sync.Mutex
	out   io.Writer
	total int
	pace  pace
	now   func() time.Time

	bar   *progressbar.ProgressBar // nil where out isn't a terminal
	text  string                   // stands beside the bar
	drawn time.Time
}

// NewDisplay shows on out the way to the total number of steps; terminal says
// whether out is one.
func NewDisplay(out io.Writer, terminal bool, total int) *Display {
	d := &Display{out: out, total: total, now: time.Now}
	if terminal {
		d.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(out),
			progressbar.OptionSetWidth(barWidth),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionShowDescriptionAtLineEnd(),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionClearOnFinish(),
		)
		d.text = d.fit("waiting for the first step")
		d.bar.Describe(d.text)
	}
	return d
}

// Step shows a logged step.
func (d *Display) Step(s Step) { d.show(s, true) }

// Advance shows a step that isn't logged, where there is a bar to move.
func (d *Display) Advance(s Step) { d.show(s, false) }

func (d *Display) show(s Step, logged bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	d.pace.mark(s.Step, now)
	if d.bar == nil && !logged {
		return
	}
	count := fmt.Sprintf("%d/%d", s.Step, d.total)
	loss := "loss " + decimal(float64(s.Loss), 3)
	speed := Commas(int64(math.Round(s.TokensPerSecond))) + " tok/s"
	eta := "eta ?"
	if left, known := d.pace.left(d.total - s.Step); known {
		eta = "eta " + Duration(left)
	}
	if d.bar == nil {
		grad := "grad " + decimal(float64(s.GradNorm), 2)
		rate := fmt.Sprintf("lr %.1e", s.LR)
		fmt.Fprintln(d.out, strings.Join([]string{"step " + count, loss, grad, rate, speed, eta}, "  "))
		return
	}
	if now.Sub(d.drawn) < redraw && s.Step < d.total {
		return
	}
	d.drawn = now
	d.text = d.fit(count, loss, eta, speed)
	_ = d.bar.Set(s.Step) // the terminal is all it could fail on
	d.bar.Describe(d.text)
}

// Eval shows an evaluation.
func (d *Display) Eval(e Eval) {
	d.Note(fmt.Sprintf("step %d/%d  validation loss %s  perplexity %s",
		e.Step, d.total, decimal(e.Loss, 3), decimal(math.Exp(e.Loss), 2)))
}

// Note prints a line of text, above the bar where there is one.
func (d *Display) Note(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
	fmt.Fprintln(d.out, text)
	if d.bar != nil {
		d.bar.Describe(d.text) // draws, unless all steps are done
	}
}

// Close removes the bar, so that something else may write to the terminal.
func (d *Display) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
	d.bar = nil
}

func (d *Display) clear() {
	if d.bar != nil {
		_ = d.bar.Clear()
	}
}

// fit joins as many of the fields, the first ones, as the terminal has room
// for: a line that wraps can't be drawn over.
func (d *Display) fit(fields ...string) string {
	text := strings.Join(fields, "  ")
	file, ok := d.out.(*os.File)
	if !ok {
		return text
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil || width <= 0 {
		return text
	}
	for len(fields) > 1 && barSides+utf8.RuneCountInString(text) > width {
		fields = fields[:len(fields)-1]
		text = strings.Join(fields, "  ")
	}
	return text
}

// pace judges the time left by the latest logged steps. It counts from the end
// of the first, which has to be compiled, and counts what lies between steps:
// evaluations and checkpoints.
type pace struct {
	steps []int
	times []time.Time
}

func (p *pace) mark(step int, at time.Time) {
	p.steps, p.times = append(p.steps, step), append(p.times, at)
	if len(p.steps) > paceWindow {
		p.steps, p.times = p.steps[1:], p.times[1:]
	}
}

func (p *pace) left(steps int) (left time.Duration, known bool) {
	last := len(p.steps) - 1
	if last < 1 || p.steps[last] == p.steps[0] {
		return 0, false
	}
	each := p.times[last].Sub(p.times[0]).Seconds() / float64(p.steps[last]-p.steps[0])
	return time.Duration(each * float64(steps) * float64(time.Second)), true
}
