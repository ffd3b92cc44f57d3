package rundir

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Summary is what Done tells of a run. Fields left zero aren't printed, except
// for the losses.
type Summary struct {
	Step       int           // the last step done
	Time       time.Duration // wall-clock time of training
	Steps      int           // steps done in that time
	Tokens     int64         // input tokens in that time, without padding
	FirstLoss  float32       // of the run's first step
	LastLoss   float32       // of its last
	Best       *Eval         // best evaluation
	PeakMemory int64         // bytes of device memory
	Checkpoint string        // directory of the last checkpoint
	Plots      string        // directory of the plots
	Resume     string        // the command that goes on, where the run was stopped
	Generate   string        // the command that generates from the checkpoint
}

// Done removes the bar and prints the closing summary.
func (d *Display) Done(s Summary) {
	d.Close()
	fmt.Fprint(d.out, s.text(d.total))
}

func (s Summary) text(total int) string {
	var b strings.Builder
	if s.Step < total {
		fmt.Fprintf(&b, "stopped after step %s of %s\n", Commas(int64(s.Step)), Commas(int64(total)))
	} else {
		fmt.Fprintf(&b, "done after step %s\n", Commas(int64(s.Step)))
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	speed := ""
	if seconds := s.Time.Seconds(); seconds > 0 {
		speed = fmt.Sprintf(", %s tokens/s", Commas(int64(math.Round(float64(s.Tokens)/seconds))))
	}
	row("time", "%s for %s steps, %s tokens%s", Duration(s.Time), Commas(int64(s.Steps)), Short(s.Tokens), speed)
	row("loss", "%s at first, %s at last", decimal(float64(s.FirstLoss), 3), decimal(float64(s.LastLoss), 3))
	if s.Best != nil {
		row("validation", "%s at best, after step %s", decimal(s.Best.Loss, 3), Commas(int64(s.Best.Step)))
	}
	if s.PeakMemory > 0 {
		row("peak memory", "%s", Bytes(s.PeakMemory))
	}
	for _, r := range [][2]string{
		{"checkpoint", s.Checkpoint}, {"plots", s.Plots}, {"go on with", s.Resume}, {"generate", s.Generate},
	} {
		if r[1] != "" {
			row(r[0], "%s", r[1])
		}
	}
	return b.String()
}
