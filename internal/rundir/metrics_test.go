package rundir

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func step(i int) Step {
	return Step{
		Step: i, Epoch: float64(i) / 7, Loss: 4 / float32(i), GradNorm: 1 / float32(3*i), LR: 3e-4 / float64(i),
		Tokens: int64(i) * 1000, Targets: int64(i) * 500, Seconds: 0.1, TokensPerSecond: 10000,
	}
}

// log writes steps from to to, with an evaluation every fourth.
func log(t *testing.T, path string, after, to int) {
	t.Helper()
	m, err := OpenMetrics(path, after)
	if err != nil {
		t.Fatal(err)
	}
	for i := after + 1; i <= to; i++ {
		if err := m.Step(step(i)); err != nil {
			t.Fatal(err)
		}
		if i%4 == 0 {
			if err := m.Eval(Eval{Step: i, Loss: 5 / float64(i), Targets: 77, Seconds: 2}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestResumedLogEqualsUninterrupted(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.jsonl")
	log(t, whole, 0, 20)
	for _, torn := range []string{"", `{"step":15,"epo`, "\x00\x00\x00"} {
		for after := 0; after <= 14; after++ {
			path := filepath.Join(dir, "resumed.jsonl")
			os.Remove(path)
			log(t, path, 0, 14)
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.WriteString(torn)
			f.Close()
			if steps, _, err := ReadMetrics(path); err != nil || len(steps) != 14 {
				t.Fatalf("torn by %q: read %d steps, %v", torn, len(steps), err)
			}
			log(t, path, after, 20)
			if read(t, path) != read(t, whole) {
				t.Fatalf("torn by %q, resumed after step %d: the log differs:\n%s", torn, after, read(t, path))
			}
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestMetricsRoundTrip(t *testing.T) {
	steps := []Step{step(1), step(2), {Step: 3, Loss: math.SmallestNonzeroFloat32, GradNorm: math.MaxFloat32, LR: 1e-300}}
	evals := []Eval{{Step: 2, Loss: 0.1 + 0.2, Targets: 9, Seconds: 1.5}}
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	m, err := OpenMetrics(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if err := m.Step(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Eval(evals[0]); err != nil {
		t.Fatal(err)
	}
	gotSteps, gotEvals, err := ReadMetrics(path) // before Close: nothing is held back
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(gotSteps, steps) || !reflect.DeepEqual(gotEvals, evals) {
		t.Errorf("got\n%+v\n%+v\nwant\n%+v\n%+v", gotSteps, gotEvals, steps, evals)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMetricsLines(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	tests := []struct {
		write func(*Metrics) error
		want  string
	}{
		{
			func(m *Metrics) error {
				return m.Step(Step{
					Step: 7, Epoch: 0.5, Loss: 2.3456789, GradNorm: 1.5, LR: 3e-4, Tokens: 100, Targets: 40,
					Seconds: 0.25, TokensPerSecond: 400, PeakMemory: 5e9,
				})
			},
			`{"step":7,"epoch":0.5,"loss":2.3456788,"grad_norm":1.5,"lr":0.0003,"tokens":100,"targets":40,"seconds":0.25,"tokens_per_second":400,"peak_memory":5000000000}`,
		}, {
			func(m *Metrics) error { return m.Step(Step{Step: 8, Loss: nan, GradNorm: inf}) },
			`{"step":8,"epoch":0,"loss":null,"grad_norm":null,"nonfinite":true,"lr":0,"tokens":0,"targets":0,"seconds":0,"tokens_per_second":0}`,
		}, {
			func(m *Metrics) error { return m.Eval(Eval{Step: 8, Loss: math.Inf(1), Targets: 3, Seconds: 2}) },
			`{"step":8,"eval_loss":null,"nonfinite":true,"eval_targets":3,"eval_seconds":2}`,
		},
	}
	path := filepath.Join(t.TempDir(), "metrics.jsonl")
	m, err := OpenMetrics(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var want strings.Builder
	for _, test := range tests {
		if err := test.write(m); err != nil {
			t.Fatal(err)
		}
		want.WriteString(test.want + "\n")
	}
	if got := read(t, path); got != want.String() {
		t.Errorf("got\n%swant\n%s", got, want.String())
	}
	steps, evals, err := ReadMetrics(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != 2 || !math.IsNaN(float64(steps[1].Loss)) || !math.IsNaN(float64(steps[1].GradNorm)) ||
		len(evals) != 1 || !math.IsNaN(evals[0].Loss) {
		t.Errorf("got %+v %+v", steps, evals)
	}
}

func TestMetricsErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "metrics.jsonl")
	log(t, path, 0, 2)
	if err := os.WriteFile(path, []byte(read(t, path)+"nonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err := ReadMetrics(path)
	_, openErr := OpenMetrics(path, 2)
	for _, err := range []error{err, openErr} {
		if err == nil || !strings.HasPrefix(err.Error(), "metrics log "+path+":3: invalid character") {
			t.Errorf("got error %v", err)
		}
	}
	missing := filepath.Join(dir, "none", "metrics.jsonl")
	if _, err := OpenMetrics(missing, 0); err == nil || err.Error() != "metrics log "+missing+": no such file or directory" {
		t.Errorf("got error %v", err)
	}
	// The device that is always full.
	if full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0); err == nil {
		m := &Metrics{file: full}
		defer full.Close()
		if err := m.Step(step(1)); err == nil || err.Error() != "metrics log /dev/full: no space left on device" {
			t.Errorf("got error %v", err)
		}
	}
}
