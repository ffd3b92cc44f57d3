package tracking

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/testneeds"
)

// wandbBackend takes what `wandb sync` uploads, as far as that asks for answers.
type wandbBackend struct {
	mu      sync.Mutex
	run     struct{ Name, DisplayName, Project, Config string }
	rows    []string // of the history
	summary string
	exit    *int
}

func (b *wandbBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if unpacked, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
		body, _ = io.ReadAll(unpacked)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/graphql":
		var q struct {
			OperationName string
			Variables     json.RawMessage
		}
		json.Unmarshal(body, &q)
		switch q.OperationName {
		case "UpsertBucket":
			if b.run.Name == "" {
				json.Unmarshal(q.Variables, &b.run)
			}
			fmt.Fprintf(w, `{"data":{"upsertBucket":{"inserted":true,"bucket":{"id":"x","name":%q,"config":"{}","historyLineCount":0,"project":{"id":"p","name":"p","entity":{"id":"e","name":"e"}}}}}}`, b.run.Name)
		case "CreateRunFiles":
			var v struct{ Files []string }
			json.Unmarshal(q.Variables, &v)
			for i, name := range v.Files {
				v.Files[i] = fmt.Sprintf(`{"name":%q,"uploadUrl":"http://%s/upload/%s"}`, name, r.Host, name)
			}
			fmt.Fprintf(w, `{"data":{"createRunFiles":{"runID":"x","uploadHeaders":[],"files":[%s]}}}`, strings.Join(v.Files, ","))
		default:
			fmt.Fprint(w, `{"data":{}}`)
		}
		return
	case strings.HasSuffix(r.URL.Path, "/file_stream"):
		var s struct {
			Files map[string]struct {
				Offset  int
				Content []string
			}
			ExitCode *int
		}
		json.Unmarshal(body, &s)
		if history := s.Files["wandb-history.jsonl"]; len(history.Content) > 0 {
			b.rows = append(b.rows[:min(history.Offset, len(b.rows))], history.Content...)
		}
		if summary := s.Files["wandb-summary.json"]; len(summary.Content) > 0 {
			b.summary = summary.Content[0]
		}
		if s.ExitCode != nil {
			b.exit = s.ExitCode
		}
	}
	fmt.Fprint(w, `{}`)
}

// sync has W&B's own program upload the run in dir.
func (b *wandbBackend) sync(t *testing.T, python string, dir rundir.Dir) {
	t.Helper()
	server := httptest.NewServer(b)
	defer server.Close()
	runs, _ := filepath.Glob(filepath.Join(dir.WandB(), "offline-run-*"))
	if len(runs) != 1 {
		t.Fatalf("runs %v, want one", runs)
	}
	c := exec.Command(python, "-m", "wandb", "sync", runs[0])
	c.Dir = t.TempDir()
	c.Env = append(os.Environ(), "WANDB_BASE_URL="+server.URL, "WANDB_API_KEY="+strings.Repeat("a", 40), "WANDB_ERROR_REPORTING=false", "HOME="+c.Dir)
	if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("Finished syncing")) {
		t.Fatalf("wandb sync: %v: %s", err, out)
	}
}

