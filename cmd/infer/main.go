// Command infer writes with a model, and measures the likelihood that it gives to texts.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/gomlx/compute/dtypes"
	"github.com/spf13/cobra"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/pretrained"
)

// version is set when the binary is built.
var version = "unknown"

func main() {
	if err := rootCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "infer:", err)
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "infer",
		Short: "Generate and score with T5, OPT and LLaMA models",
		Long: `Generate and score with T5, OPT and LLaMA models. A model is a directory that from_pretrained opens, a run's directory,
or a PEFT adapter.`,
		Example: `  infer generate --model runs/demo --prompts data/demo/prompts.jsonl
  infer score --model runs/demo --data data/demo/validation.jsonl`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(generateCommand(), scoreCommand(), tokenizeCommand())
	return root
}

// model is what every command opens.
type model struct {
	device     *device.Device
	source     *pretrained.Source
	tokenizer  *data.Tokenizer
	parameters *pretrained.Parameters
}

// modelFlags are the flags that choose a model and where it runs.
type modelFlags struct{ path, device string }

func (f *modelFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.path, "model", "", "model directory, run directory or PEFT adapter")
	c.Flags().StringVar(&f.device, "device", device.Auto, "auto, cuda, cpu or go")
	_ = c.MarkFlagRequired("model") // the flag exists
}

// open loads the model's weights in float32 onto the device.
func (f *modelFlags) open() (*model, error) {
	source, err := pretrained.Find(f.path)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	m := &model{source: source}
	if m.tokenizer, err = source.Tokenizer(); err != nil {
		return nil, err
	}
	spec, err := pretrained.NewSpec(source.Config, source.LoRA, dtypes.Float32, dtypes.Float32)
	if err != nil {
		return nil, err
	}
	if m.device, err = device.Open(f.device, device.WithoutTF32); err != nil {
		return nil, err
	}
	if m.parameters, err = source.Load(m.device, spec, 0); err != nil {
		m.device.Close()
		return nil, err
	}
	return m, nil
}

func (m *model) close() {
	m.parameters.Free()
	m.device.Close()
}

// printer writes one JSON object a line.
func printer(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}
