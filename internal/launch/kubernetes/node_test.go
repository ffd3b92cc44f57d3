package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A node plays scheduler and kubelet for a real API server: it takes every pod and runs its command as a process of this
// machine, in a PID namespace of its own as a container has. It has no images, no volumes and no limits on resources.
type node struct {
	t      *testing.T
	api    string // kubectl proxy's address
	name   string
	mu     sync.Mutex
	output map[string]*output // by pod
	pids   map[string]int     // of the process that is number 1 in its namespace, while it runs
	told   map[string]bool    // pods that were told to go
}

// output is what a container prints.
type output struct {
	mu   sync.Mutex
	text []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	return len(p), nil
}

// startNode starts a node for the API server of scripts/kubernetes-for-tests.sh, and points kubectl at the server.
func startNode(t *testing.T) *node {
	t.Helper()
	useServer(t)
	n := &node{t: t, name: fmt.Sprintf("node-%d", time.Now().UnixNano()), output: map[string]*output{}, pids: map[string]int{}, told: map[string]bool{}}
	proxy := exec.Command("kubectl", "proxy", "--port=0")
	out, err := proxy.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	size, _ := out.Read(line)
	_, address, ok := strings.Cut(strings.TrimSpace(string(line[:size])), "Starting to serve on ")
	if !ok {
		t.Fatalf("kubectl proxy says %q", line[:size])
	}
	n.api = "http://" + address

	kubelet := httptest.NewTLSServer(http.HandlerFunc(n.logs))
	where, _ := url.Parse(kubelet.URL)
	n.call(http.MethodPost, "/api/v1/nodes", `{"metadata":{"name":%q}}`, n.name)
	n.call(http.MethodPatch, "/api/v1/nodes/"+n.name+"/status", `{"status":{"addresses":[{"type":"InternalIP","address":"127.0.0.1"}],
		"daemonEndpoints":{"kubeletEndpoint":{"Port":%s}},"conditions":[{"type":"Ready","status":"True"}]}}`, where.Port())

	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				n.look()
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		n.mu.Lock()
		for _, pid := range n.pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		n.mu.Unlock()
		kubelet.Close()
		_ = proxy.Process.Kill()
		_ = proxy.Wait()
	})
	return n
}

// useServer points kubectl at the test's server, or skips the test.
func useServer(t *testing.T) {
	t.Helper()
	config := os.Getenv("LONGFORM_KUBECONFIG")
	if config == "" {
		t.Skip(`no Kubernetes to test with: eval "$(scripts/kubernetes-for-tests.sh)" starts one`)
	}
	if old, ok := os.LookupEnv("KUBECONFIG"); ok {
		t.Cleanup(func() { _ = os.Setenv("KUBECONFIG", old) })
	} else {
		t.Cleanup(func() { _ = os.Unsetenv("KUBECONFIG") })
	}
	_ = os.Setenv("KUBECONFIG", config) // t.Setenv is not for tests that have parallel ones below them
}

// call sends JSON to the API server and returns the answer. What failed with 404 or 409 is left for the next look.
func (n *node) call(method, path, body string, args ...any) []byte {
	kind := "application/json"
	if method == http.MethodPatch {
		kind = "application/strategic-merge-patch+json"
	}
	r, err := http.NewRequest(method, n.api+path, strings.NewReader(fmt.Sprintf(body, args...)))
	if err != nil {
		n.t.Error(err)
		return nil
	}
	r.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 400 && resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusConflict {
		n.t.Errorf("%s %s: %s", method, path, text)
	}
	return text
}

