package slurm_test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/launch/launchtest"
	"github.com/longform-go/longform/internal/launch/slurm"
	"github.com/longform-go/longform/internal/testneeds"
)

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func number(t *testing.T, id string) string {
	t.Helper()
	n, err := slurm.Number(id)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// preempt has another job take the node of this one for a moment, which may cost others there their place, too.
func preempt(t *testing.T, id string) {
	node := command(t, "squeue", "--noheader", "--format=%N", "--jobs", number(t, id))
	command(t, "sbatch", "--partition=high", "--nodelist="+node, "--exclusive", "--output=/dev/null", "--wait", "--wrap=sleep 1")
}

func TestConformance(t *testing.T) {
	testneeds.Slurm(t)
	launchtest.Run(t, launchtest.Harness{
		New:      func() launch.Launcher { return slurm.Launcher{} },
		Extra:    map[string]string{"partition": "low"},
		Preempt:  preempt,
		Patience: 3 * time.Minute,
	})
}
