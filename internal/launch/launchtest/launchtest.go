// Package launchtest says what every launcher does, as tests that each has to pass.
package launchtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/launch"
)

// Harness is a launcher under test.
type Harness struct {
	// New returns the launcher. Tests use each for one call, as a process would that is started anew each time.
	New func() launch.Launcher
	// Extra goes into each job.
	Extra map[string]string
	// Preempt takes the resources from a running job and gives them back later; nil where that can't be made to happen.
	Preempt func(t *testing.T, id string)
	// Patience is how long a job may take to get somewhere; 0 is a minute.
	Patience time.Duration
	// NoArray says that the launcher runs no arrays.
	NoArray bool
	// NoLimits says that the launcher refuses limits of time, memory and CPUs.
	NoLimits bool
}

// Run tests the launcher. Its jobs are small shell scripts, so they need no more than /bin/sh where they run, in the
// test's temporary directories.
func Run(t *testing.T, h Harness) {
	if h.Patience == 0 {
		h.Patience = time.Minute
	}
	t.Run("success", h.success)
	t.Run("failure", h.failure)
	t.Run("failed start", h.failedStart)
	t.Run("cancel", h.cancel)
	t.Run("preempt and resume", h.preempt)
	t.Run("array", h.array)
	t.Run("unknown job", h.unknown)
}

func (h Harness) job(t *testing.T, script string, args ...string) launch.Job {
	job := launch.Job{
		Name:    "launchtest",
		Dir:     t.TempDir(),
		Command: append([]string{"/bin/sh", "-c", script, "job"}, args...),
		Env:     map[string]string{"GREETING": `it's "quoted" $HOME`},
		Notice:  time.Minute,
		Extra:   h.Extra,
	}
	if !h.NoLimits {
		job.CPUs, job.Time = 1, 10*time.Minute
	}
	return job
}

func (h Harness) submit(t *testing.T, job launch.Job) string {
	t.Helper()
	id, err := h.New().Submit(t.Context(), job)
	if err != nil {
		t.Fatal("Submit:", err)
	}
	t.Cleanup(func() {
		if err := h.New().Cancel(context.Background(), id); err != nil {
			t.Error("Cancel at the end:", err)
		}
	})
	return id
}

// await waits for the job to be in one of the states, and fails when it ends in another.
func (h Harness) await(t *testing.T, id string, states ...launch.State) launch.Status {
	t.Helper()
	for end := time.Now().Add(h.Patience); ; time.Sleep(100 * time.Millisecond) {
		s, err := h.New().Status(t.Context(), id)
		if err != nil {
			t.Fatal("Status:", err)
		}
		switch {
		case slices.Contains(states, s.State):
			return s
		case s.State.Ended() || time.Now().After(end):
			var logs bytes.Buffer
			err := h.New().Logs(t.Context(), id, &logs, false)
			t.Fatalf("the job is %+v, want %v; its logs (%v):\n%s", s, states, err, logs.String())
		}
	}
}

// awaitFile waits for a file that the job makes.
func (h Harness) awaitFile(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(h.Patience); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		} else if time.Now().After(end) {
			t.Fatal("the job doesn't get to its first step:", err)
		}
	}
}

func (h Harness) logs(t *testing.T, id string, follow bool) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), h.Patience)
	defer cancel()
	var out bytes.Buffer
	if err := h.New().Logs(ctx, id, &out, follow); err != nil {
		t.Fatal("Logs:", err)
	}
	return out.String()
}

// success: the command runs in the directory with its variables, and everything that it prints is in the logs, once.
func (h Harness) success(t *testing.T) {
	t.Parallel()
	job := h.job(t, `echo "$GREETING"; pwd -P; echo "$1"; sleep 2; echo last >&2`, "two words; $(false)")
	rendered, err := h.New().Render(job)
	if err != nil || !strings.Contains(rendered, "sleep 2") {
		t.Fatalf("Render: %v; it has to show the command:\n%s", err, rendered)
	}
	id := h.submit(t, job)
	followed := h.logs(t, id, true)
	if s := h.await(t, id, launch.Succeeded); s.Exit != 0 || s.Restarts != 0 || s.Preemptions != 0 {
		t.Errorf("status %+v", s)
	}
	dir, err := filepath.EvalSymlinks(job.Dir)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("it's \"quoted\" $HOME\n%s\ntwo words; $(false)\nlast\n", dir)
	if !strings.Contains(followed, want) || strings.Count(followed, "last") != 1 {
		t.Errorf("followed logs %q, want %q in them", followed, want)
	}
	if later := h.logs(t, id, false); later != followed {
		t.Errorf("logs later %q, followed %q", later, followed)
	}
	if err := h.New().Cancel(t.Context(), id); err != nil {
		t.Error("Cancel after the end:", err)
	}
	h.await(t, id, launch.Succeeded)
}

