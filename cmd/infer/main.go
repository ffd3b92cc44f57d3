// Command infer uses a model: it writes, chats, serves, scores, evaluates and measures speed.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gomlx/compute/dtypes"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
a PEFT adapter, or a GGUF file of a LLaMA.`,
		Example: `  infer generate --model runs/demo --prompts data/demo/prompts.jsonl
  infer score --model runs/demo --data data/demo/validation.jsonl`,
		Version: version,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("no command %q; see infer --help", args[0])
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			return errors.New("no command given; see infer --help")
		},
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
	})
	root.AddCommand(generateCommand(), chatCommand(), serveCommand(), scoreCommand(), evaluateCommand(), benchCommand(), tokenizeCommand())
	return root
}

// noArguments refuses words that belong to no flag.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes flags only, but got %q; see %[1]s --help", c.CommandPath(), args)
	}
	return nil
}

// model is what every command opens.
type model struct {
	device     *device.Device
	source     *pretrained.Source
	tokenizer  *data.Tokenizer
	parameters *pretrained.Parameters
}

// modelFlags are the flags that choose a model, where it runs, and with which numbers.
type modelFlags struct{ path, device, precision string }

// modelHelp says what --model takes.
const modelHelp = "model directory, run directory, PEFT adapter or GGUF file"

func (f *modelFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.path, "model", "", modelHelp)
	f.addDevice(c.Flags())
}

func (f *modelFlags) addDevice(flags *pflag.FlagSet) {
	flags.StringVar(&f.device, "device", device.Auto, "auto, cuda, cpu or go")
	flags.StringVar(&f.precision, "precision", "float32", "of weights and arithmetic: float32 or bf16")
}

// dtype is the element type of weights and activations.
func (f *modelFlags) dtype() (dtypes.DType, error) {
	switch f.precision {
	case "float32":
		return dtypes.Float32, nil
	case "bf16":
		return dtypes.BFloat16, nil
	}
	return dtypes.InvalidDType, fmt.Errorf("--precision is %q; it must be float32 or bf16", f.precision)
}

// findModel looks up what --model names.
func findModel(path string) (*pretrained.Source, error) {
	if path == "" {
		return nil, errors.New("no model given; give one with --model DIR")
	}
	return pretrained.Find(path)
}

// open loads the model's weights onto the device.
func (f *modelFlags) open() (*model, error) {
	source, err := findModel(f.path)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	return f.load(source)
}

func (f *modelFlags) load(source *pretrained.Source) (*model, error) {
	tokenizer, err := source.Tokenizer()
	if err != nil {
		return nil, err
	}
	m, err := f.place(source, false)
	if err != nil {
		return nil, err
	}
	m.tokenizer = tokenizer
	return m, nil
}

// place opens the device and puts the model's weights there, or random ones.
func (f *modelFlags) place(source *pretrained.Source, random bool) (*model, error) {
	dtype, err := f.dtype()
	if err != nil {
		return nil, err
	}
	spec, err := pretrained.NewSpec(source.Config, source.LoRA, dtype, dtype)
	if err != nil {
		return nil, err
	}
	spec = spec.Joined()
	m := &model{source: source}
	if m.device, err = device.Open(f.device, device.WithoutTF32); err != nil {
		return nil, err
	}
	if random {
		m.parameters, err = pretrained.Random(m.device, spec, 0)
	} else {
		m.parameters, err = source.Load(m.device, spec, 0)
	}
	if err != nil {
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
