package tracking

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/rundir"
)

// tensorBoard writes one event file for each time that the run is started or
// resumed.
type tensorBoard struct {
	config configs.Config
	dir    rundir.Dir
	after  int
	file   *os.File
}

func (t *tensorBoard) write(p point) error { return t.append(scalars(p)) }

func (t *tensorBoard) append(m message) error {
	_, err := t.file.Write(record(m))
	return err
}

func (t *tensorBoard) close(Outcome) error { return t.file.Close() }

// open begins the next event file. The first one of a run has the configuration
// and what was logged before.
func (t *tensorBoard) open() error {
	dir := t.dir.TensorBoard()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	earlier, err := fs.Glob(os.DirFS(dir), "events.out.tfevents.*")
	if err != nil {
		return err
	}
	now := time.Now()
	// TensorBoard reads a directory's files in the order of their names, and wants no more of an earlier one once it has
	// begun a later.
	number := now.Unix()
	for _, name := range earlier {
		var n int64
		if _, err := fmt.Sscanf(name, "events.out.tfevents.%d.", &n); err == nil {
			number = max(number, n+1)
		}
	}
	t.file, err = os.OpenFile(filepath.Join(dir, fmt.Sprintf("events.out.tfevents.%010d.longform", number)), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if len(earlier) > 0 {
		return errors.Join(t.append(fileVersion(now)), t.append(sessionStart(now, t.after+1)))
	}
	yaml, err := t.config.YAML()
	if err != nil {
		return err
	}
	before, err := history(t.dir.Metrics())
	if err != nil {
		return err
	}
	err = errors.Join(t.append(fileVersion(now)),
		t.append(markdown(now, "config", indented(string(yaml)))), t.append(hyperparameters(now, t.config.All())))
	for _, p := range before {
		if p.step <= t.after {
			err = errors.Join(err, t.append(scalars(p)))
		}
	}
	return err
}

// indented is text as a block of code in Markdown.
func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ") + "\n"
}
