package slurm_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/launch/launchtest"
	"github.com/longform-go/longform/internal/launch/slurm"
)

// needSlurm skips without the Slurm of scripts/slurm-for-tests.sh, which CI has to have.
func needSlurm(t *testing.T) {
	t.Helper()
	if conf := os.Getenv("SLURM_CONF"); strings.Contains(conf, "slurm-for-tests") {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no Slurm to test with")
	}
	t.Skip(`no Slurm to test with; start one with: eval "$(scripts/slurm-for-tests.sh)"`)
}

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
	needSlurm(t)
	launchtest.Run(t, launchtest.Harness{
		New:      func() launch.Launcher { return slurm.Launcher{} },
		Extra:    map[string]string{"partition": "low"},
		Preempt:  preempt,
		Patience: 3 * time.Minute,
	})
}
