// Package training fine-tunes a model: from a configuration to examples, a plan, steps, and checkpoints to resume from.
package training

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/data/demo"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/models"
)

// Setup is a run before it needs a device: the model's configuration, the tokenizer and the examples.
type Setup struct {
	Config     configs.Config
	Source     *pretrained.Source
	Model      models.Config // Source's, with room for the tokens that the recipe adds
	Spec       *pretrained.Spec
	Tokenizer  *data.Tokenizer
	Format     data.Format // of the records
	Train      []data.Example
	Validation []data.Example    // empty without a validation set
	files      map[string][]byte // beside the weights of a checkpoint
	// Report and ValidationReport tell what encoding cut off.
	Report, ValidationReport data.Report
}

// Prepare reads all that a run reads before it starts, and refuses what doesn't fit together. The caller closes the setup.
func Prepare(c configs.Config) (*Setup, error) {
	source, err := pretrained.Find(c.Model.Path)
	if err != nil {
		return nil, err
	}
	s := &Setup{Config: c, Source: source}
	if err := s.prepare(); err != nil {
		source.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the model's files.
func (s *Setup) Close() { s.Source.Close() }

func (s *Setup) prepare() error {
	var err error
	if s.Format, err = s.format(); err != nil {
		return err
	}
	model := s.Config.Model
	if s.Source.Adapter != "" {
		if err := s.continues(model.LoRA); err != nil {
			return err
		}
		model.LoRA.Targets = s.Source.LoRA.Targets
	}
	if s.Spec, err = NewSpec(model, s.Model); err != nil {
		return err
	}
	if model.Init != "random" {
		// Data may take long to encode: what doesn't fit is said before.
		if err := s.Source.Check(s.Spec); err != nil {
			return err
		}
	}
	if s.files, err = s.Source.TrainedFiles(s.Tokenizer, s.Format); err != nil {
		return err
	}
	if err := s.encodeTrain(); err != nil {
		return err
	}
	if len(s.Config.Data.Validation) > 0 {
		s.Validation, s.ValidationReport, err = s.encode("data.validation", s.Config.Data.Validation, s.Format)
	}
	return err
}

// continues refuses settings that are not those of the adapter that the run starts from.
func (s *Setup) continues(c configs.LoRA) error {
	a := s.Source.LoRA
	switch {
	case !c.Enabled || s.Config.Model.Init == "random":
		return fmt.Errorf("model %s is an adapter; set model.lora.enabled=true to train it further, or merge it with train export", s.Source.Name)
	case c.Rank != a.Rank || c.Alpha != a.Alpha:
		return fmt.Errorf("model %s is an adapter of rank %d and alpha %v; set model.lora.rank=%d model.lora.alpha=%v", s.Source.Name, a.Rank, a.Alpha, a.Rank, a.Alpha)
	case len(c.Targets) > 0 && !slices.Equal(slices.Sorted(slices.Values(c.Targets)), a.Targets):
		return fmt.Errorf("model %s is an adapter of %v, not %v; leave model.lora.targets empty", s.Source.Name, a.Targets, c.Targets)
	}
	return nil
}

// format opens the tokenizer, adds the token that the recipe asks for, and fits the model's vocabulary to it.
func (s *Setup) format() (data.Format, error) {
	var err error
	if s.Config.Model.Init != "random" {
		err = s.Source.Download()
	}
	if name := s.Config.Model.Tokenizer; name != "" && err == nil {
		err = s.Source.UseTokenizer(name)
	}
	if err != nil {
		return data.Format{}, err
	}
	if s.Tokenizer, err = s.Source.Tokenizer(); err != nil {
		return data.Format{}, err
	}
	config := s.Source.Config
	s.Model = config
	f := pretrained.FormatFor(config)
	d := s.Config.Data
	if d.EOI != "" && !f.EncoderDecoder {
		f.EOI = d.EOI
	}
	if f.EOI == data.EOIToken {
		if s.Tokenizer, err = s.Tokenizer.WithToken(data.EOI); err != nil {
			return data.Format{}, fmt.Errorf("model %s: %w", s.Source.Name, err)
		}
		if size := s.Tokenizer.Size(); size > config.Vocabulary() {
			if s.Config.Model.LoRA.Enabled {
				return data.Format{}, fmt.Errorf("data.eoi: token needs a new row in the embedding, which LoRA doesn't train; set data.eoi: text")
			}
			s.Model = config.WithVocabulary(size)
		}
	}
	f.LossOn, f.MaxLength = d.Loss, d.MaxLength
	if f.EncoderDecoder {
		f.MaxTargetLength = d.MaxTargetLength
	}
	if longest := config.MaxLength(); longest > 0 && d.MaxLength > longest {
		return data.Format{}, fmt.Errorf("data.max_length is %d, but %s reads at most %d positions; lower it", d.MaxLength, s.Source.Name, longest)
	}
	return f, nil
}

// NewSpec lists the parameters that a run of configuration c keeps for a model.
func NewSpec(c configs.Model, config models.Config) (*pretrained.Spec, error) {
	if c.Dropout != nil {
		config = config.WithDropout(*c.Dropout)
	}
	stored, compute := dtypes.Float32, dtypes.Float32
	switch c.Precision {
	case "mixed":
		compute = dtypes.BFloat16
	case "bf16":
		stored, compute = dtypes.BFloat16, dtypes.BFloat16
	}
	var lora *models.LoRA
	if c.LoRA.Enabled {
		lora = &models.LoRA{Rank: c.LoRA.Rank, Alpha: c.LoRA.Alpha, Dropout: c.LoRA.Dropout, Targets: c.LoRA.Targets, Quantize: c.Quantize == "nf4"}
		if len(lora.Targets) == 0 {
			lora.Targets = config.LoRATargets()
		}
	}
	return pretrained.NewSpec(config, lora, stored, compute)
}

func (s *Setup) encodeTrain() (err error) {
	f := s.Format
	if s.Config.Data.Packing == data.PackingBlocks {
		f.MaxLength = 0 // blocks cut the texts, and keep all of them
	}
	s.Train, s.Report, err = s.encode("data.train", s.Config.Data.Train, f)
	return err
}

func (s *Setup) encode(key string, sources []string, f data.Format) ([]data.Example, data.Report, error) {
	var files []data.File
	for _, source := range sources {
		found, err := filesOf(source)
		if err != nil {
			return nil, data.Report{}, fmt.Errorf("%s: %w", key, err)
		}
		files = append(files, found...)
	}
	examples, report, err := data.EncodeFiles(s.Tokenizer, f, files)
	if err != nil {
		return nil, data.Report{}, fmt.Errorf("%s: %w", key, err)
	}
	if report.Targets == 0 {
		return nil, data.Report{}, fmt.Errorf("%s: no record has a target left after truncation to %d tokens; raise data.max_length", key, f.MaxLength)
	}
	return examples, report, nil
}

// filesOf finds the files of a source: a file, a dataset of the hub, or a part of the demo, "demo:train" or
// "demo:validation".
func filesOf(source string) ([]data.File, error) {
	part, ok := strings.CutPrefix(source, "demo:")
	if !ok {
		return data.Files(source, "train")
	}
	text, err := demo.Files.ReadFile(part + ".jsonl")
	if err != nil {
		return nil, fmt.Errorf("%s: the demo has the parts demo:train and demo:validation", source)
	}
	return []data.File{{Name: source, Text: text}}, nil
}

// Steps is how many steps the run of a configuration has. Where it is given in epochs, its data are read, and the tokenizer;
// weights aren't.
func Steps(c configs.Config) (int, error) {
	if c.Run.Steps > 0 {
		return c.Run.Steps, nil
	}
	c.Model.Init = "random" // so that no weights are looked for
	source, err := pretrained.Find(c.Model.Path)
	if err != nil {
		return 0, err
	}
	defer source.Close()
	s := &Setup{Config: c, Source: source}
	if s.Format, err = s.format(); err != nil {
		return 0, err
	}
	if err := s.encodeTrain(); err != nil {
		return 0, err
	}
	l, err := s.loader(s.Train, c.Run.BatchSize, c.Data)
	if err != nil {
		return 0, fmt.Errorf("data.train: %w", err)
	}
	return s.steps(l)
}

// loader deals out batches of size rows.
func (s *Setup) loader(examples []data.Example, size int, d configs.Data) (*data.Loader, error) {
	return data.NewLoader(examples, data.LoaderConfig{
		BatchSize: size, Packing: d.Packing, BlockLength: d.MaxLength, Order: d.Order, Seed: s.Config.Run.Seed,
		Buckets: d.Buckets, Pad: int32(s.Model.Tokens().Pad), EncoderDecoder: s.Model.EncoderDecoder(),
	})
}

// validationBatches are the validation set as batches of a micro-batch's rows, in file order and unpacked, so that the
// loss is a property of the set alone.
func (s *Setup) validationBatches() ([]data.Batch, error) {
	if len(s.Validation) == 0 {
		return nil, nil
	}
	d := s.Config.Data
	d.Packing, d.Order = data.PackingNone, data.OrderFile
	l, err := s.loader(s.Validation, s.Config.Run.MicroBatchSize, d)
	if err != nil {
		return nil, fmt.Errorf("data.validation: %w", err)
	}
	batches := make([]data.Batch, l.BatchesPerEpoch())
	for i := range batches {
		batches[i] = l.Next()
	}
	return batches, nil
}
