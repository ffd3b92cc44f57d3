package tracking

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/rundir"
)

// fake answers as MLflow does and notes the steps of train/loss. Fail may answer
// in its place.
type fake struct {
	fail func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	steps    []int
	tooMany  bool
	requests int
	auth     string
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests++
	f.auth = r.Header.Get("Authorization")
	f.mu.Unlock()
	if f.fail != nil && f.fail(w, r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch path.Base(r.URL.Path) {
	case "get-by-name":
		fmt.Fprint(w, `{"experiment":{"experiment_id":"1"}}`)
	case "create":
		fmt.Fprint(w, `{"run":{"info":{"run_id":"r"}}}`)
	case "get":
		answer := `{"run":{"info":{"run_id":"r"},"data":{"metrics":[%s]}}}`
		latest := ""
		if n := len(f.steps); n > 0 {
			latest = fmt.Sprintf(`{"key":"train/loss","step":"%d"}`, f.steps[n-1])
		}
		fmt.Fprintf(w, answer, latest)
	case "log-batch":
		var body struct{ Metrics []metricRead }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		f.tooMany = f.tooMany || len(body.Metrics) > 1000
		for _, m := range body.Metrics {
			if m.Key == "train/loss" {
				f.steps = append(f.steps, m.Step)
			}
		}
		fallthrough
	default:
		fmt.Fprint(w, `{}`)
	}
}

type metricRead struct {
	Key  string
	Step int
}

// complete fails the test unless each step up to the last came once and in turn.
func (f *fake) complete(t *testing.T, last int) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, step := range f.steps {
		if step != i+1 {
			t.Fatalf("record %d is that of step %d", i+1, step)
		}
	}
	if len(f.steps) != last || f.tooMany {
		t.Errorf("%d records, want %d; more than 1000 metrics at once: %v", len(f.steps), last, f.tooMany)
	}
}

func fakeRun(t *testing.T, f *fake) configs.Config {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return config(rundir.Dir(t.TempDir()), configs.Tracking{MLflow: server.URL, Experiment: "e"})
}

// A server that doesn't answer while more is logged than memory is kept for.
func TestMLflowDownForLong(t *testing.T) {
	hurry(t, time.Minute)
	up := make(chan struct{})
	f := &fake{fail: func(http.ResponseWriter, *http.Request) bool { <-up; return false }}
	const last = pendingPoints + pendingPoints/2
	r := start(t, fakeRun(t, f), 0)
	r.steps(1, last) // returns though no request has
	m := r.trackers[0].(*mlflow)
	m.mu.Lock()
	if len(m.pending) > pendingPoints || !m.behind {
		t.Errorf("%d records pending, behind %v", len(m.pending), m.behind)
	}
	m.mu.Unlock()
	close(up)
	for m.unsent() {
		time.Sleep(time.Millisecond)
	}
	r.steps(last+1, last+100)
	r.end(Finished)
	r.quiet()
	f.complete(t, last+100)
}

// Training ends though the server hangs, and the next start brings it up to date.
func TestMLflowHangs(t *testing.T) {
	hurry(t, 100*time.Millisecond)
	up := make(chan struct{})
	f := &fake{fail: func(http.ResponseWriter, *http.Request) bool { <-up; return false }}
	c := fakeRun(t, f)
	r := start(t, c, 0)
	r.steps(1, 20)
	r.end(Stopped)
	if len(r.warnings) != 1 {
		t.Errorf("%d warnings, want one", len(r.warnings))
	} else if text := <-r.warnings; !strings.HasSuffix(text, "send the rest with: train resume "+c.Run.Dir) {
		t.Errorf("warned %q", text)
	}
	close(up)
	grace = time.Minute
	r = start(t, c, 20)
	r.steps(21, 30)
	r.end(Finished)
	r.quiet()
	f.complete(t, 30)
}

func TestMLflowRefuses(t *testing.T) {
	hurry(t, time.Minute)
	tests := []struct {
		name   string
		status int
		body   string
		want   string
		retry  bool // until the time is up
	}{
		{"its own error", 400, `{"error_code":"INVALID_PARAMETER_VALUE","message":"no such thing"}`, "no such thing", false},
		{"no access", 401, `Please log in`, "401 Unauthorized", false},
		{"another server", 200, `<html>`, "doesn't answer as an MLflow server does; check tracking.mlflow", false},
		{"broken", 503, `<html>`, "503 Service Unavailable", true},
		{"busy", 429, `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"slower"}`, "slower", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var mended atomic.Bool
			f := &fake{fail: func(w http.ResponseWriter, _ *http.Request) bool {
				if mended.Load() {
					return false
				}
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
				return true
			}}
			c := fakeRun(t, f)
			r := start(t, c, 0)
			r.steps(1, 4)
			text := <-r.warnings // while training goes on
			if !strings.Contains(text, test.want) || !strings.HasPrefix(text, "MLflow at "+c.Tracking.MLflow+": ") || strings.Contains(text, "\n") {
				t.Errorf("warned %q", text)
			}
			r.steps(5, 8)
			if !test.retry {
				r.end(Finished)
				if f.requests != 1 {
					t.Errorf("%d requests after a refusal, want one", f.requests)
				}
				return
			}
			for requests := 0; requests < 4; time.Sleep(time.Millisecond) {
				f.mu.Lock()
				requests = f.requests
				f.mu.Unlock()
			}
			mended.Store(true)
			r.end(Finished)
			r.quiet() // no second one
			f.complete(t, 8)
		})
	}
}

func TestMLflowCredentials(t *testing.T) {
	hurry(t, time.Minute)
	for _, test := range []struct{ token, user, password, want string }{
		{"", "", "", ""},
		{"", "ada", "secret", "Basic YWRhOnNlY3JldA=="},
		{"abc", "", "", "Bearer abc"},
	} {
		t.Setenv("MLFLOW_TRACKING_TOKEN", test.token)
		t.Setenv("MLFLOW_TRACKING_USERNAME", test.user)
		t.Setenv("MLFLOW_TRACKING_PASSWORD", test.password)
		f := &fake{}
		c := fakeRun(t, f)
		r := start(t, c, 0)
		r.steps(1, 1)
		r.end(Finished)
		if f.auth != test.want {
			t.Errorf("%+v: sent %q", test, f.auth)
		}
		f.complete(t, 1)
	}
}
