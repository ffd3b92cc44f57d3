package slurm_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/launch/slurm"
	"github.com/longform-go/longform/internal/testneeds"
)

// counting counts to $1 and stops and saves when told; what it has done is in the file steps.
const counting = `
step=$(cat saved 2>/dev/null || echo 0)
trap 'stop=1' USR2 TERM
echo $$ $PPID >pids
while [ $step -lt $1 ]; do
	[ -z "$stop" ] || { echo $step >saved; exit 75; }
	step=$((step + 1)); echo $step >>steps; sleep 0.1
done`

func submit(t *testing.T, script, steps string, change func(*launch.Job)) (launch.Job, string) {
	t.Helper()
	job := launch.Job{
		Name: "ends", Dir: t.TempDir(), Command: []string{"/bin/sh", "-c", script, "job", steps}, CPUs: 1,
		Time: 10 * time.Minute, Notice: time.Minute, Extra: map[string]string{"partition": "low"},
	}
	if change != nil {
		change(&job)
	}
	id, err := slurm.Launcher{}.Submit(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command(t, "scancel", number(t, id)) })
	return job, id
}

// await waits until the job's status is what ok wants.
func await(t *testing.T, id string, ok func(launch.Status) bool) launch.Status {
	t.Helper()
	var s launch.Status
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var err error
		if s, err = (slurm.Launcher{}).Status(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if ok(s) {
			return s
		}
	}
	t.Fatalf("the job stays %+v; %s", s, command(t, "scontrol", "show", "job", number(t, id)))
	return s
}

func in(state launch.State) func(launch.Status) bool {
	return func(s launch.Status) bool { return s.State == state }
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	for range 600 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("no " + path)
}

// once checks that each step was done once.
func once(t *testing.T, dir string, want int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "steps"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(text)); len(got) != want || got[0] != "1" {
		t.Errorf("%d steps done, want %d: %v", len(got), want, got)
	}
}

// TestTimeLimit: a job is told before its time is up, and goes on in a further portion of time. Slurm looks at time limits
// twice a minute, and one minute is the least that it knows.
func TestTimeLimit(t *testing.T) {
	testneeds.Slurm(t)
	t.Parallel()
	job, id := submit(t, counting, "700", func(j *launch.Job) { j.Time, j.Notice = time.Minute, 30*time.Second })
	await(t, id, in(launch.Preempted))
	s := await(t, id, func(s launch.Status) bool { return s.State == launch.Running && s.Preemptions == 1 })
	if s.Restarts != 0 {
		t.Errorf("status %+v", s)
	}
	awaitFile(t, filepath.Join(job.Dir, "saved"))
}

// TestCopyGivesWay: of an array, the copy that is told gives way and goes on, and the others aren't disturbed.
func TestCopyGivesWay(t *testing.T) {
	testneeds.Slurm(t)
	t.Parallel()
	const script = "mkdir -p copy-$" + launch.ArrayIndex + "\ncd copy-$" + launch.ArrayIndex + counting
	job, id := submit(t, script, "60", func(j *launch.Job) { j.Array, j.Extra["partition"] = 2, "steady" })
	for i := range job.Array {
		awaitFile(t, filepath.Join(job.Dir, fmt.Sprint("copy-", i), "steps"))
	}
	if s := await(t, id, in(launch.Running)); s.Copies != (launch.Copies{Going: 2}) {
		t.Errorf("status %+v, want two copies under way", s)
	}
	// The one that was started last has the array's own number.
	command(t, "scancel", "--batch", "--signal=USR2", number(t, id)+"_1")
	if s := await(t, id, in(launch.Succeeded)); s.Preemptions != 1 || s.Restarts != 0 || s.Copies != (launch.Copies{Succeeded: 2}) {
		t.Errorf("status %+v, want one preemption and both copies done", s)
	}
	for i := range job.Array {
		once(t, filepath.Join(job.Dir, fmt.Sprint("copy-", i)), 60)
	}
}

