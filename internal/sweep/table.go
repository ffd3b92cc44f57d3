package sweep

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/sweep/journal"
)

// Number writes a metric or a parameter in four digits or so.
func Number(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }

// Summary tells in a line or two how far the sweep is and what is best.
func (s *Study) Summary(trials []journal.Trial) string {
	counts := map[journal.State]int{}
	for _, t := range trials {
		counts[t.State]++
	}
	text := fmt.Sprintf("%s  %d of %d trials", s.Config.Name, len(trials)-counts[journal.Running], s.Trials)
	for _, state := range []journal.State{journal.Running, journal.Complete, journal.Pruned, journal.Fail} {
		if counts[state] > 0 {
			text += fmt.Sprintf("  %d %s", counts[state], state)
		}
	}
	if left, known := s.left(trials); known {
		text += "  eta " + rundir.Duration(left)
	}
	text += "\n"
	if best, found := s.Best(trials); found {
		text += fmt.Sprintf("best  %s %s  trial %d  %s\n", s.Config.Metric.Name, Number(*best.Value), best.Number, strings.Join(s.short(best), "  "))
	}
	return text
}

// left judges by the trials that are finished how long the others will take.
func (s *Study) left(trials []journal.Trial) (left time.Duration, known bool) {
	var took time.Duration
	finished := 0
	for _, t := range trials {
		if t.State == journal.Complete || t.State == journal.Pruned {
			took += t.End.Sub(t.Start)
			finished++
		}
	}
	waiting := s.Trials - finished - failed(trials)
	if finished == 0 || waiting <= 0 {
		return 0, false
	}
	return took / time.Duration(finished) * time.Duration(waiting) / time.Duration(s.Config.Parallel), true
}

// short is a trial's settings with numbers of a few digits.
func (s *Study) short(t journal.Trial) []string {
	settings := s.Settings(t)
	for i, setting := range settings {
		key, _, _ := strings.Cut(setting, "=")
		if x, ok := t.Params[key].Value.(float64); ok {
			settings[i] = key + "=" + Number(x)
		}
	}
	return settings
}

// Rows is a table of trials, a line each, with a heading.
func (s *Study) Rows(trials []journal.Trial) []string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "trial\tstate\tstep\t%s\ttime", s.Config.Metric.Name)
	for _, p := range s.Space {
		fmt.Fprintf(w, "\t%s", p.Name)
	}
	fmt.Fprintln(w)
	for _, t := range trials {
		step, value := latest(t)
		took := time.Since(t.Start)
		if !t.End.IsZero() {
			took = t.End.Sub(t.Start)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s", t.Number, t.State, step, value, rundir.Duration(took))
		for _, p := range s.Space {
			text := "-"
			if v, active := t.Params[p.Name]; active {
				text = fmt.Sprint(v.Value)
				if x, ok := v.Value.(float64); ok {
					text = Number(x)
				}
			}
			fmt.Fprintf(w, "\t%s", text)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // into memory
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// latest is the last step that a trial reported, and its value: the final one where it
// has that.
func latest(t journal.Trial) (step, value string) {
	last := math.MinInt
	for at := range t.Intermediate {
		last = max(last, at)
	}
	step, value = "-", "-"
	if x, ok := t.Intermediate[last]; ok {
		step, value = strconv.Itoa(last), Number(x)
	}
	if t.Value != nil {
		value = Number(*t.Value)
	}
	return step, value
}

// Table shows a sweep to the person who waits for it: a table that is drawn over on a
// terminal, and elsewhere a line whenever something happens to a trial.
type Table struct {
	out      io.Writer
	terminal bool
	drawn    int // lines
	last     string
	states   map[int]string
	workers  string
}

// NewTable shows the sweep on out; terminal says whether that is one.
func NewTable(out io.Writer, terminal bool) *Table {
	return &Table{out: out, terminal: terminal}
}

// Terminal says whether the table is drawn over.
func (v *Table) Terminal() bool { return v.terminal }

// Update implements Viewer.
func (v *Table) Update(s *Study, trials []journal.Trial, workers string) {
	if v.terminal {
		v.draw(s, trials, workers)
		return
	}
	if workers != v.workers {
		v.workers = workers
		if workers != "" {
			fmt.Fprintln(v.out, "workers  "+workers)
		}
	}
	first := v.states == nil
	if first {
		v.states = map[int]string{}
	}
	for _, t := range trials {
		state := t.State.String()
		if t.State == journal.Running {
			state += t.Lease.Worker
		}
		was := v.states[t.Number]
		v.states[t.Number] = state
		if state == was || first && t.State.Finished() {
			continue
		}
		if was == "" && t.State.Finished() { // it began since the last look, too
			fmt.Fprintln(v.out, s.starts(t))
		}
		fmt.Fprintln(v.out, s.event(trials, t, was != "" || first))
	}
}

func (s *Study) starts(t journal.Trial) string {
	return fmt.Sprintf("trial %d  starts  %s", t.Number, strings.Join(s.short(t), "  "))
}

// event tells what happened to a trial.
func (s *Study) event(trials []journal.Trial, t journal.Trial, again bool) string {
	step, value := latest(t)
	what := fmt.Sprintf("trial %d  ", t.Number)
	switch t.State {
	case journal.Running:
		if again {
			return what + "goes on  " + strings.Join(s.short(t), "  ")
		}
		return s.starts(t)
	case journal.Complete:
		what += fmt.Sprintf("complete  %s %s", s.Config.Metric.Name, value)
	case journal.Pruned:
		what += fmt.Sprintf("pruned at step %s  %s %s", step, s.Config.Metric.Name, value)
	case journal.Fail:
		what += "failed: " + attribute[string](t.User, errorAttr)
	default:
		return what + t.State.String()
	}
	if best, found := s.Best(trials); found {
		what += fmt.Sprintf("  best %s (trial %d)", Number(*best.Value), best.Number)
	}
	return what
}

// draw draws over what it drew before: the trials under way, then those that ended last,
// as many as the terminal has room for.
func (v *Table) draw(s *Study, trials []journal.Trial, workers string) {
	width, height := 80, 24
	if file, ok := v.out.(*os.File); ok {
		if w, h, err := term.GetSize(int(file.Fd())); err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
	}
	shown := slices.Clone(trials)
	slices.SortStableFunc(shown, func(a, b journal.Trial) int {
		running := func(t journal.Trial) int {
			if t.State == journal.Running {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(running(a), running(b)), b.End.Compare(a.End), cmp.Compare(a.Number, b.Number))
	})
	lines := strings.Split(strings.TrimSuffix(s.Summary(trials), "\n"), "\n")
	if workers != "" {
		lines = append(lines, "workers  "+workers)
	}
	lines = append(lines, s.Rows(shown)...)
	if len(lines) > height-1 {
		lines = lines[:height-1]
	}
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.drawn)
	}
	for _, line := range lines {
		if utf8.RuneCountInString(line) > width { // a line that wraps can't be drawn over
			line = string([]rune(line)[:width])
		}
		b.WriteString(line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	v.drawn = len(lines)
	if text := b.String(); text != v.last {
		v.last = text
		fmt.Fprint(v.out, text)
	}
}
