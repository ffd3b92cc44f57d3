package local_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/launch/launchtest"
	"github.com/longform-go/longform/internal/launch/local"
)

func launcher() launch.Launcher {
	return local.Launcher{Restarts: 1, Backoff: time.Second, Grace: 5 * time.Second}
}

// keeper is the process that looks after a job's first copy.
func keeper(t *testing.T, id string) int {
	t.Helper()
	var pid, child int
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		// The child may be at work before the keeper has written down that there is one.
		text, err := os.ReadFile(filepath.Join(id, "0.pid"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(text), &pid, &child); err == nil {
			return pid
		}
	}
	t.Fatal("the keeper doesn't know of a child")
	return 0
}

func kill(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd waits until a process that was killed has ended: the kill itself doesn't.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, fs.ErrNotExist) || err == nil && strings.Contains(string(text), ") Z ") {
			return
		}
	}
	t.Fatalf("process %d lives on", pid)
}

func TestConformance(t *testing.T) {
	launchtest.Run(t, launchtest.Harness{
		New:      launcher,
		NoLimits: true,
		Preempt:  func(t *testing.T, id string) { kill(t, keeper(t, id), syscall.SIGUSR2) },
	})
}

// start submits a job of a shell script and sees to it that it ends with the test.
func start(t *testing.T, script string, change func(*launch.Job)) (dir, id string) {
	t.Helper()
	job := launch.Job{Name: "test", Dir: t.TempDir(), Command: []string{"/bin/sh", "-c", script}}
	if change != nil {
		change(&job)
	}
	id, err := launcher().Submit(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := launcher().Cancel(context.Background(), id); err != nil {
			t.Error(err)
		}
	})
	return job.Dir, id
}

func await(t *testing.T, id string, state launch.State) launch.Status {
	t.Helper()
	var s launch.Status
	for range 600 {
		var err error
		if s, err = launcher().Status(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if s.State == state {
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("the job stays %+v, want %s", s, state)
	return s
}

// TestRestart: what fails once is started again, in a session that isn't the one of who submitted it.
func TestRestart(t *testing.T) {
	t.Parallel()
	_, id := start(t, `ps -o sid= -p $$; [ -e again ] || { echo >again; exit 7; }`, nil)
	if s := await(t, id, launch.Succeeded); s.Restarts != 1 || s.Preemptions != 0 {
		t.Errorf("status %+v, want one restart", s)
	}
	var logs strings.Builder
	if err := launcher().Logs(t.Context(), id, &logs, false); err != nil {
		t.Fatal(err)
	}
	own, err := exec.Command("ps", "-o", "sid=", "-p", strconv.Itoa(os.Getpid())).Output()
	if err != nil {
		t.Fatal(err)
	}
	if session := strings.Fields(logs.String())[0]; session == strings.TrimSpace(string(own)) {
		t.Error("the job is in the session of the test, and would die with it")
	}
}

// awaitFile waits for a file that the job makes, and returns what is in it.
func awaitFile(t *testing.T, path string) string {
	t.Helper()
	for range 200 {
		if text, err := os.ReadFile(path); err == nil && len(text) > 0 {
			return string(text)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("no " + path)
	return ""
}

// TestKilled: when all of a job's processes are killed at once, its status says so, to everyone who asks at a time.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir, id := start(t, `echo $$ >pid; exec sleep 600`, nil)
	pid, err := strconv.Atoi(strings.TrimSpace(awaitFile(t, filepath.Join(dir, "pid"))))
	if err != nil {
		t.Fatal(err)
	}
	kill(t, keeper(t, id), syscall.SIGKILL)
	kill(t, pid, syscall.SIGKILL)
	if s := await(t, id, launch.Failed); !strings.Contains(s.Reason, "submit it again") {
		t.Errorf("status %+v", s)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				if s, err := launcher().Status(t.Context(), id); err != nil || s.State != launch.Failed {
					t.Errorf("among others who ask: %+v, %v", s, err)
				}
			}
		})
	}
	all.Wait()
}

// TestCancelWithoutKeeper: a copy whose keeper was killed is told to end nevertheless.
func TestCancelWithoutKeeper(t *testing.T) {
	t.Parallel()
	dir, id := start(t, `trap 'exit 75' TERM; echo >started; while :; do sleep 0.1; done`, nil)
	awaitFile(t, filepath.Join(dir, "started"))
	pid := keeper(t, id)
	kill(t, pid, syscall.SIGKILL)
	awaitEnd(t, pid)
	if err := launcher().Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	await(t, id, launch.Cancelled)
}

// TestAtOnce: all copies are there as soon as Submit has returned, and can be cancelled before they have begun.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	job := launch.Job{Name: "test", Dir: t.TempDir(), Command: []string{"/bin/sh", "-c", "sleep 600; echo >late"}, Array: 12}
	id, err := launcher().Submit(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	copies, err := local.Launcher{}.Copies(t.Context(), id)
	if err != nil || len(copies) != job.Array {
		t.Errorf("%d copies, error %v; want %d", len(copies), err, job.Array)
	}
	if err := launcher().Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	await(t, id, launch.Cancelled)
}

// TestToldBeforeItListens: the notice ends a program that is only being started, which is no failure.
func TestToldBeforeItListens(t *testing.T) {
	t.Parallel()
	_, id := start(t, `[ -e again ] || { touch again; kill -USR2 $$; }`, nil)
	if s := await(t, id, launch.Succeeded); s.Preemptions != 1 || s.Restarts != 0 {
		t.Errorf("status %+v, want one preemption", s)
	}
}

// TestLeftBehind: what a copy leaves running ends with it.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	dir, id := start(t, `sleep 600 & echo $! >left`, nil)
	await(t, id, launch.Succeeded)
	pid := strings.TrimSpace(awaitFile(t, filepath.Join(dir, "left")))
	for range 100 {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a process of the job goes on")
}

// TestLimits: what nobody would see to is refused.
func TestLimits(t *testing.T) {
	for _, job := range []launch.Job{{Time: time.Hour}, {Memory: "64G"}, {CPUs: 8}} {
		job.Dir, job.Command = t.TempDir(), []string{"true"}
		if _, err := launcher().Submit(t.Context(), job); err == nil || !strings.Contains(err.Error(), "leave out launch.time") {
			t.Errorf("%+v: error %v", job, err)
		}
	}
}

// TestNoPlace: where the job's files can't be made, Submit says so.
func TestNoPlace(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// /proc takes no directories, not even root's.
	for _, dir := range []string{file, "/proc"} {
		_, err := launcher().Submit(t.Context(), launch.Job{Name: "test", Dir: dir, Command: []string{"true"}})
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "launch")+": mkdir: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one line with mkdir's", err)
		}
	}
}