// TestTimeout: a job that doesn't heed the notice fails, and the reason says what to do.
func TestTimeout(t *testing.T) {
	testneeds.Slurm(t)
	t.Parallel()
	_, id := submit(t, `trap '' USR2 TERM; while :; do sleep 1; done`, "", func(j *launch.Job) { j.Time, j.Notice = time.Minute, 30*time.Second })
	if s := await(t, id, in(launch.Failed)); !strings.Contains(s.Reason, "time limit") {
		t.Errorf("status %+v", s)
	}
}

// TestPreemptedWithoutNotice: with no more than Slurm's SIGTERM a job saves, and Slurm requeues it.
func TestPreemptedWithoutNotice(t *testing.T) {
	testneeds.Slurm(t)
	job, id := submit(t, counting, "60", func(j *launch.Job) { j.Extra["partition"] = "low-at-once" })
	awaitFile(t, filepath.Join(job.Dir, "steps"))
	preempt(t, id)
	if s := await(t, id, in(launch.Succeeded)); s.Preemptions != 1 || s.Restarts != 0 {
		t.Errorf("status %+v, want one preemption", s)
	}
	once(t, job.Dir, 60)
}

// TestNodeFailure: when a node goes down with all that runs there, Slurm requeues its jobs, which isn't a preemption.
func TestNodeFailure(t *testing.T) {
	testneeds.Slurm(t)
	job, id := submit(t, counting, "50", nil)
	awaitFile(t, filepath.Join(job.Dir, "steps"))
	node := command(t, "squeue", "--noheader", "--format=%N", "--jobs", number(t, id))
	kill(t, filepath.Join(filepath.Dir(os.Getenv("SLURM_CONF")), "slurmd-"+node+".pid"))
	t.Cleanup(func() { command(t, "slurmd", "-N", node) })
	kill(t, filepath.Join(job.Dir, "pids"))
	if s := await(t, id, in(launch.Succeeded)); s.Restarts != 1 || s.Preemptions != 0 {
		t.Errorf("status %+v, want one restart that is no preemption", s)
	}
}