// logs answers what the API server asks a kubelet when somebody asks for a pod's output.
func (n *node) logs(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/") // /containerLogs/NAMESPACE/POD/CONTAINER
	if len(parts) != 5 {
		http.NotFound(w, r)
		return
	}
	n.mu.Lock()
	o := n.output[parts[3]]
	n.mu.Unlock()
	if o == nil {
		http.NotFound(w, r)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = w.Write(o.text)
}

// look does what there is to do.
func (n *node) look() {
	var list corev1.PodList
	if err := json.Unmarshal(n.call(http.MethodGet, "/api/v1/pods", ""), &list); err != nil {
		n.t.Error(err)
		return
	}
	for _, p := range list.Items {
		n.mu.Lock()
		_, known := n.output[p.Name]
		pid := n.pids[p.Name]
		n.mu.Unlock()
		path := "/api/v1/namespaces/" + p.Namespace + "/pods/" + p.Name
		switch {
		case p.DeletionTimestamp != nil && pid == 0 && (p.Spec.NodeName == n.name || p.Spec.NodeName == ""):
			n.call(http.MethodDelete, path, `{"gracePeriodSeconds":0}`)
		case p.Spec.NodeName == "":
			n.call(http.MethodPost, path+"/binding", `{"metadata":{"name":%q},"target":{"kind":"Node","name":%q}}`, p.Name, n.name)
		case p.Spec.NodeName != n.name:
		case !known && p.Status.Phase == corev1.PodPending && p.DeletionTimestamp == nil:
			n.run(p, path)
		case p.DeletionTimestamp != nil && p.Status.Phase == corev1.PodRunning:
			n.stop(p, pid)
		}
	}
}

// run starts the pod's container, and says how it ends.
func (n *node) run(p corev1.Pod, path string) {
	c := p.Spec.Containers[0]
	out := &output{}
	status := func(phase corev1.PodPhase, state string, args ...any) {
		n.call(http.MethodPatch, path+"/status", `{"status":{"phase":%q,"containerStatuses":[{"name":%q,"image":%q,"imageID":"","ready":false,
			"restartCount":0,"state":%s}]}}`, phase, c.Name, c.Image, fmt.Sprintf(state, args...))
	}
	var words []string
	for _, w := range c.Command {
		words = append(words, expand(w))
	}
	cmd := exec.Command("unshare", append([]string{"--pid", "--fork", "--kill-child"}, words...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.WorkingDir, out, out
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, e := range c.Env {
		value := expand(e.Value)
		if e.ValueFrom != nil {
			field := e.ValueFrom.FieldRef.FieldPath
			value = p.Annotations[strings.TrimSuffix(strings.TrimPrefix(field, "metadata.annotations['"), "']")]
		}
		cmd.Env = append(cmd.Env, e.Name+"="+value)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.output[p.Name] = out
	if _, err := exec.LookPath(words[0]); err != nil { // as containerd says it
		status(corev1.PodFailed, `{"terminated":{"exitCode":128,"reason":"StartError","message":"no such program"}}`)
		return
	}
	if err := cmd.Start(); err != nil {
		n.t.Error(err)
		return
	}
	first := child(cmd.Process.Pid)
	n.pids[p.Name] = first
	status(corev1.PodRunning, `{"running":{}}`)
	go func() {
		err := cmd.Wait()
		var failed *exec.ExitError
		if err != nil && !errors.As(err, &failed) {
			n.t.Error(err)
		}
		phase, code := corev1.PodSucceeded, cmd.ProcessState.ExitCode()
		if code != 0 {
			phase = corev1.PodFailed
		}
		status(phase, `{"terminated":{"exitCode":%d}}`, code)
		n.mu.Lock()
		delete(n.pids, p.Name)
		n.mu.Unlock()
	}()
}

// stop does what a kubelet does when a pod has to go: first the hook, then SIGTERM, then SIGKILL.
func (n *node) stop(p corev1.Pod, pid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.told[p.Name] || pid == 0 {
		return
	}
	n.told[p.Name] = true
	kill := func(s syscall.Signal) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.pids[p.Name] != 0 {
			_ = syscall.Kill(pid, s)
		}
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(*p.DeletionGracePeriodSeconds)*time.Second)
		defer cancel()
		hook := p.Spec.Containers[0].Lifecycle.PreStop.Exec.Command
		_ = exec.CommandContext(ctx, "nsenter", append([]string{fmt.Sprintf("--target=%d", pid), "--pid"}, hook...)...).Run()
		kill(syscall.SIGTERM)
		time.Sleep(2 * time.Second)
		kill(syscall.SIGKILL)
	}()
}

// child waits for the only child of a process, and returns its number.
func child(pid int) int {
	for {
		text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "task", fmt.Sprint(pid), "children"))
		var c int
		if _, scan := fmt.Sscan(string(bytes.TrimSpace(text)), &c); scan == nil || err != nil {
			return c
		}
		time.Sleep(time.Millisecond)
	}
}

// expand replaces $$ by $, and fails to know any variable, as Kubernetes does with commands and variables.
func expand(text string) string { return strings.ReplaceAll(text, "$$", "$") }
