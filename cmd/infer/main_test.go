package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/longform-go/longform/cmd/internal/clitest"
)

// TestMain lets scripts execute this test binary as infer.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"infer": main}) }

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

func TestUse(t *testing.T) { clitest.Run(t, "testdata/script/use") }

func TestWrongInput(t *testing.T) { clitest.Run(t, "testdata/script/errors") }

func TestHelp(t *testing.T) { clitest.Help(t, rootCommand) }

func TestReadme(t *testing.T) {
	clitest.Readme(t, rootCommand, func(*cobra.Command) error { return nil })
}
