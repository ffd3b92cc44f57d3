package kubernetes

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/launch/launchtest"
	"github.com/longform-go/longform/internal/testneeds"
)

var update = flag.Bool("update", false, "write testdata anew; then see that the API server accepts it")

// extra is for jobs in temporary directories.
var extra = map[string]string{"image": "registry.example.com/longform:1", "volume": "runs:/"}

var data = map[string]string{"image": "registry.example.com/longform:1", "volume": "runs:/data"}

var manifests = map[string]launch.Job{
	"job": {Name: "OPT 6.7B", Dir: "/data/runs/opt", Command: []string{"train", "run", "-c", "a b.yaml", "x=$(y)"},
		Env: map[string]string{"B": "$$", "A": "multi\nline"}, GPUs: 1, CPUs: 8, Memory: "64G", Time: 24 * time.Hour, Notice: 5 * time.Minute,
		Extra: map[string]string{"image": "registry.example.com/longform:1", "volume": "runs:/data", "namespace": "lab"}},
	"array": {Name: "t5-lr", Dir: "/data/sweeps/t5", Command: []string{"train", "sweep", "worker"}, GPUs: 1, Array: 8, Extra: data},
}

// TestRender compares with manifests that a real API server has accepted (TestApply), and that its validation accepts (TestValidated).
func TestRender(t *testing.T) {
	for name, job := range manifests {
		t.Run(name, func(t *testing.T) {
			got, err := Launcher{Restarts: 3}.Render(job)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs:\n%s", file, got)
			}
		})
	}
}

// TestValidated gives them to the code with which an API server decodes and validates Jobs (scripts/kubernetes/validate),
// and sees that it refuses mistakes.
func TestValidated(t *testing.T) {
	program := os.Getenv("LONGFORM_KUBERNETES_VALIDATE")
	if program == "" {
		testneeds.Missing(t, "LONGFORM_KUBERNETES_VALIDATE doesn't name what go build makes of scripts/kubernetes/validate")
	}
	validate := func(text string) (string, error) {
		cmd := exec.Command(program)
		cmd.Stdin = strings.NewReader(text)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for name, job := range manifests {
		text, err := Launcher{Restarts: 3}.Render(job)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := validate(text); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		for right, wrong := range map[string]string{
			"podReplacementPolicy:":   "podReplacmentPolicy:",
			"restartPolicy: Never":    "restartPolicy: Always",
			"completionMode: Indexed": "completionMode: indexed",
			"containerName: run":      "containerName: walk",
		} {
			mistaken := strings.Replace(text, right, wrong, 1)
			if out, err := validate(mistaken); mistaken == text || err == nil || !strings.HasPrefix(out, "validate: ") {
				t.Errorf("%s with %s: %v, %s; want it refused", name, wrong, err, out)
			}
		}
	}
}

// TestNoKubectl is about what a person reads who has none, or no cluster.
func TestNoKubectl(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	submit := func(want string) {
		t.Helper()
		_, err := Launcher{}.Submit(t.Context(), manifests["job"])
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want a line with %q", err, want)
		}
	}
	submit("there is no kubectl here; install it")
	const script = "#!/bin/sh\necho warning >&2; echo 'The connection to the server localhost:8080 was refused' >&2; exit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	submit("kubectl create: The connection to the server localhost:8080 was refused")
}