// kill ends the processes whose numbers are in a file, and those of Slurm that watch over them, without a word.
func kill(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // state, parent, ...
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			t.Fatal(err)
		}
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent)); err == nil && strings.HasPrefix(string(name), "slurmstepd") {
			if err := syscall.Kill(parent, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
}

// TestToldBeforeItListens: the notice ends a program that is only being started, which is no failure.
func TestToldBeforeItListens(t *testing.T) {
	testneeds.Slurm(t)
	t.Parallel()
	_, id := submit(t, `[ -e again ] || { touch again; kill -USR2 $$; }`, "", nil)
	if s := await(t, id, func(s launch.Status) bool { return s.State.Ended() }); s.State != launch.Succeeded {
		t.Errorf("status %+v, want it started again", s)
	}
}

// TestCancelledInTheQueue: a job that gave way and waits is gone once it is cancelled.
func TestCancelledInTheQueue(t *testing.T) {
	testneeds.Slurm(t)
	job, id := submit(t, counting, "600", nil)
	awaitFile(t, filepath.Join(job.Dir, "steps"))
	command(t, "scancel", "--batch", "--signal=USR2", number(t, id))
	await(t, id, in(launch.Preempted))
	if err := (slurm.Launcher{}).Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	await(t, id, in(launch.Cancelled))
}

// TestArrayGivesWay: each task of an array is requeued by itself, the one too whose number as a job is that of the array.
func TestArrayGivesWay(t *testing.T) {
	testneeds.Slurm(t)
	t.Parallel()
	const tasks = 3
	job, id := submit(t, `mkdir -p $LONGFORM_ARRAY_INDEX; cd $LONGFORM_ARRAY_INDEX`+counting, "60", func(j *launch.Job) { j.Array = tasks })
	for task := range tasks {
		awaitFile(t, filepath.Join(job.Dir, strconv.Itoa(task), "steps"))
	}
	command(t, "scancel", "--batch", "--signal=USR2", number(t, id))
	if s := await(t, id, func(s launch.Status) bool { return s.State.Ended() }); s.State != launch.Succeeded || s.Preemptions != tasks || s.Restarts != 0 {
		t.Errorf("status %+v, want %d preemptions", s, tasks)
	}
	for task := range tasks {
		once(t, filepath.Join(job.Dir, strconv.Itoa(task)), 60)
	}
}

// TestRefused: what Slurm says is wrong with a job is told.
func TestRefused(t *testing.T) {
	testneeds.Slurm(t)
	t.Parallel()
	job := launch.Job{Name: "refused", Dir: t.TempDir(), Command: []string{"true"}, Extra: map[string]string{"partition": "nosuch"}}
	if _, err := (slurm.Launcher{}).Submit(t.Context(), job); err == nil || !strings.Contains(err.Error(), "invalid partition") {
		t.Errorf("error %v", err)
	}
}

// TestForgotten: Slurm forgets jobs; what their scripts wrote down stays.
func TestForgotten(t *testing.T) {
	testneeds.Slurm(t)
	t.Parallel()
	const unknown = "4000000"
	tests := []struct {
		name, events string
		want         launch.Status
	}{
		{"done", "start n1\nended 0\n", launch.Status{State: launch.Succeeded}},
		{"failed", "start n1\nended 3\n", launch.Status{State: launch.Failed, Exit: 3, Reason: "exit status 3"}},
		{"preempted twice, node lost once, done", "start n1\ntold USR2\nrequeue\nstart n1\ntold TERM\nended 75\nstart n2\nstart n1\nended 0\n",
			launch.Status{State: launch.Succeeded, Preemptions: 2, Restarts: 1}},
		{"killed while it saved", "start n1\ntold USR2\ntold TERM\n",
			launch.Status{State: launch.Failed, Reason: "Slurm has forgotten the job, whose time was up before it had saved; give it more notice"}},
		{"cancelled in the queue", "start n1\ntold USR2\nrequeue\n", launch.Status{State: launch.Cancelled}},
		{"cancelled", "start n1\ntold TERM\nended 75\n", launch.Status{State: launch.Cancelled}},
		{"not requeued", "start n1\ntold USR2\nrequeue\nrefused\nended 75\n", launch.Status{State: launch.Failed, Exit: 75, Reason: "exit status 75"}},
	}
	for _, tt := range tests {
		id := filepath.Join(t.TempDir(), "slurm-"+unknown)
		if err := os.WriteFile(id+".events", []byte(tt.events), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := (slurm.Launcher{}).Status(t.Context(), id); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
}

// TestRender compares the options with what sbatch's manual calls them.
func TestRender(t *testing.T) {
	text, err := slurm.Launcher{}.Render(launch.Job{
		Name: "run", Dir: "/data/my runs/a", Command: []string{"/bin/train", "launch", "worker", "it's"}, Env: map[string]string{"B": "two words", "A": "1"},
		GPUs: 1, CPUs: 16, Memory: "64G", Time: 26*time.Hour + 90*time.Second, Array: 4, Notice: 2 * time.Minute,
		Extra: map[string]string{"partition": "gpu", "account": "me", "image": "another launcher's"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `#!/bin/bash
#SBATCH --job-name="run"
#SBATCH --chdir="/data/my runs/a"
#SBATCH --array=0-3
#SBATCH --output="/data/my runs/a/launch/slurm-%A_%a.out"
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gres=gpu:1
#SBATCH --mem=64G
#SBATCH --time=1-02:01:30
#SBATCH --signal=B:USR2@120
#SBATCH --partition="gpu"
#SBATCH --account="me"
`
	if !strings.HasPrefix(text, want) {
		t.Errorf("got %s\nwant first %s", text, want)
	}
	for _, part := range []string{"\nstem='/data/my runs/a/launch/slurm'-", "\nexport A=1\nexport B='two words'\n", "\n/bin/train launch worker 'it'\\''s' &\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in %s", part, text)
		}
	}
}