func (h Harness) failure(t *testing.T) {
	t.Parallel()
	id := h.submit(t, h.job(t, "echo trying; exit 3"))
	if s := h.await(t, id, launch.Failed); s.Exit != 3 || s.Reason == "" || s.Preemptions != 0 {
		t.Errorf("status %+v, want exit 3 and a reason", s)
	}
	if logs := h.logs(t, id, true); !strings.Contains(logs, "trying") {
		t.Errorf("logs %q", logs)
	}
}

// failedStart: a command that doesn't exist is told of by Submit or by Status, with a reason.
func (h Harness) failedStart(t *testing.T) {
	t.Parallel()
	job := h.job(t, "")
	job.Command = []string{"/nonexistent/train", "run"}
	id, err := h.New().Submit(t.Context(), job)
	if err != nil {
		return
	}
	if s := h.await(t, id, launch.Failed); s.Exit == 0 || s.Reason == "" {
		t.Errorf("status %+v, want an exit status and a reason", s)
	}
}

// cancel: the process is told, gets to save, and doesn't come back.
func (h Harness) cancel(t *testing.T) {
	t.Parallel()
	job := h.job(t, `trap 'echo saved >saved; exit 75' USR2 TERM; while :; do date +%s%N >beat; echo >started; sleep 0.1; done`)
	id := h.submit(t, job)
	h.awaitFile(t, filepath.Join(job.Dir, "started"))
	h.await(t, id, launch.Running)
	if err := h.New().Cancel(t.Context(), id); err != nil {
		t.Fatal("Cancel:", err)
	}
	h.await(t, id, launch.Cancelled)
	if _, err := os.Stat(filepath.Join(job.Dir, "saved")); err != nil {
		t.Error("the job got no chance to save:", err)
	}
	beat := func() string {
		text, err := os.ReadFile(filepath.Join(job.Dir, "beat"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before := beat()
	time.Sleep(time.Second)
	if beat() != before {
		t.Error("the job's process goes on")
	}
}

// preempt: a job that counts steps, saves at the notice and goes on where it was does each step once.
func (h Harness) preempt(t *testing.T) {
	if h.Preempt == nil {
		t.Skip("this launcher's jobs can't be made to give way here")
	}
	// Not in parallel with the others, which would have to give way, too.
	const steps = 40
	job := h.job(t, `
step=$(cat saved 2>/dev/null || echo 0)
trap 'stop=1' USR2 TERM
while [ $step -lt $1 ]; do
	[ -z "$stop" ] || { echo $step >saved; exit 75; }
	step=$((step + 1)); echo step $step; echo $step >>steps; sleep 0.1
done`, strconv.Itoa(steps))
	id := h.submit(t, job)
	h.awaitFile(t, filepath.Join(job.Dir, "steps"))
	h.await(t, id, launch.Running)
	h.Preempt(t, id)
	s := h.await(t, id, launch.Succeeded)
	if s.Preemptions != 1 || s.Restarts != 0 {
		t.Errorf("status %+v, want one preemption and no restart", s)
	}
	var want strings.Builder
	for i := range steps {
		fmt.Fprintln(&want, i+1)
	}
	got, err := os.ReadFile(filepath.Join(job.Dir, "steps"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want.String() {
		t.Errorf("steps done: %s", strings.Fields(string(got)))
	}
	logs := h.logs(t, id, false)
	for i := range steps {
		if line := fmt.Sprintf("step %d\n", i+1); strings.Count(logs, line) != 1 {
			t.Errorf("the logs have %q %d times", line, strings.Count(logs, line))
		}
	}
}

// array: each copy knows its number, and one that fails makes the job fail.
func (h Harness) array(t *testing.T) {
	if h.NoArray {
		t.Skip("this launcher runs no arrays")
	}
	t.Parallel()
	job := h.job(t, `echo copy "$`+launch.ArrayIndex+`"; [ "$`+launch.ArrayIndex+`" != 1 ] || exit 5`)
	job.Array = 3
	id := h.submit(t, job)
	s := h.await(t, id, launch.Failed)
	if s.Exit != 5 {
		t.Errorf("status %+v, want exit 5", s)
	}
	if s.Copies != (launch.Copies{}) && s.Copies != (launch.Copies{Succeeded: 2, Failed: 1}) {
		t.Errorf("status %+v, want one of three copies failed, or none counted", s)
	}
	logs := h.logs(t, id, false)
	for i := range job.Array {
		if line := fmt.Sprintf("copy %d\n", i); !strings.Contains(logs, line) {
			t.Errorf("the logs lack %q:\n%s", line, logs)
		}
	}
}

func (h Harness) unknown(t *testing.T) {
	t.Parallel()
	for _, id := range []string{filepath.Join(t.TempDir(), "launch", "slurm-99999999"), "nothing"} {
		if s, err := h.New().Status(t.Context(), id); !errors.Is(err, launch.ErrUnknown) {
			t.Errorf("Status of %s: %+v, %v; want ErrUnknown", id, s, err)
		}
		if err := h.New().Cancel(t.Context(), id); !errors.Is(err, launch.ErrUnknown) {
			t.Errorf("Cancel of %s: %v; want ErrUnknown", id, err)
		}
	}
}
