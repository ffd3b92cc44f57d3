// Package ray launches jobs through the REST interface of Ray's job server, the one that "ray job submit" talks to.
//
// Ray starts a job's command once, on one node that has the resources, and starts nothing again. So the command runs
// below a shell script that does: at once when it has saved and exits with launch.Requeue, and after a pause when it
// fails. The script ends with its node, and its job is forgotten when the head restarts; submitting the same job again
// resumes its run. Ray has no time limits, so a job's Time isn't used.
package ray

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/longform-go/longform/internal/launch"
)

// Launcher submits to the Ray whose dashboard is at Address. An id is DIR/launch/ray-NAME, the beginning of the names of
// the files with the job's output and events. NAME is the job's name for Ray; copy N of an array is NAME_N, with files of
// its own.
type Launcher struct {
	Address  string        // as http://host:8265, Ray's own default port
	Restarts int           // after a failure; then the job has failed
	Backoff  time.Duration // before the first restart, whole seconds; twice as long before each further one
}

//go:embed job.sh.tmpl
var source string

var script = template.Must(template.New("job.sh").Parse(source))

// request is what Ray wants to know of a job: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/api.html
type request struct {
	Entrypoint   string `json:"entrypoint"`
	SubmissionID string `json:"submission_id"`
	CPUs         int    `json:"entrypoint_num_cpus,omitempty"`
	GPUs         int    `json:"entrypoint_num_gpus,omitempty"`
	Memory       int64  `json:"entrypoint_memory,omitempty"` // bytes
	RuntimeEnv   struct {
		Variables map[string]string `json:"env_vars,omitempty"`
	} `json:"runtime_env"`
}

// Render returns the body of the request, and below it the script, which is hard to read in JSON.
func (l Launcher) Render(job launch.Job) (string, error) {
	stem, err := stemOf(job)
	if err != nil {
		return "", err
	}
	r, err := l.request(job, stem, 0)
	if err != nil {
		return "", err
	}
	text := r.Entrypoint
	r.Entrypoint = "the script below"
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", fmt.Errorf("ray: %w", err)
	}
	return fmt.Sprintf("POST %s\n%s\n\n%s", l.url("jobs/"), body, text), nil
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// stemOf is the id of a job that isn't submitted yet, but for what makes it the only one of its name.
func stemOf(job launch.Job) (string, error) {
	stem, err := filepath.Abs(filepath.Join(job.Dir, "launch", "ray-"+notInNames.ReplaceAllString(job.Name, "-")))
	if err != nil {
		return "", fmt.Errorf("ray: %w", err)
	}
	return stem, nil
}

// nameOf is the name that Ray knows a copy by.
func nameOf(stem string) string { return strings.TrimPrefix(filepath.Base(stem), "ray-") }

// request describes copy number index of the job to Ray.
func (l Launcher) request(job launch.Job, stem string, index int) (request, error) {
	memory, err := bytesOf(job.Memory)
	if err != nil {
		return request{}, err
	}
	dir, err := filepath.Abs(job.Dir)
	if err != nil {
		return request{}, fmt.Errorf("ray: %w", err)
	}
	var b strings.Builder
	err = script.Execute(&b, map[string]any{
		// Not in runtime_env: Ray would expand $NAME there.
		"Stem": launch.Quote(stem), "Dir": launch.Quote(dir), "Exports": job.Exports(), "ArrayIndex": launch.ArrayIndex, "Index": index,
		"Command": launch.Quote(job.Command...), "Requeue": launch.Requeue, "Restarts": l.Restarts, "Backoff": int(l.Backoff.Seconds()),
	})
	if err != nil {
		return request{}, fmt.Errorf("ray: %w", err)
	}
	r := request{Entrypoint: b.String(), SubmissionID: nameOf(stem), CPUs: job.CPUs, GPUs: job.GPUs, Memory: memory}
	if seconds := int(job.Notice.Seconds()); seconds > 0 {
		// From SIGTERM to SIGKILL when the job is stopped; Ray's default is 3 seconds.
		r.RuntimeEnv.Variables = map[string]string{"RAY_JOB_STOP_WAIT_TIME_S": strconv.Itoa(seconds)}
	}
	return r, nil
}

