package checkpoint

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// saveAndDie saves a checkpoint of step $CHECKPOINT_TEST_STEP with fill 8 and
// is killed, as kill -9 would do it, at the n-th step of the commit. It prints
// the steps.
func saveAndDie() {
	run := os.Getenv("CHECKPOINT_TEST_RUN")
	step, _ := strconv.Atoi(os.Getenv("CHECKPOINT_TEST_STEP"))
	n, _ := strconv.Atoi(os.Getenv("CHECKPOINT_TEST_DIE"))
	hook = func(step string) {
		os.Stdout.WriteString(step + "\n")
		if n--; n == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if _, err := Save(run, snapshot(step, 8)); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

// crash runs saveAndDie and returns the steps it went through, and whether it
// came to the end.
func crash(t *testing.T, run string, step, n int) (steps []string, finished bool) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "CHECKPOINT_TEST_TASK=save", "CHECKPOINT_TEST_RUN="+run,
		"CHECKPOINT_TEST_STEP="+strconv.Itoa(step), "CHECKPOINT_TEST_DIE="+strconv.Itoa(n))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("saving process: %v: %s", err, stderr.String())
	}
	return strings.Split(strings.TrimSpace(stdout.String()), "\n"), err == nil
}

// TestCrash kills a process at each step of a commit. Whatever the step, the
// last good checkpoint is the one before or the new one, whole; the next save
// works, and nothing is left over.
func TestCrash(t *testing.T) {
	for _, c := range []struct {
		name  string
		step  int // saved over a run that has step 1
		steps []string
	}{
		{"next step", 2, []string{
			"make the directory",
			"write config.json", "write tokenizer.json", "write model.safetensors", "write training_state.safetensors",
			"write manifest.json", "sync the directory",
			"rename", "sync the parent", "remove the old one",
			"write latest", "rename latest", "sync after latest",
		}},
		{"same step", 1, []string{
			"make the directory",
			"write config.json", "write tokenizer.json", "write model.safetensors", "write training_state.safetensors",
			"write manifest.json", "sync the directory",
			"set the old one aside", "rename", "sync the parent", "remove the old one",
			"write latest", "rename latest", "sync after latest",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			renamed := slices.Index(c.steps, "rename")
			for n := 1; ; n++ {
				run := t.TempDir()
				save(t, run, snapshot(1, 7))
				steps, finished := crash(t, run, c.step, n)
				if finished {
					want(t, steps, c.steps)
					wantLast(t, run, c.step, 8)
					return
				}
				want(t, steps, c.steps[:n])
				var skipped []error
				if n-1 <= renamed { // killed before the rename
					skipped = wantLast(t, run, 1, 7)
				} else {
					skipped = wantLast(t, run, c.step, 8)
				}
				if len(skipped) > 0 {
					t.Errorf("killed before %q: skipped %v", steps[n-1], skipped)
				}
				save(t, run, snapshot(3, 9))
				wantLast(t, run, 3, 9)
				if err := Retain(run, 1); err != nil {
					t.Error(err)
				}
				want(t, names(t, root(run)), []string{"latest", "step-000003"})
			}
		})
	}
}

// TestCrashTidied checks that Retain, too, removes what a crash left, and puts
// back a checkpoint that was set aside.
func TestCrashTidied(t *testing.T) {
	run := t.TempDir()
	save(t, run, snapshot(1, 7))
	if steps, _ := crash(t, run, 1, 9); steps[8] != "rename" {
		t.Fatalf("killed at %q", steps[8])
	}
	want(t, names(t, root(run)), []string{".tmp-step-000001", "latest", "step-000001.replaced"})
	if err := Mark(run, "best", root(run)+"/step-000001.replaced"); err != nil {
		t.Error(err)
	}
	if dir, err := Marked(run, "best"); err != nil || dir != root(run)+"/step-000001.replaced" {
		t.Errorf("best is %s, %v", dir, err)
	}
	if err := Retain(run, 0); err != nil {
		t.Error(err)
	}
	want(t, names(t, root(run)), []string{"best", "latest", "step-000001"})
	wantLast(t, run, 1, 7)
}
