// Package clitest runs scripts against the commands as a person would type them, with testscript and the few commands
// beside its own that the scripts of train and infer share. Scripts need nothing outside the repository and no network.
package clitest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/testneeds"
)

// Families are the reference checkpoints, which have the losses, scores and texts that transformers computes from them.
var Families = []string{"llama-tiny", "opt-tiny", "t5-tiny"}

// Run runs the scripts in a directory, with variables, "NAME=value", besides $MODELS, the directory of the reference
// checkpoints, and $CONFIGS, that of the recipes.
func Run(t *testing.T, dir string, variables ...string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition,
		Cmds:                commands,
		Setup: func(e *testscript.Env) error {
			e.Setenv("MODELS", filepath.Join(root, "models", "testdata"))
			e.Setenv("CONFIGS", filepath.Join(root, "configs"))
			e.Setenv("HOME", os.Getenv("HOME")) // where a plugin may be installed
			for _, name := range []string{"LONGFORM_PJRT_CPU", "PJRT_PLUGIN_LIBRARY_PATH"} {
				e.Setenv(name, os.Getenv(name))
			}
			// No test waits for a network, or finds what an earlier one has left.
			e.Setenv("HF_ENDPOINT", "http://127.0.0.1:9")
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, ".cache"))
			e.Vars = append(e.Vars, variables...)
			return nil
		},
	})
}

// EachBackend runs test for both backends that need no GPU. A machine without XLA's plugin skips what needs it, but CI has
// to have it.
func EachBackend(t *testing.T, test func(t *testing.T, backend string)) {
	for _, kind := range []string{device.CPU, device.Go} {
		t.Run(kind, func(t *testing.T) {
			d, err := device.Open(kind)
			if err != nil {
				testneeds.Missing(t, err.Error())
			}
			d.Close()
			test(t, kind)
		})
	}
}

// Build builds another command than the one under test, from its directory, and returns the directory of the binary.
func Build(t *testing.T, command string) string {
	t.Helper()
	// Reading the sources makes go test's cache depend on them. What they import, the command under test has to import
	// too.
	sources, err := filepath.Glob(filepath.Join(command, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		if _, err := os.ReadFile(source); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir, command).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", command, err, out)
	}
	return dir
}
