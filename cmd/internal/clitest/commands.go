package clitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.yaml.in/yaml/v3"

	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/internal/testneeds"
)

// patience is how long a script waits for a file: far more than it should take.
const patience = 2 * time.Minute

var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"refused":    refused,
	"await":      await,
	"signal":     signal,
	"samelog":    sameLog,
	"tensors":    tensors,
	"replace":    replace,
	"tmpfs":      tmpfs,
	"readonly":   readOnly,
	"podenv":     podEnv,
	"losses":     losses,
	"scores":     scores,
	"prompts":    prompts,
	"texts":      texts,
	"tokenlines": tokenLines,
	"tokens":     tokens,
	"figures":    figures,
}

// condition knows [mount]: whether a file system can be mounted.
func condition(name string) (bool, error) {
	if name != "mount" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	dir, err := os.MkdirTemp("", "mount-*")
	if err != nil {
		return false, err
	}
	defer os.Remove(dir)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4096"); err != nil {
		if testneeds.CI() {
			return false, err
		}
		return false, nil
	}
	return true, syscall.Unmount(dir, 0)
}

// podenv FILE: the variables are set that a Kubernetes Job's manifest has for its container.
func podEnv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: podenv file")
	}
	var job struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Env []struct{ Name, Value string }
					}
				}
			}
		}
	}
	ts.Check(yaml.Unmarshal([]byte(ts.ReadFile(args[0])), &job))
	for _, c := range job.Spec.Template.Spec.Containers {
		for _, v := range c.Env {
			ts.Setenv(v.Name, v.Value)
		}
	}
}

// refused 'PATTERN' PROGRAM [ARGUMENT ...]: the program fails with nothing on standard output and one line on standard
// error, which starts with the program's name and matches the pattern.
func refused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: refused 'pattern' program [argument ...]")
	}
	if ts.Exec(args[1], args[2:]...) == nil {
		ts.Fatalf("%s succeeded", args[1])
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("output of a failure: %q", out)
	}
	message := ts.ReadFile("stderr")
	if !strings.HasPrefix(message, args[1]+": ") || strings.Count(message, "\n") != 1 || !strings.HasSuffix(message, "\n") {
		ts.Fatalf("not one line from %s: %q", args[1], message)
	}
	if !regexp.MustCompile(args[0]).MatchString(message) {
		ts.Fatalf("no match of %q in %q", args[0], message)
	}
}

// await FILE [TEXT] waits until there is such a file, with the text in it.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: await file [text]")
	}
	path := ts.MkAbs(args[0])
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		raw, err := os.ReadFile(path)
		if err == nil && (len(args) == 1 || strings.Contains(string(raw), args[1])) {
			return
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			ts.Fatalf("%v", err)
		}
	}
	ts.Fatalf("no %q after %v", args, patience)
}

var signals = map[string]syscall.Signal{"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "USR2": syscall.SIGUSR2}

// signal NAME sends a signal to what runs in the background.
func signal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal KILL|TERM|INT|USR2")
	}
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(signals[args[0]]))
	}
}

// samelog RUN RUN checks that two runs logged the same: steps, losses, gradient norms, learning rates, counts and
// evaluations, but not the time that it took.
func sameLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: samelog run run")
	}
	a, b := withoutTimes(ts, args[0]), withoutTimes(ts, args[1])
	if len(a) == 0 || len(a) != len(b) {
		ts.Fatalf("%s logged %d lines, %s %d", args[0], len(a), args[1], len(b))
	}
	for i := range a {
		if a[i] != b[i] {
			ts.Fatalf("line %d of %s is %s, of %s %s", i+1, args[0], a[i], args[1], b[i])
		}
	}
}

// withoutTimes gives the lines of a run's log with every digit, but without how long things took.
func withoutTimes(ts *testscript.TestScript, run string) []string {
	var kept []string
	for _, record := range lines[map[string]json.RawMessage](ts, rundir.Dir(run).Metrics()) {
		for _, name := range []string{"seconds", "tokens_per_second", "eval_seconds"} {
			delete(record, name)
		}
		text, err := json.Marshal(record)
		ts.Check(err)
		kept = append(kept, string(text))
	}
	return kept
}

// tensors FILE prints the names of a safetensors file's tensors, sorted.
func tensors(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tensors file")
	}
	f, err := safetensors.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	var names []string
	for _, info := range f.Tensors() {
		names = append(names, info.Name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintln(ts.Stdout(), name)
	}
}

// replace FILE OLD NEW replaces the first occurrence of a text, which a file of bytes may have, too.
func replace(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: replace file old new")
	}
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("no %q in %s", args[1], args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, args[1], args[2], 1)), 0o644))
}

// tmpfs DIR SIZE mounts a file system of so much memory.
func tmpfs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tmpfs directory size")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() { ts.Check(syscall.Unmount(dir, 0)) })
}

// readonly DIR makes what tmpfs mounted read-only.
func readOnly(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: readonly directory")
	}
	ts.Check(syscall.Mount("", ts.MkAbs(args[0]), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
}
