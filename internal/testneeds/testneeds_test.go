package testneeds

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// outcome is what becomes of a test.
type outcome struct {
	testing.TB
	said string
}

func (o *outcome) Helper() {}

func (o *outcome) Fatal(args ...any) { o.end("failed: " + fmt.Sprint(args...)) }

func (o *outcome) Fatalf(format string, args ...any) { o.Fatal(fmt.Sprintf(format, args...)) }

func (o *outcome) Skip(args ...any) { o.end("skipped: " + fmt.Sprint(args...)) }

func (o *outcome) end(said string) {
	o.said = said
	runtime.Goexit()
}

// of runs a test to its end.
func of(test func(tb testing.TB)) string {
	var o outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(&o)
		o.said = "passed"
	}()
	<-done
	return o.said
}

// A Python without a module skips a test, and fails it in CI; one that has all of them does neither.
func TestPython(t *testing.T) {
	python := filepath.Join(t.TempDir(), "python")
	script := `#!/bin/sh
case "$4" in "import json, numpy") exit 0;; esac
echo Traceback >&2
echo "No module named 'optuna'" >&2
exit 1
`
	if err := os.WriteFile(python, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	const lacks = " can't import optuna (exit status 1: No module named 'optuna'); install what scripts/ci-requirements.txt says"
	for _, test := range []struct {
		ci      string
		modules []string
		want    string
	}{
		{"", []string{"json", "numpy"}, "passed"},
		{"true", []string{"json", "numpy"}, "passed"},
		{"", []string{"optuna"}, "skipped: " + python + lacks},
		{"true", []string{"optuna"}, "failed: " + python + lacks},
	} {
		t.Setenv("LONGFORM_PYTHON", python)
		t.Setenv("CI", test.ci)
		got := of(func(tb testing.TB) {
			if name := Python(tb, test.modules...); name != python {
				t.Errorf("the interpreter is %s, want %s", name, python)
			}
		})
		if got != test.want {
			t.Errorf("CI=%s, %q: %s, want %s", test.ci, test.modules, got, test.want)
		}
	}
}

// A command's output is what it prints, without what it complains of; a failure is told with that.
func TestOutput(t *testing.T) {
	if out := Output(t, exec.Command("sh", "-c", "echo noise >&2; echo fine")); string(out) != "fine\n" {
		t.Errorf("printed %q", out)
	}
	for _, test := range []struct{ command, want string }{
		{"sh", "exit status 3: broken\n"}, {"./nowhere", "failed: "},
	} {
		got := of(func(tb testing.TB) { Output(tb, exec.Command(test.command, "-c", "echo broken >&2; exit 3")) })
		if !strings.HasPrefix(got, "failed: ") || !strings.HasSuffix(got, test.want) && test.command == "sh" {
			t.Errorf("%s: %q, want %q", test.command, got, test.want)
		}
	}
}
