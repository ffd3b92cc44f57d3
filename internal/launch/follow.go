package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Log is what one copy of a job prints.
type Log struct {
	Prefix string // of each line, unless there is one copy only
	// Read returns what was printed from the offset on, in bytes; nothing where there is no output yet.
	Read func(ctx context.Context, offset int64) ([]byte, error)
}

// File is the Read of a log that is a file here.
func File(name string) func(context.Context, int64) ([]byte, error) {
	return func(_ context.Context, offset int64) ([]byte, error) {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read a job's output: %w", err)
		}
		defer f.Close()
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return nil, fmt.Errorf("read a job's output: %w", err)
		}
		return io.ReadAll(f)
	}
}

// Follow writes logs to w and, with follow, what is added to them until ended says that nothing will be. It looks again
// after each interval.
func Follow(ctx context.Context, w io.Writer, logs []Log, interval time.Duration, follow bool, ended func(context.Context) (bool, error)) error {
	if len(logs) == 1 {
		logs[0].Prefix = ""
	}
	offsets := make([]int64, len(logs))
	// Output without a line's end is written when it is whole, or when no more comes.
	write := func(last bool) error {
		for i, l := range logs {
			text, err := l.Read(ctx, offsets[i])
			if err != nil {
				return err
			}
			if l.Prefix != "" && !last {
				text = text[:bytes.LastIndexByte(text, '\n')+1]
			}
			offsets[i] += int64(len(text))
			if l.Prefix == "" {
				if _, err := w.Write(text); err != nil {
					return err
				}
				continue
			}
			for line := range bytes.Lines(text) {
				if _, err := fmt.Fprintf(w, "%s%s\n", l.Prefix, bytes.TrimSuffix(line, []byte("\n"))); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for follow {
		done, err := ended(ctx) // before reading: what comes in between isn't missed
		if err != nil {
			return err
		}
		if done {
			break
		}
		if err := write(false); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval):
		}
	}
	return write(true)
}

// Combine is the status of an array job, from those of its copies: what is to come before what has been.
func Combine(copies []Status) Status {
	var all Status
	count := map[State]int{}
	first := map[State]Status{}
	for _, s := range copies {
		if count[s.State]++; count[s.State] == 1 {
			first[s.State] = s
		}
		all.Restarts += s.Restarts
		all.Preemptions += s.Preemptions
		all.Copies.add(s)
	}
	for _, state := range []State{Running, Preempted, Pending, Failed, Cancelled, Succeeded} {
		if s, ok := first[state]; ok {
			all.State, all.Reason, all.Exit = s.State, s.Reason, s.Exit
			break
		}
	}
	if len(copies) > 1 {
		text := ""
		for _, state := range []State{Running, Preempted, Pending, Failed, Cancelled, Succeeded} {
			if count[state] > 0 {
				text += fmt.Sprintf(", %d %s", count[state], state)
			}
		}
		if all.Reason != "" {
			text += ": " + all.Reason
		}
		all.Reason = text[len(", "):]
	}
	if len(copies) == 1 {
		all.Copies = copies[0].Copies
	}
	return all
}

// add counts a copy, or a part of an array.
func (c *Copies) add(s Status) {
	if part := s.Copies; part != (Copies{}) {
		c.Going += part.Going
		c.Succeeded += part.Succeeded
		c.Failed += part.Failed
		c.Cancelled += part.Cancelled
		return
	}
	switch s.State {
	case Succeeded:
		c.Succeeded++
	case Failed:
		c.Failed++
	case Cancelled:
		c.Cancelled++
	default:
		c.Going++
	}
}
