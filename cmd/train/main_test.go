package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/longform-go/longform/cmd/internal/clitest"
	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/testneeds"
)

// TestMain lets scripts execute this test binary as train.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"train": main}) }

func TestParity(t *testing.T) {
	clitest.EachBackend(t, func(t *testing.T, backend string) {
		for _, family := range clitest.Families {
			t.Run(family, func(t *testing.T) {
				t.Parallel()
				clitest.Run(t, "testdata/script/parity", "BACKEND="+backend, "FAMILY="+family)
			})
		}
	})
}

func TestResume(t *testing.T) {
	steps := map[string]int{"cpu": 100, "go": 12} // enough to be stopped in the middle
	signals := map[string]string{"cpu": "TERM", "go": "INT"}
	clitest.EachBackend(t, func(t *testing.T, backend string) {
		t.Parallel()
		n := steps[backend]
		clitest.Run(t, "testdata/script/resume", "BACKEND="+backend, "SIGNAL="+signals[backend],
			fmt.Sprintf("STEPS=%d", n), fmt.Sprintf("LAST=step-%06d", n))
	})
}

func TestLoRA(t *testing.T) {
	infer := clitest.Build(t, "../infer") // for infer score
	for _, family := range clitest.Families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			clitest.Run(t, "testdata/script/lora", "INFER="+infer+"/infer", "FAMILY="+family)
		})
	}
}

func TestGGUF(t *testing.T) {
	clitest.Run(t, "testdata/script/gguf", "INFER="+clitest.Build(t, "../infer")+"/infer")
}

func TestDifference(t *testing.T) {
	clitest.Run(t, "testdata/script/difference", "INFER="+clitest.Build(t, "../infer")+"/infer")
}

func TestCard(t *testing.T) {
	clitest.Run(t, "testdata/script/card", "INFER="+clitest.Build(t, "../infer")+"/infer")
}

func TestSweep(t *testing.T) { clitest.Run(t, "testdata/script/sweep") }

// TestLaunch has runs started by this host, by a Slurm, which runs a sweep too, and by a Ray.
func TestLaunch(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		clitest.Run(t, "testdata/script/launch", "ON=local", "ADDRESS=http://localhost:8265")
	})
	t.Run("slurm", func(t *testing.T) {
		conf := testneeds.Slurm(t)
		clitest.Run(t, "testdata/script/launch", "ON=slurm", "SLURM_CONF="+conf, "ADDRESS=http://localhost:8265")
		clitest.Run(t, "testdata/script/slurm", "SLURM_CONF="+conf)
	})
	t.Run("ray", func(t *testing.T) {
		clitest.Run(t, "testdata/script/launch", "ON=ray", "ADDRESS="+testneeds.Ray(t))
	})
}

func TestRun(t *testing.T) { clitest.Run(t, "testdata/script/run") }

func TestWrongInput(t *testing.T) { clitest.Run(t, "testdata/script/errors") }

func TestHelp(t *testing.T) { clitest.Help(t, rootCommand) }

// TestReadme also finds recipes that aren't there, and settings that can't be.
func TestReadme(t *testing.T) {
	clitest.Readme(t, rootCommand, func(c *cobra.Command) error {
		settings := slices.DeleteFunc(c.Flags().Args(), func(word string) bool { return !strings.Contains(word, "=") })
		if on := c.Flags().Lookup("on"); on != nil && on.Changed {
			settings = append(settings, "launch.on="+on.Value.String())
		}
		var file string
		if config := c.Flags().Lookup("config"); config != nil {
			file = config.Value.String()
		}
		if strings.HasSuffix(file, ".yaml") && !strings.HasPrefix(file, "configs/") {
			file = "" // the reader's own
		}
		if strings.HasPrefix(c.CommandPath(), "train sweep") {
			_, err := configs.LoadSweep(cmp.Or(file, "configs/sweeps/demo.yaml"), settings)
			return err
		}
		if file == "" {
			file, settings = "finetune", append([]string{"model.path=a", "data.train=b", "data.validation=c", "run.dir=d"}, settings...)
		}
		_, err := configs.Load(file, settings)
		return err
	})
}
