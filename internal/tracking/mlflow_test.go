package tracking

import (
	"bufio"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/testneeds"
)

// MLflow's own server application on a database of its own. What `mlflow server` wraps around it needs far more packages.
const serveMLflow = `
import os, sys
from mlflow import server
from werkzeug.serving import make_server
os.environ[server.BACKEND_STORE_URI_ENV_VAR] = "sqlite:///" + sys.argv[1] + "/mlflow.db"
os.environ[server.ARTIFACT_ROOT_ENV_VAR] = sys.argv[1]
http = make_server("127.0.0.1", 0, server.app, threaded=True)
print("port", http.server_port, flush=True)
http.serve_forever()`

// What MLflow's own client reads of the runs of an experiment.
const readRuns = `
import json, sys, mlflow
client = mlflow.MlflowClient(sys.argv[1])
runs = []
for name in sys.argv[2:]:
    for run in client.search_runs([client.get_experiment_by_name(name).experiment_id]):
        history = {key: [[m.step, repr(m.value)] for m in client.get_metric_history(run.info.run_id, key)] for key in run.data.metrics}
        runs.append({"experiment": name, "id": run.info.run_id, "name": run.info.run_name, "status": run.info.status, "ended": bool(run.info.end_time),
            "params": run.data.params, "metrics": history})
print(json.dumps(runs))`

type mlflowRun struct {
	Experiment, ID, Name, Status string
	Ended                        bool
	Params                       map[string]string
	Metrics                      map[string][][2]any
}

func mlflowServer(t *testing.T, python string) *url.URL {
	t.Helper()
	c := exec.Command(python, "-c", serveMLflow, t.TempDir())
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = log
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if port, ok := strings.CutPrefix(lines.Text(), "port "); ok {
			at := &url.URL{Scheme: "http", Host: "127.0.0.1:" + port}
			// The first request waits until the database is made.
			if _, err := http.Get(at.JoinPath("api/2.0/mlflow/experiments/get-by-name").String() + "?experiment_name=Default"); err != nil {
				t.Fatal(err)
			}
			return at
		}
	}
	text, _ := os.ReadFile(log.Name())
	t.Fatalf("no MLflow server: %s", text)
	return nil
}

// hurry lets tests wait for less.
func hurry(t *testing.T, graceful time.Duration) {
	was := []time.Duration{pace, grace, firstPause, longestPause}
	pace, grace, firstPause, longestPause = 5*time.Millisecond, graceful, 5*time.Millisecond, 20*time.Millisecond
	t.Cleanup(func() { pace, grace, firstPause, longestPause = was[0], was[1], was[2], was[3] })
}