func TestWandBReadsOurs(t *testing.T) {
	python := testneeds.Python(t, "wandb")
	const last = 60 // so that the file has several blocks
	tests := []struct {
		name string
		exit int
		log  func(t *testing.T, c configs.Config)
	}{
		{"never interrupted", 0, func(t *testing.T, c configs.Config) {
			r := start(t, c, 0)
			r.steps(1, last)
			r.end(Finished)
			r.quiet()
		}},
		{"resumed after each kill and end", 1, func(t *testing.T, c configs.Config) {
			r := start(t, c, 0)
			r.steps(1, 30)
			r.quiet() // and killed
			r = start(t, c, 25)
			r.steps(26, 40)
			r.end(Stopped)
			new(wandbBackend).sync(t, python, rundir.Dir(c.Run.Dir)) // which marks it as uploaded
			r = start(t, c, 32)
			r.steps(33, last)
			r.end(Failed)
			r.quiet()
		}},
		{"wanted from the middle on", 0, func(t *testing.T, c configs.Config) {
			without := c
			without.Tracking.WandB = false
			r := start(t, without, 0)
			r.steps(1, 40)
			r.end(Stopped)
			r = start(t, c, 30)
			r.steps(31, last)
			r.end(Finished)
			r.quiet()
		}},
	}
	for _, part := range []float64{0, 0.0001, 0.1, 0.5, 0.9999} {
		tests = append(tests, tests[0])
		test := &tests[len(tests)-1]
		test.name = fmt.Sprintf("torn at %v", part)
		test.log = func(t *testing.T, c configs.Config) {
			r := start(t, c, 0)
			r.steps(1, 40)
			files, _ := filepath.Glob(filepath.Join(rundir.Dir(c.Run.Dir).WandB(), "*", "*.wandb"))
			info, err := os.Stat(files[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(files[0], int64(part*float64(info.Size()))); err != nil {
				t.Fatal(err)
			}
			r = start(t, c, 35)
			r.steps(36, last)
			r.end(Finished)
			r.quiet()
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := rundir.Dir(filepath.Join(t.TempDir(), "run1"))
			if err := os.Mkdir(string(dir), 0o755); err != nil {
				t.Fatal(err)
			}
			test.log(t, config(dir, configs.Tracking{WandB: true, Experiment: "project"}))
			var b wandbBackend
			b.sync(t, python, dir)

			if b.run.DisplayName != "run1" || b.run.Project != "project" || b.run.Name == "" {
				t.Errorf("run %+v", b.run)
			}
			var config map[string]struct{ Value any }
			if err := json.Unmarshal([]byte(b.run.Config), &config); err != nil {
				t.Fatal(err)
			}
			if config["optim.lr"].Value != 1e-5 || config["checkpoint.async"].Value != true || fmt.Sprint(config["data.train"].Value) != "[a.jsonl b.jsonl]" {
				t.Errorf("config %s", b.run.Config)
			}
			var want []string
			for i := 1; i <= last; i++ {
				s := float64(i)
				want = append(want, fmt.Sprint(len(want), i, numberText(float64(loss(i))), s/7, 1e-3/s, 100*s))
				if i%4 == 0 {
					want = append(want, fmt.Sprint(len(want), i, evalLoss(i)))
				}
			}
			var got []string
			for _, text := range b.rows {
				got = append(got, rowText(t, text))
			}
			if !slices.Equal(got, want) {
				t.Errorf("rows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if summary := fmt.Sprintf(`"eval/loss":%v`, evalLoss(last)); !strings.Contains(b.summary, summary) || !strings.Contains(b.summary, `"train/grad_norm":1`) {
				t.Errorf("summary %s", b.summary)
			}
			if b.exit == nil || *b.exit != test.exit {
				t.Errorf("exit code %v, want %d", b.exit, test.exit)
			}
		})
	}
}

// rowText is what the test compares of a row.
func rowText(t *testing.T, text string) string {
	t.Helper()
	nan := strings.Contains(text, `"train/loss":NaN`)
	var row map[string]float64
	if err := json.Unmarshal([]byte(strings.ReplaceAll(text, "NaN", "0")), &row); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if nan {
		row["train/loss"] = math.NaN()
	}
	if row["_timestamp"] < 1e9 {
		t.Errorf("no time in %s", text)
	}
	if loss, ok := row["eval/loss"]; ok {
		return fmt.Sprint(row["_step"], row[globalStep], loss)
	}
	return fmt.Sprint(row["_step"], row[globalStep], numberText(row["train/loss"]), row["train/epoch"], row["train/learning_rate"], row["train/tokens"])
}
