package rundir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
)

// Metrics appends to a run's metrics log. It isn't for concurrent use.
type Metrics struct {
	file    *os.File
	size    int64
	tracker Tracker // nil: none
}

// A Tracker shows elsewhere what is logged. It returns at once, and what goes
// wrong there doesn't concern the run.
type Tracker interface {
	Step(Step)
	Eval(Eval)
}

// OpenMetrics opens the log at path for a run that goes on after the given
// step, 0 for a new one. What was logged of later steps is dropped, and a last
// line that a crash cut short, so that the log becomes the one of a run that
// was never interrupted.
func OpenMetrics(path string, after int) (*Metrics, error) {
	if err := truncate(path, after); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("metrics log %s: %w", path, cause(err))
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("metrics log %s: %w", path, cause(err))
	}
	return &Metrics{file: f, size: info.Size()}, nil
}

// Track hands every later record to t, once the log has it.
func (m *Metrics) Track(t Tracker) { m.tracker = t }

// Step logs a training step.
func (m *Metrics) Step(s Step) error {
	err := m.append(s)
	if err == nil && m.tracker != nil {
		m.tracker.Step(s)
	}
	return err
}

// Eval logs an evaluation.
func (m *Metrics) Eval(e Eval) error {
	err := m.append(e)
	if err == nil && m.tracker != nil {
		m.tracker.Eval(e)
	}
	return err
}

// append writes a whole line at once and takes back one that didn't fit.
func (m *Metrics) append(record any) error {
	text, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("metrics log %s: %w", m.file.Name(), err)
	}
	n, err := m.file.Write(append(text, '\n'))
	if err != nil {
		_ = m.file.Truncate(m.size) // what is left is cut off when the log is opened again
		return fmt.Errorf("metrics log %s: %w", m.file.Name(), cause(err))
	}
	m.size += int64(n)
	return nil
}

// Sync makes what was logged survive a power cut. Call it before a checkpoint
// is committed: the log must never lack steps that a checkpoint has.
func (m *Metrics) Sync() error {
	if err := m.file.Sync(); err != nil {
		return fmt.Errorf("metrics log %s: %w", m.file.Name(), cause(err))
	}
	return nil
}

// Close syncs and closes the log.
func (m *Metrics) Close() error { return errors.Join(m.Sync(), m.file.Close()) }

// ReadMetrics is what the log at path holds, in its order, without a last line
// that a crash cut short.
func ReadMetrics(path string) (steps []Step, evals []Eval, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("metrics log %s: %w", path, cause(err))
	}
	number := 0
	for line := range wholeLines(text) {
		number++
		var err error
		if bytes.Contains(line, []byte(`"eval_loss":`)) {
			evals = append(evals, Eval{})
			err = json.Unmarshal(line, &evals[len(evals)-1])
		} else {
			steps = append(steps, Step{})
			err = json.Unmarshal(line, &steps[len(steps)-1])
		}
		if err != nil {
			return nil, nil, fmt.Errorf("metrics log %s:%d: %w; delete the line", path, number, err)
		}
	}
	return steps, evals, nil
}

// truncate rewrites the log at path without the lines of steps later than
// after. A log that needs no change isn't touched; a missing one is empty.
func truncate(path string, after int) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("metrics log %s: %w", path, cause(err))
	}
	kept := make([]byte, 0, len(text))
	number := 0
	for line := range wholeLines(text) {
		number++
		var at struct{ Step int }
		if err := json.Unmarshal(line, &at); err != nil {
			return fmt.Errorf("metrics log %s:%d: %w; delete the line", path, number, err)
		}
		if at.Step <= after {
			kept = append(kept, line...)
		}
	}
	if len(kept) == len(text) {
		return nil
	}
	err = replace(path, func(f *os.File) error {
		_, err := f.Write(kept)
		return err
	})
	if err != nil {
		return fmt.Errorf("metrics log %s: %w", path, cause(err))
	}
	return nil
}

// wholeLines yields the lines of text with their line ends, and not what
// follows the last of those.
func wholeLines(text []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for line := range bytes.Lines(text) {
			if !bytes.HasSuffix(line, []byte("\n")) || !yield(line) {
				return
			}
		}
	}
}