func TestMLflowServerHasWhatWasLogged(t *testing.T) {
	python := testneeds.Python(t, "mlflow")
	hurry(t, time.Minute)
	address := mlflowServer(t, python)

	// In front of it stands one that can be told to lose requests, or answers.
	var loseRequests, loseAnswers atomic.Int32
	forward := httputil.NewSingleHostReverseProxy(address)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if loseRequests.Add(-1) >= 0 {
			panic(http.ErrAbortHandler)
		}
		if strings.HasSuffix(r.URL.Path, "log-batch") && loseAnswers.Add(-1) >= 0 {
			forward.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	}))
	defer front.Close()

	tests := []struct {
		name   string
		log    func(t *testing.T, c configs.Config)
		status string
	}{
		{"never interrupted", func(t *testing.T, c configs.Config) {
			r := start(t, c, 0)
			r.steps(1, 12)
			r.end(Finished)
			r.quiet()
		}, "FINISHED"},
		{"resumed twice", func(t *testing.T, c configs.Config) {
			for _, part := range []struct {
				after, last int
				outcome     Outcome
			}{{0, 9, Failed}, {4, 10, Stopped}, {8, 12, Finished}} {
				r := start(t, c, part.after)
				r.steps(part.after+1, part.last)
				r.end(part.outcome)
				r.quiet()
			}
		}, "FINISHED"},
		{"stopped", func(t *testing.T, c configs.Config) {
			r := start(t, c, 0)
			r.steps(1, 12)
			r.end(Stopped)
			r.quiet()
		}, "KILLED"},
		{"wanted after the end", func(t *testing.T, c configs.Config) {
			without := c
			without.Tracking.MLflow = ""
			r := start(t, without, 0)
			r.steps(1, 12)
			r.end(Finished)
			r = start(t, c, 12)
			r.end(Finished)
			r.quiet()
		}, "FINISHED"},
		{"down at first", func(t *testing.T, c configs.Config) {
			loseRequests.Store(5)
			r := start(t, c, 0)
			r.steps(1, 12)
			for r.trackers[0].(*mlflow).unsent() {
				time.Sleep(time.Millisecond)
			}
			r.end(Finished)
			if len(r.warnings) != 1 {
				t.Errorf("%d warnings, want one", len(r.warnings))
			}
		}, "FINISHED"},
		{"answers lost", func(t *testing.T, c configs.Config) {
			loseAnswers.Store(3) // of the parameters and of metrics: they are sent again
			r := start(t, c, 0)
			r.steps(1, 12)
			r.end(Finished)
		}, "FINISHED"},
		{"deleted from the server", func(t *testing.T, c configs.Config) {
			r := start(t, c, 0)
			r.steps(1, 8)
			r.end(Stopped)
			s := newServer(c.Tracking.MLflow)
			if err := s.post(t.Context(), "runs/delete", map[string]string{"run_id": r.trackers[0].(*mlflow).run}, &struct{}{}); err != nil {
				t.Fatal(err)
			}
			r = start(t, c, 8)
			r.steps(9, 12)
			r.end(Finished)
			r.quiet()
		}, "FINISHED"},
	}

	var experiments []string
	identities := map[string]string{}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := rundir.Dir(filepath.Join(t.TempDir(), "run1"))
			if err := os.Mkdir(string(dir), 0o755); err != nil {
				t.Fatal(err)
			}
			test.log(t, config(dir, configs.Tracking{MLflow: front.URL, Experiment: test.name}))
			experiments = append(experiments, test.name)
			text, err := os.ReadFile(dir.MLflow())
			if err != nil {
				t.Fatal(err)
			}
			identities[test.name] = string(text)
		})
	}
	if t.Failed() {
		return
	}

	want := map[string][][2]any{}
	for i := 1; i <= 12; i++ {
		s := float64(i)
		for tag, x := range map[string]float64{
			"train/loss": float64(loss(i)), "train/grad_norm": 1, "train/learning_rate": 1e-3 / s,
			"train/epoch": s / 7, "train/tokens": 100 * s, "train/tokens_per_second": 1000,
		} {
			want[tag] = append(want[tag], [2]any{s, pythonFloat(x)})
		}
		if i%4 == 0 {
			want["eval/loss"] = append(want["eval/loss"], [2]any{s, pythonFloat(evalLoss(i))})
		}
	}
	var runs []mlflowRun
	ask(t, &runs, python, readRuns, append([]string{address.String()}, experiments...)...)
	if len(runs) != len(tests) {
		t.Errorf("%d runs, want one in each of %q", len(runs), experiments)
	}
	for _, r := range runs {
		for key, values := range r.Metrics {
			for i := range values {
				var x float64
				fmt.Sscan(values[i][1].(string), &x)
				values[i][1] = pythonFloat(x)
			}
			slices.SortStableFunc(values, func(a, b [2]any) int { return int(a[0].(float64) - b[0].(float64)) })
			if !reflect.DeepEqual(values, want[key]) {
				t.Errorf("%s: %s is\n%v, want\n%v", r.Experiment, key, values, want[key])
			}
		}
		if got, want := slices.Sorted(maps.Keys(r.Metrics)), slices.Sorted(maps.Keys(want)); !slices.Equal(got, want) {
			t.Errorf("%s: metrics %v, want %v", r.Experiment, got, want)
		}
		status := ""
		for _, test := range tests {
			if test.name == r.Experiment {
				status = test.status
			}
		}
		if r.Status != status || r.Name != "run1" || !r.Ended {
			t.Errorf("%s: run %s is %s, ended %v; want %s", r.Experiment, r.Name, r.Status, r.Ended, status)
		}
		if !strings.Contains(identities[r.Experiment], r.ID) {
			t.Errorf("%s: run %s, but the directory keeps %s", r.Experiment, r.ID, identities[r.Experiment])
		}
		for key, value := range map[string]string{"optim.lr": "1e-05", "data.train": "[a.jsonl, b.jsonl]", "model.tokenizer": "", "model.dropout": "null", "checkpoint.async": "true"} {
			if got, ok := r.Params[key]; !ok || got != value {
				t.Errorf("%s: parameter %s is %q, want %q", r.Experiment, key, got, value)
			}
		}
	}
}

// unsent tells whether something waits for the server.
func (m *mlflow) unsent() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.pending) > 0 || m.behind
}

// pythonFloat compares floats; NaN too.
func pythonFloat(x float64) any {
	if math.IsNaN(x) {
		return "NaN"
	}
	return x
}