// TestRotated: a cluster drops the first part of what a pod has printed, which a follower has seen.
func TestRotated(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	read := reader("lab/Job/x", "lab", 0)
	var got string
	for _, output := range []string{"one\ntwo\n", "one\ntwo\nthree\n", "four\n", "four\nfive\n"} {
		script := fmt.Sprintf("#!/bin/sh\nif [ $1 = get ]; then echo '{\"items\":[{\"metadata\":{\"name\":\"p\"},\"status\":{\"phase\":\"Running\"}}]}'; else printf '%s'; fi\n", output)
		if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		text, err := read(t.Context(), int64(len(got)))
		if err != nil {
			t.Fatal(err)
		}
		got += string(text)
	}
	if want := "one\ntwo\nthree\nfour\nfive\n"; got != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

// TestApply gives what Render returns to kubectl apply. The server refuses fields and values that it doesn't know.
func TestApply(t *testing.T) {
	useServer(t)
	for name, job := range manifests {
		t.Run(name, func(t *testing.T) {
			job.Extra = data // no namespace
			text, err := Launcher{Restarts: 3}.Render(job)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kubectl(t.Context(), []byte(text), "apply", "--filename=-", "--validate=strict", "--dry-run=server"); err != nil {
				t.Error(err)
			}
			wrong := strings.Replace(text, "podReplacementPolicy:", "podReplacmentPolicy:", 1)
			if _, err := kubectl(t.Context(), []byte(wrong), "apply", "--filename=-", "--validate=strict", "--dry-run=server"); err == nil {
				t.Error("the server accepts an unknown field, so it checks nothing")
			}
		})
	}
}

func TestRefused(t *testing.T) {
	good := manifests["job"]
	for want, change := range map[string]func(*launch.Job){
		"no image":            func(j *launch.Job) { delete(j.Extra, "image") },
		"the volume is \"\"":  func(j *launch.Job) { delete(j.Extra, "volume") },
		"want CLAIM:/PATH":    func(j *launch.Job) { j.Extra["volume"] = "runs:data" },
		"isn't in the volume": func(j *launch.Job) { j.Dir = "/home/me/runs" },
		"memory is \"-1G\"":   func(j *launch.Job) { j.Memory = "-1G" },
		"memory is \"lots\"":  func(j *launch.Job) { j.Memory = "lots" },
		"no name for a job":   func(j *launch.Job) { j.Name = "7b" },
	} {
		job := good
		job.Extra = map[string]string{}
		for k, v := range good.Extra {
			job.Extra[k] = v
		}
		change(&job)
		if _, err := (Launcher{}).Render(job); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestConformance(t *testing.T) {
	n := startNode(t)
	launchtest.Run(t, launchtest.Harness{
		New:   func() launch.Launcher { return Launcher{} },
		Extra: extra,
		Preempt: func(t *testing.T, id string) {
			// As by hand: a pod that is evicted takes its output with it.
			n.mu.Lock()
			defer n.mu.Unlock()
			if err := syscall.Kill(n.pids[podName(t, id)], syscall.SIGUSR2); err != nil {
				t.Fatal(err)
			}
		},
		Patience: 2 * time.Minute,
	})
}

// podName is that of the newest pod of a job.
func podName(t *testing.T, id string) string {
	t.Helper()
	pods, err := podsOf(t.Context(), id)
	if err != nil || len(pods[0]) == 0 {
		t.Fatalf("no pods of %s: %v", id, err)
	}
	return pods[0][len(pods[0])-1].Name
}

func submit(t *testing.T, l Launcher, dir, script string) string {
	t.Helper()
	id, err := l.Submit(t.Context(), launch.Job{Name: "test", Dir: dir, Command: []string{"/bin/sh", "-c", script}, Extra: extra})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// await waits for a state, and fails at the end of the job in another.
func await(t *testing.T, l Launcher, id string, want launch.State) launch.Status {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		s, err := l.Status(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if s.State == want {
			return s
		}
		if s.State.Ended() || time.Now().After(end) {
			t.Fatalf("status %+v, want %s", s, want)
		}
	}
}

// TestEviction evicts a pod twice: each time its command is told, saves, and goes on in another pod, though no failure is
// allowed.
func TestEviction(t *testing.T) {
	n := startNode(t)
	dir := t.TempDir()
	l := Launcher{}
	id := submit(t, l, dir, fmt.Sprintf(`
step=$(cat saved 2>/dev/null || echo 0)
trap 'stop=1' USR2
trap 'echo told too late >>steps; exit 0' TERM
while [ $step -lt 60 ]; do
	[ -z "$stop" ] || { sleep 1; echo $step >saved; exit %d; }
	step=$((step + 1)); echo $step >>steps; sleep 0.1
done`, launch.Requeue))
	for range 2 {
		await(t, l, id, launch.Running)
		time.Sleep(time.Second)
		name := podName(t, id)
		n.call(http.MethodPost, "/api/v1/namespaces/default/pods/"+name+"/eviction",
			`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q}}`, name)
		for end := time.Now().Add(time.Minute); podName(t, id) == name; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the pod has no successor")
			}
		}
	}
	if s := await(t, l, id, launch.Succeeded); s.Preemptions != 2 || s.Restarts != 0 {
		t.Errorf("status %+v, want 2 preemptions and no restart", s)
	}
	text, err := os.ReadFile(filepath.Join(dir, "steps"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 60 {
		want = append(want, fmt.Sprint(i+1))
	}
	if got := strings.Fields(string(text)); !slices.Equal(got, want) {
		t.Errorf("steps done: %v", got)
	}
}

// TestRestart runs a command that fails once, where one restart is allowed.
func TestRestart(t *testing.T) {
	startNode(t)
	l := Launcher{Restarts: 1}
	id := submit(t, l, t.TempDir(), `echo start; [ -e tried ] || { echo >tried; exit 3; }`)
	if s := await(t, l, id, launch.Succeeded); s.Restarts != 1 || s.Preemptions != 0 {
		t.Errorf("status %+v, want one restart", s)
	}
	var b bytes.Buffer
	if err := l.Logs(t.Context(), id, &b, true); err != nil || b.String() != "start\nstart\n" {
		t.Errorf("logs %q, %v, want those of both starts", b.String(), err)
	}
}

// TestTime runs a command for longer than the job may take.
func TestTime(t *testing.T) {
	startNode(t)
	dir := t.TempDir()
	l := Launcher{Restarts: 1}
	id, err := l.Submit(t.Context(), launch.Job{Name: "test", Dir: dir, Time: 2 * time.Second, Extra: extra,
		Command: []string{"/bin/sh", "-c", fmt.Sprintf(`trap 'echo >saved; exit %d' USR2; while :; do sleep 0.1; done`, launch.Requeue)}})
	if err != nil {
		t.Fatal(err)
	}
	if s := await(t, l, id, launch.Failed); !strings.Contains(s.Reason, "deadline") {
		t.Errorf("status %+v, want a reason with the deadline", s)
	}
	if _, err := os.Stat(filepath.Join(dir, "saved")); err != nil {
		t.Error("it wasn't told:", err)
	}
}
