package ray

import (
	"bytes"
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
	"github.com/longform-go/longform/internal/testneeds"
)

// open is the launcher for the Ray of scripts/ray-for-tests.sh.
func open(t *testing.T) Launcher {
	t.Helper()
	return Launcher{Address: testneeds.Ray(t), Backoff: time.Second}
}

// wait returns the job's status once it is as wanted.
func wait(t *testing.T, l Launcher, id string, want func(launch.Status) bool) launch.Status {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		s, err := l.Status(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if want(s) {
			return s
		}
		if time.Now().After(deadline) || s.State.Ended() {
			var b bytes.Buffer
			_ = l.Logs(t.Context(), id, &b, false)
			t.Fatalf("the job is %+v, and has printed %q", s, b.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func ended(s launch.Status) bool { return s.State.Ended() }

func submit(t *testing.T, l Launcher, job launch.Job) string {
	t.Helper()
	if job.Dir == "" {
		job.Dir = t.TempDir()
	}
	job.Name = "test"
	id, err := l.Submit(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Cancel(context.Background(), id) })
	return id
}

func shell(text string) []string { return []string{"sh", "-c", text} }

func TestConformance(t *testing.T) {
	l := open(t)
	launchtest.Run(t, launchtest.Harness{
		New: func() launch.Launcher { return l },
		// Ray itself never sends SIGUSR2.
		Preempt: func(t *testing.T, id string) {
			_, command := processes(t, filepath.Dir(filepath.Dir(id)))
			signal(t, command, syscall.SIGUSR2)
		},
	})
}

// processes finds the script of the job in a directory, and the command below it.
func processes(t *testing.T, dir string) (script, command int) {
	t.Helper()
	in := func(pid string) bool {
		cwd, err := os.Readlink("/proc/" + pid + "/cwd")
		return err == nil && cwd == dir
	}
	parent := func(pid string) string {
		stat, _ := os.ReadFile("/proc/" + pid + "/stat")
		if f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(f) > 1 {
			return f[1]
		}
		return ""
	}
	all, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		// The first of those in the directory is the script, the command is its child.
		if above := parent(p.Name()); in(p.Name()) && in(above) && !in(parent(above)) {
			script, _ = strconv.Atoi(above)
			command, _ = strconv.Atoi(p.Name())
			return script, command
		}
	}
	t.Fatalf("no process in %s", dir)
	return 0, 0
}

// signal sends to one of the job's processes.
func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// TestScriptKilled kills the script, as Ray does when a job's supervisor is gone: the command may not stay behind.
func TestScriptKilled(t *testing.T) {
	if _, err := exec.LookPath("setpriv"); err != nil {
		testneeds.Missing(t, "no setpriv, which tells the command; apt-get install util-linux brings it")
	}
	l := open(t)
	dir := t.TempDir()
	id := submit(t, l, launch.Job{Dir: dir,
		Command: shell(`trap 'echo saved >saved; exit 0' TERM; echo >ready; while :; do sleep 0.1; done`)})
	await(t, filepath.Join(dir, "ready"))
	script, _ := processes(t, dir)
	signal(t, script, syscall.SIGKILL)
	await(t, filepath.Join(dir, "saved"))
	if s := wait(t, l, id, ended); s.State != launch.Failed {
		t.Errorf("status %+v, want failed", s)
	}
}

// await waits for a file that a job makes.
func await(t *testing.T, file string) {
	t.Helper()
	for range 600 {
		if _, err := os.Stat(file); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("there is no", file)
}

// TestStarts runs a command that gives way once, fails once, and then succeeds.
func TestStarts(t *testing.T) {
	l := open(t)
	l.Restarts = 1
	id := submit(t, l, launch.Job{Command: shell(fmt.Sprintf(`
		echo "start in $PWD" >>starts
		case $(wc -l <starts) in 1) exit %d;; 2) exit 3;; esac
		echo "it's $WORD"`, launch.Requeue)), Env: map[string]string{"WORD": "a \"b\" $c"}})
	s := wait(t, l, id, ended)
	if want := (launch.Status{State: launch.Succeeded, Restarts: 1, Preemptions: 1}); s != want {
		t.Errorf("status %+v, want %+v", s, want)
	}
	var b bytes.Buffer
	if err := l.Logs(t.Context(), id, &b, false); err != nil {
		t.Fatal(err)
	}
	if want := "launch: exit status 3; it is started again in 1 s\nit's a \"b\" $c\n"; b.String() != want {
		t.Errorf("it printed %q, want %q", b.String(), want)
	}
}

func TestFailures(t *testing.T) {
	l := open(t)
	l.Restarts = 1
	for _, test := range []struct {
		command []string
		want    launch.Status
	}{
		{shell("exit 3"), launch.Status{State: launch.Failed, Exit: 3, Reason: "exit status 3", Restarts: 1}},
		{[]string{"/no/such/program"}, launch.Status{State: launch.Failed, Exit: 127, Reason: "exit status 127"}},
	} {
		id := submit(t, l, launch.Job{Command: test.command})
		if s := wait(t, l, id, ended); s != test.want {
			t.Errorf("%q: status %+v, want %+v", test.command, s, test.want)
		}
	}
}

// TestCancelGivesTime cancels a command that needs longer to save than the 3 seconds that Ray gives of its own.
func TestCancelGivesTime(t *testing.T) {
	l := open(t)
	dir := t.TempDir()
	id := submit(t, l, launch.Job{Dir: dir, Notice: 30 * time.Second,
		Command: shell(`trap 'sleep 5; echo saved >saved; exit 0' TERM; echo >ready; while :; do sleep 0.1; done`)})
	await(t, filepath.Join(dir, "ready"))
	if err := l.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if s := wait(t, l, id, ended); s.State != launch.Cancelled {
		t.Errorf("status %+v, want cancelled", s)
	}
	if _, err := os.Stat(filepath.Join(dir, "saved")); err != nil {
		t.Errorf("it wasn't given the time to save: %v", err)
	}
	if err := l.Cancel(t.Context(), id); err != nil {
		t.Errorf("cancelling it again: %v", err)
	}
}

// TestArrayWaitsForResources runs three copies where there is room for one (Ray counts 4 CPUs).
func TestArrayWaitsForResources(t *testing.T) {
	l := open(t)
	id := submit(t, l, launch.Job{Array: 3, CPUs: 3, Command: shell(`
		mkdir running || exit 9
		sleep 0.3; rmdir running; echo "$LONGFORM_ARRAY_INDEX done"`)})
	var b bytes.Buffer
	if err := l.Logs(t.Context(), id, &b, true); err != nil {
		t.Fatal(err)
	}
	if s, err := l.Status(t.Context(), id); err != nil || s.State != launch.Succeeded {
		t.Errorf("status %+v, %v", s, err)
	}
	for _, line := range []string{"0: 0 done\n", "1: 1 done\n", "2: 2 done\n"} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no %q in %q", line, b.String())
		}
	}
}

// TestCancelBeforeStart cancels a job that waits for resources. It must not run its command to the end when it gets them.
func TestCancelBeforeStart(t *testing.T) {
	l := open(t)
	first := submit(t, l, launch.Job{CPUs: 3, Command: shell("sleep 100")})
	wait(t, l, first, func(s launch.Status) bool { return s.State == launch.Running })
	second := submit(t, l, launch.Job{CPUs: 3, Command: shell("sleep 100")})
	for _, id := range []string{second, first} {
		if err := l.Cancel(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{first, second} {
		if s := wait(t, l, id, ended); s.State != launch.Cancelled {
			t.Errorf("status %+v, want cancelled", s)
		}
	}
}

// TestForgotten is about jobs that Ray knows nothing of: files say what became of them, and without files there is no job.
func TestForgotten(t *testing.T) {
	l := open(t)
	for _, test := range []struct {
		events string
		want   launch.Status
	}{
		{"", launch.Status{State: launch.Failed, Reason: "Ray has forgotten the job: its head was started anew; launch it again"}},
		{"requeue\nrestart\nended 0\n", launch.Status{State: launch.Succeeded, Restarts: 1, Preemptions: 1}},
		{"ended 3\n", launch.Status{State: launch.Failed, Exit: 3, Reason: "exit status 3"}},
		{"requeue\nstopped\n", launch.Status{State: launch.Cancelled, Preemptions: 1}},
	} {
		id := filepath.Join(t.TempDir(), "ray-forgotten")
		if err := os.WriteFile(id+".events", []byte(test.events), 0o644); err != nil {
			t.Fatal(err)
		}
		if s, err := l.Status(t.Context(), id); err != nil || s != test.want {
			t.Errorf("%q: status %+v, %v, want %+v", test.events, s, err, test.want)
		}
		if err := l.Cancel(t.Context(), id); err != nil {
			t.Errorf("%q: cancelling it: %v", test.events, err)
		}
	}
}

// TestRefused checks what is refused before Ray is asked.
func TestRefused(t *testing.T) {
	for _, job := range []launch.Job{{Memory: "lots"}, {Memory: "-1G"}, {Memory: "1X"}} {
		if text, err := (Launcher{}).Render(job); err == nil {
			t.Errorf("%+v gave %s", job, text)
		}
	}
}

// TestNoHead asks an address where nobody listens.
func TestNoHead(t *testing.T) {
	dir := t.TempDir()
	_, err := Launcher{Address: "http://127.0.0.1:1"}.Submit(t.Context(), launch.Job{Name: "x", Dir: dir, Command: []string{"true"}})
	if err == nil || !strings.Contains(err.Error(), "no answer from the dashboard") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "launch")); len(left) > 0 {
		t.Errorf("%v is left of a job that there isn't", left)
	}
}
