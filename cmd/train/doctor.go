package main

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/internal/device"
)

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "doctor",
		Short:   "Say which devices work here, and how to mend those that don't",
		Example: "  train doctor",
		Args:    takes(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "longform %s, %s, %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			broken := 0
			for _, f := range device.Diagnose() {
				fmt.Fprintf(out, "%-8s %-20s %s\n", f.State, f.Name, f.Detail)
				if f.State != device.OK && f.Fix != "" {
					fmt.Fprintf(out, "%-8s %-20s mend with: %s\n", "", "", f.Fix)
				}
				if f.State == device.Broken {
					broken++
				}
			}
			d, err := device.Open(device.Auto)
			if err != nil {
				return err
			}
			defer d.Close()
			fmt.Fprintf(out, "auto     takes %s: %s\n", d.Kind(), d.Description())
			if broken > 0 {
				return errors.New("something that is installed doesn't work; see above")
			}
			return nil
		},
	}
}
