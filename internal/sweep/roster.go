package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/launch"
)

// A Launchers gives what launches jobs as a configuration says.
type Launchers func(configs.Launch) launch.Launcher

// A set is workers that were submitted together, as one job.
type set struct {
	Number   int            `json:"number"` // from 1; each of its workers is told
	Workers  int            `json:"workers"`
	Launch   configs.Launch `json:"launch"`
	ID       string         `json:"id"`       // of the job; empty: it is being submitted
	Stopping bool           `json:"stopping"` // it was told to end for good
	Ended    bool           `json:"ended"`
}

// The roster is what the driver keeps of the workers that were submitted, by number. The
// driver alone writes it.
func (d Dir) roster() string { return d.join("launch", "workers.json") }

// cancelled is a file that whoever cancels makes before ending any worker, so that the
// driver starts no others. The next driver removes it.
func (d Dir) cancelled() string { return d.join("launch", "cancelled") }

func (d Dir) readRoster() ([]*set, error) {
	text, err := os.ReadFile(d.roster())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var sets []*set
	if err == nil {
		err = json.Unmarshal(text, &sets)
	}
	if err != nil {
		return nil, fmt.Errorf("read which workers were submitted from %s: %w", d.roster(), err)
	}
	return sets, nil
}

func (d Dir) writeRoster(sets []*set) error {
	text, err := json.MarshalIndent(sets, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(d.roster()), 0o755); err != nil {
		return fmt.Errorf("sweep directory: %w", err)
	}
	return write(d.roster(), append(text, '\n'))
}

// dismissed says whether the workers of a set are not wanted any more: they were
// cancelled, or the driver died while it submitted them and doesn't know their job.
func (d Dir) dismissed(number int) (bool, error) {
	if exists(d.cancelled()) {
		return true, nil
	}
	sets, err := d.readRoster()
	if err != nil {
		return false, err
	}
	return number > len(sets) || sets[number-1].Stopping || sets[number-1].Ended, nil
}

// CancelWorkers ends the workers that were submitted; they save first. A driver that
// looks on starts no others.
func (s *Study) CancelWorkers(ctx context.Context, launchers Launchers) error {
	none := fmt.Errorf("%s has no workers elsewhere; those on this machine end with their driver: press Ctrl-C there", s.Dir)
	if !exists(s.Dir.roster()) {
		return none
	}
	if err := write(s.Dir.cancelled(), nil); err != nil {
		return err
	}
	sets, err := s.Dir.readRoster()
	if err != nil {
		return err
	}
	found := false
	for _, set := range sets {
		if set.Ended || set.ID == "" {
			continue
		}
		found = true
		if e := launchers(set.Launch).Cancel(ctx, set.ID); e != nil && !errors.Is(e, launch.ErrUnknown) {
			err = errors.Join(err, e)
		}
	}
	if !found {
		return none
	}
	return err
}

// Workers tells how the workers are doing that were submitted, a line for each job.
func (s *Study) Workers(ctx context.Context, launchers Launchers) ([]string, error) {
	sets, err := s.Dir.readRoster()
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, set := range sets {
		if set.Ended || set.ID == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, answer)
		status, err := launchers(set.Launch).Status(ctx, set.ID)
		cancel()
		text := describe(status)
		if err != nil {
			text = err.Error()
		}
		lines = append(lines, fmt.Sprintf("workers  %s  %s", set.ID, text))
	}
	return lines, nil
}

// describe tells a status in a few words.
func describe(s launch.Status) string {
	switch {
	case s.Copies != (launch.Copies{}):
		return s.Reason // which counts the copies
	case s.Reason != "":
		return fmt.Sprintf("%s: %s", s.State, s.Reason)
	}
	return string(s.State)
}

// answer is how long a launcher may take over a question.
const answer = time.Minute
