package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/internal/device"
)

func doctorCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say which devices work here, and how to mend those that don't",
		Example: `  train doctor
  train doctor --describe gpu.txtpb`,
		Args: takes(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			if file != "" {
				return describe(out, file)
			}
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
	c.Flags().StringVar(&file, "describe", "", "write what XLA knows of this machine's GPU to a file, to compile for it elsewhere")
	return c
}

// describe writes the description of the GPU here to a file.
func describe(out io.Writer, file string) error {
	d, err := device.Open(device.CUDA)
	if err != nil {
		return err
	}
	defer d.Close()
	text, err := d.Describe()
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(out, "wrote %s: %s\n", file, d.Description())
	return nil
}