// TestGPUs: copies get GPUs of their own, wait while there are too few, and a job that wants more than the host has is
// refused. What a program sees of GPUs is CUDA_VISIBLE_DEVICES, so that names of GPUs which don't exist will do.
func TestGPUs(t *testing.T) {
	// A slice of a GPU has slashes in its name.
	names := []string{fmt.Sprintf("MIG-%d/1/0", os.Getpid()), fmt.Sprintf("%d-b", os.Getpid()), fmt.Sprintf("%d-c", os.Getpid())}
	t.Cleanup(func() {
		for _, name := range names {
			os.Remove(fmt.Sprintf("/tmp/longform-gpus-%d/%s", os.Getuid(), strings.ReplaceAll(name, "/", "_")))
		}
	})
	t.Setenv("CUDA_VISIBLE_DEVICES", strings.Join(names, ","))
	_, id := start(t, `echo $CUDA_VISIBLE_DEVICES
gpu=$(echo $CUDA_VISIBLE_DEVICES | tr / _)
mkdir $gpu || exit 1
sleep 0.5
rmdir $gpu`, func(j *launch.Job) { j.GPUs, j.Array = 1, 4 })
	if s := await(t, id, launch.Succeeded); s.Restarts != 0 {
		t.Errorf("status %+v: two copies had the same GPU at a time", s)
	}
	var logs strings.Builder
	if err := launcher().Logs(t.Context(), id, &logs, false); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(logs.String(), fmt.Sprint(os.Getpid())); lines != 4 {
		t.Errorf("GPUs of 4 copies: %s", logs.String())
	}
	// A cancelled job leaves its GPUs to the next one at once, however long it might have taken to end.
	dir, id := start(t, `echo >started; sleep 600`, func(j *launch.Job) { j.GPUs = 3 })
	awaitFile(t, filepath.Join(dir, "started"))
	if err := launcher().Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	await(t, id, launch.Cancelled)
	for _, name := range names {
		file := fmt.Sprintf("/tmp/longform-gpus-%d/%s", os.Getuid(), strings.ReplaceAll(name, "/", "_"))
		if out, err := exec.Command("flock", "--timeout", "1", file, "true").CombinedOutput(); err != nil {
			t.Errorf("GPU %s is still held: %v: %s", name, err, out)
		}
	}
	job := launch.Job{Name: "test", Dir: t.TempDir(), Command: []string{"true"}, GPUs: 4}
	if _, err := launcher().Submit(t.Context(), job); err == nil || !strings.Contains(err.Error(), "wants 4 GPUs, and this host has 3") {
		t.Errorf("error %v", err)
	}
}
