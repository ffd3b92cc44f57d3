package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/longform-go/longform/internal/durable"
)

const (
	checkpoints = "checkpoints"
	latest      = "latest"
	temporary   = ".tmp-"     // before the name of what isn't committed yet, or is being deleted
	replaced    = ".replaced" // after the name of a checkpoint while another takes its place
)

var stepPattern = regexp.MustCompile(`^step-(\d{6,18})(\.replaced)?$`)

func stepName(step int) string { return fmt.Sprintf("step-%06d", step) }

// candidate is a directory that looks like a checkpoint.
type candidate struct {
	name string
	step int
}

// candidates lists the checkpoints under root, newest first. One that is set
// aside comes after the one that takes its place.
func candidates(root string) ([]candidate, error) {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var found []candidate
	for _, e := range entries {
		if match := stepPattern.FindStringSubmatch(e.Name()); match != nil && e.IsDir() {
			step, err := strconv.Atoi(match[1])
			if err == nil {
				found = append(found, candidate{e.Name(), step})
			}
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.step, a.step), strings.Compare(a.name, b.name))
	})
	return found, nil
}

// ErrNone says that a run has no checkpoint at all.
var ErrNone = errors.New("no checkpoint")

// Last finds the checkpoint with the highest step that Verify accepts. Damaged
// ones that it passed over are told in skipped, each with the reason. The error
// is ErrNone where there is none, and another where all are damaged.
func Last(runDir string) (dir string, m Manifest, skipped []error, err error) {
	root := filepath.Join(runDir, checkpoints)
	found, err := candidates(root)
	if err != nil {
		return "", Manifest{}, nil, fmt.Errorf("look for checkpoints: %w", err)
	}
	for _, c := range found {
		dir := filepath.Join(root, c.name)
		m, err := Verify(dir)
		if err == nil {
			return dir, m, skipped, nil
		}
		skipped = append(skipped, err)
	}
	if len(skipped) > 0 {
		return "", Manifest{}, skipped, fmt.Errorf("no usable checkpoint in %s, %d damaged: %w", root, len(skipped), skipped[0])
	}
	return "", Manifest{}, nil, fmt.Errorf("%w in %s", ErrNone, root)
}

// Retain deletes all but the keep newest checkpoints. Those that latest or a
// mark names stay, and so do those with a higher step than latest: they are
// damaged or left over from before a resume, and don't count. With keep below
// 1 all stay. What an interrupted Save or Retain has left goes in any case.
func Retain(runDir string, keep int) error {
	writer.Lock()
	defer writer.Unlock()
	root := filepath.Join(runDir, checkpoints)
	if err := retain(root, keep); err != nil {
		return fmt.Errorf("delete old checkpoints: %w", explain(err, root, block))
	}
	return nil
}

func retain(root string, keep int) error {
	if err := tidy(root); err != nil || keep < 1 {
		return err
	}
	found, err := candidates(root)
	if err != nil {
		return err
	}
	last, err := pointer(root, latest)
	if err != nil {
		return err
	}
	marked, err := marks(root)
	if err != nil {
		return err
	}
	// Counting starts at latest; without it nothing is known to be good.
	from := slices.IndexFunc(found, func(c candidate) bool { return c.name == last })
	if from < 0 || len(found) <= from+keep {
		return nil
	}
	for _, c := range found[from+keep:] {
		if marked[c.name] {
			continue
		}
		if err := remove(root, c.name); err != nil {
			return err
		}
	}
	return durable.SyncDir(root)
}

// remove deletes a directory under a temporary name, so that a crash leaves no
// half of a checkpoint.
func remove(root, name string) error {
	temp := filepath.Join(root, temporary+name)
	if err := os.Rename(filepath.Join(root, name), temp); err != nil {
		return err
	}
	return os.RemoveAll(temp)
}

// tidy removes what an interrupted Save or Retain has left, and puts a
// checkpoint that was set aside back where no other has taken its place.
func tidy(root string) error {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(root, name)
		if final, ok := strings.CutSuffix(path, replaced); ok && stepPattern.MatchString(name) {
			if !exists(final) {
				if err := os.Rename(path, final); err != nil {
					return err
				}
				continue
			}
		} else if !strings.HasPrefix(name, temporary) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
