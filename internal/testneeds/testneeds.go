// Package testneeds is about what tests need that isn't in this repository: on a machine without it they are skipped, and CI,
// which promises that all of them run, fails.
package testneeds

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// CI says whether this is CI.
func CI() bool { return os.Getenv("CI") == "true" }

// Missing skips a test, or fails it in CI. It says what is missing, and how to get it.
func Missing(tb testing.TB, what string) {
	tb.Helper()
	if CI() {
		tb.Fatal(what)
	}
	tb.Skip(what)
}

// imports has for each attempt to import modules a func() error, since some take seconds.
var imports sync.Map

// Python is an interpreter that has modules: $LONGFORM_PYTHON, or python3.
func Python(tb testing.TB, modules ...string) string {
	tb.Helper()
	name, statement := cmp.Or(os.Getenv("LONGFORM_PYTHON"), "python3"), "import "+strings.Join(modules, ", ")
	attempt, _ := imports.LoadOrStore(name+" "+statement, sync.OnceValue(func() error {
		out, err := exec.Command(name, "-W", "ignore", "-c", statement).CombinedOutput()
		if err == nil {
			return nil
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s can't %s (%w: %s); install what scripts/ci-requirements.txt says", name, statement, err, lines[len(lines)-1])
	}))
	if err := attempt.(func() error)(); err != nil {
		Missing(tb, err.Error())
	}
	return name
}

// Slurm is the configuration of the Slurm that scripts/slurm-for-tests.sh has started.
func Slurm(tb testing.TB) (conf string) {
	tb.Helper()
	conf = os.Getenv("SLURM_CONF")
	if !strings.Contains(conf, "slurm-for-tests") {
		Missing(tb, `no Slurm to test with; start one with: eval "$(scripts/slurm-for-tests.sh)"`)
	}
	return conf
}

// Ray is the address of the Ray that scripts/ray-for-tests.sh has started.
func Ray(tb testing.TB) (address string) {
	tb.Helper()
	address = os.Getenv("RAY_ADDRESS")
	if address == "" {
		Missing(tb, `no Ray to test with; start one with: eval "$(scripts/ray-for-tests.sh)"`)
	}
	return address
}

// Output is what a command prints; one that fails, fails the test.
func Output(tb testing.TB, c *exec.Cmd) []byte {
	tb.Helper()
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		tb.Fatalf("%s: %v: %s", c, err, exit.Stderr)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return out
}