// bytesOf reads an amount of memory as Slurm does: K, M, G and T are powers of 1024.
func bytesOf(memory string) (int64, error) {
	if memory == "" {
		return 0, nil
	}
	number := strings.TrimRight(memory, "KMGT")
	n, err := strconv.ParseInt(number, 10, 64)
	shift, ok := map[string]int{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[memory[len(number):]]
	if err != nil || n <= 0 || !ok {
		return 0, fmt.Errorf("ray: memory is %q, want a number with K, M, G or T, as 64G", memory)
	}
	return n << shift, nil
}

// Submit hands the job over. The cluster's nodes have to see its directory under the same name.
func (l Launcher) Submit(ctx context.Context, job launch.Job) (string, error) {
	id, err := stemOf(job)
	if err != nil {
		return "", err
	}
	id += "-" + strings.ToLower(rand.Text()[:8])
	stems := []string{id}
	if job.Array > 0 {
		stems = nil
		for i := range job.Array {
			stems = append(stems, fmt.Sprintf("%s_%d", id, i))
		}
	}
	if err := os.MkdirAll(filepath.Dir(id), 0o755); err != nil {
		return "", fmt.Errorf("ray: %w", err)
	}
	for i, stem := range stems {
		if err := l.start(ctx, job, stem, i); err != nil {
			if i > 0 { // the copies that were submitted are of no use
				err = errors.Join(err, l.Cancel(context.WithoutCancel(ctx), id))
			}
			return "", err
		}
	}
	return id, nil
}

// start submits one copy. The file of its events, empty yet, says that there is such a copy.
func (l Launcher) start(ctx context.Context, job launch.Job, stem string, index int) error {
	r, err := l.request(job, stem, index)
	if err != nil {
		return err
	}
	if err := os.WriteFile(stem+".events", nil, 0o644); err != nil {
		return fmt.Errorf("ray: %w", err)
	}
	if err := l.call(ctx, http.MethodPost, "jobs/", r, nil); err != nil {
		return errors.Join(err, os.Remove(stem+".events"))
	}
	return nil
}

// Cancel tells the command with SIGTERM, and ends it when the job's notice is over. A job that waits for resources is
// ended when it gets them: Ray can't do it before.
func (l Launcher) Cancel(ctx context.Context, id string) error {
	stems, err := copies(id)
	if err != nil {
		return err
	}
	var errs []error
	for _, stem := range stems {
		err := l.call(ctx, http.MethodPost, "jobs/"+url.PathEscape(nameOf(stem))+"/stop", nil, nil)
		if !errors.Is(err, launch.ErrUnknown) { // what Ray has forgotten has ended
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (l Launcher) url(path string) string { return strings.TrimSuffix(l.Address, "/") + "/api/" + path }

// client doesn't wait for ever for a head that hangs.
var client = &http.Client{Timeout: time.Minute}

// call sends in as JSON and decodes the answer into out, unless they are nil. RAY_AUTH_TOKEN is the token of a Ray that
// asks for one, as for Ray's own commands.
func (l Launcher) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("ray: %w", err)
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, l.url(path), body)
	if err != nil {
		return fmt.Errorf("ray: the address %q: %w", l.Address, err)
	}
	if token := os.Getenv("RAY_AUTH_TOKEN"); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("ray: no answer from the dashboard; see that the head runs and launch.address is right: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if out == nil {
			return nil
		}
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			return fmt.Errorf("ray: the answer to %s %s: %w", method, path, err)
		}
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	// What went wrong is the last line of a Python traceback.
	lines := strings.Split(strings.TrimRight(string(text), "\n ."), "\n")
	line := lines[len(lines)-1]
	if resp.StatusCode == http.StatusNotFound && strings.Contains(line, "does not exist") {
		return fmt.Errorf("ray: %w: %s", launch.ErrUnknown, line)
	}
	return fmt.Errorf("ray: %s %s: %s: %s", method, path, resp.Status, line)
}
