// Command train fine-tunes a language model from one configuration file, resumes a run, says what a run will need, and
// writes the result for others to open.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/internal/launch"
)

// version is set when the binary is built.
var version = "unknown"

func main() {
	if err := rootCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		if errors.Is(err, errRequeue) {
			os.Exit(launch.Requeue)
		}
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	run := runCommand()
	root := &cobra.Command{
		Use:   "train",
		Short: "Fine-tune T5, OPT and LLaMA models",
		Long: `Fine-tune T5, OPT and LLaMA models on instructions and texts.

"train -c FILE" means "train run -c FILE".`,
		Example: `  train run -c configs/demo.yaml
  train plan -c configs/longform-opt-125m.yaml
  train resume runs/demo`,
		Version: version,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 && !strings.Contains(args[0], "=") {
				return fmt.Errorf("no command %q; see train --help", args[0])
			}
			return nil
		},
		RunE:              run.RunE,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.Flags().AddFlagSet(run.Flags())
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
	})
	root.AddCommand(run, planCommand(), resumeCommand(), sweepCommand(), launchCommand(), exportCommand(), doctorCommand())
	return root
}

// takes accepts n arguments and says what they are.
func takes(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%s takes %s, but got %q; see %[1]s --help", c.CommandPath(), what, args)
		}
		return nil
	}
}
