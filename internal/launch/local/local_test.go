package local_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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

// signal sends to a process whose number is in a file.
func signal(t *testing.T, file string, s syscall.Signal) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	launchtest.Run(t, launchtest.Harness{
		New:     launcher,
		Preempt: func(t *testing.T, id string) { signal(t, filepath.Join(id, "pid"), syscall.SIGUSR2) },
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

// TestKilled: when all of a job's processes are killed at once, its status says so.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir, id := start(t, `echo $$ >pid; exec sleep 600`, nil)
	for range 100 {
		if text, _ := os.ReadFile(filepath.Join(dir, "pid")); len(text) > 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	supervisor, err := os.ReadFile(filepath.Join(id, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(supervisor)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil { // its group: the supervisor and its copies
		t.Fatal(err)
	}
	signal(t, filepath.Join(dir, "pid"), syscall.SIGKILL)
	if s := await(t, id, launch.Failed); !strings.Contains(s.Reason, "submit it again") {
		t.Errorf("status %+v", s)
	}
}

// TestGPUs: copies get GPUs of their own, wait while there are too few, and a job that wants more than the host has is
// refused. What a program sees of GPUs is CUDA_VISIBLE_DEVICES, so that names of GPUs which don't exist will do.
func TestGPUs(t *testing.T) {
	names := []string{fmt.Sprintf("%d-a", os.Getpid()), fmt.Sprintf("%d-b", os.Getpid()), fmt.Sprintf("%d-c", os.Getpid())}
	t.Cleanup(func() {
		for _, name := range names {
			os.Remove(fmt.Sprintf("/tmp/longform-gpus-%d/%s", os.Getuid(), name))
		}
	})
	t.Setenv("CUDA_VISIBLE_DEVICES", strings.Join(names, ","))
	_, id := start(t, `echo $CUDA_VISIBLE_DEVICES
for gpu in $(echo $CUDA_VISIBLE_DEVICES | tr , ' '); do mkdir $gpu || exit 1; done
sleep 0.5
for gpu in $(echo $CUDA_VISIBLE_DEVICES | tr , ' '); do rmdir $gpu; done`, func(j *launch.Job) { j.GPUs, j.Array = 1, 4 })
	if s := await(t, id, launch.Succeeded); s.Restarts != 0 {
		t.Errorf("status %+v: two copies had the same GPU at a time", s)
	}
	var logs strings.Builder
	if err := launcher().Logs(t.Context(), id, &logs, false); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(logs.String(), "-"); lines != 4 {
		t.Errorf("GPUs of 4 copies: %s", logs.String())
	}
	job := launch.Job{Name: "test", Dir: t.TempDir(), Command: []string{"true"}, GPUs: 4}
	if _, err := launcher().Submit(t.Context(), job); err == nil || !strings.Contains(err.Error(), "wants 4 GPUs, and this host has 3") {
		t.Errorf("error %v", err)
	}
}
