package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/longform-go/longform/internal/durable"
)

// Mark gives a checkpoint of the run another name, such as "best", in place of
// the one that had it. Retain keeps it.
func Mark(runDir, name, dir string) error {
	root := filepath.Join(runDir, checkpoints)
	target := strings.TrimSuffix(filepath.Base(dir), replaced)
	if name == latest || name != filepath.Base(name) || strings.HasPrefix(name, ".") || stepPattern.MatchString(name) {
		return fmt.Errorf("mark checkpoint %s: %q can't be the name of a mark", target, name)
	}
	if resolve(root, target) == "" {
		return fmt.Errorf("mark checkpoint as %s: %s isn't a checkpoint of %s", name, dir, runDir)
	}
	if err := setPointer(root, name, target); err != nil {
		return fmt.Errorf("mark checkpoint %s as %s: %w", target, name, explain(err, root, block))
	}
	return nil
}

// Marked is the directory that a mark names. Where the mark was never set, the
// error is ErrNone.
func Marked(runDir, name string) (dir string, err error) {
	root := filepath.Join(runDir, checkpoints)
	target, err := pointer(root, name)
	if err != nil {
		return "", fmt.Errorf("checkpoint marked as %s: %w", name, err)
	}
	if target == "" {
		return "", fmt.Errorf("%w marked as %s in %s", ErrNone, name, root)
	}
	if dir = resolve(root, target); dir == "" {
		return "", fmt.Errorf("checkpoint marked as %s: %s is missing", name, filepath.Join(root, target))
	}
	return dir, nil
}

// resolve is the directory of a checkpoint, which may have been set aside;
// empty where there is none.
func resolve(root, name string) string {
	dir := filepath.Join(root, name)
	for _, path := range []string{dir, dir + replaced} {
		if stepPattern.MatchString(name) && exists(path) {
			return path
		}
	}
	return ""
}

// setPointer makes root/name a file that names a checkpoint, durably and at once.
func setPointer(root, name, target string) error {
	temp := filepath.Join(root, temporary+name)
	defer os.Remove(temp) // gone after the rename
	hook("write " + name)
	if err := writeFile(temp, []byte(target+"\n")); err != nil {
		return err
	}
	hook("rename " + name)
	if err := os.Rename(temp, filepath.Join(root, name)); err != nil {
		return err
	}
	hook("sync after " + name)
	return durable.SyncDir(root)
}

// pointer reads what setPointer wrote; empty where there is none.
func pointer(root, name string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(root, name))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	target := strings.TrimSpace(string(raw))
	if !stepPattern.MatchString(target) {
		return "", fmt.Errorf("%s doesn't name a checkpoint; write the name of one into it", filepath.Join(root, name))
	}
	return target, nil
}

// marks are the checkpoints that some pointer names. Files that name none are
// someone else's.
func marks(root string) (map[string]bool, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	marked := map[string]bool{}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if target, err := pointer(root, e.Name()); err == nil {
			marked[target] = true
		}
	}
	return marked, nil
}
