// Package testset has models write the texts of a test set, and scores what they wrote beside its references: one model
// after another, group by group, with how far the figures can be trusted.
package testset

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/evaluation"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/testset/scores"
)

// rows is how many texts are written at once, and scored how many references are read at once. They are the same ones whenever
// writing goes on after an interruption, so that programs have the same shapes and numbers are rounded alike.
const (
	rows   = 64
	scored = 8
)

// Model is a model that is opened when there is something to write.
type Model struct {
	Name   string // by which people, and directories, tell it from others
	Source *pretrained.Source
	Device string // its kind; see device.Open
	// Precision is that of its weights and arithmetic, by a name for the settings.
	Precision string
	Open      func() (*Opened, error)
}

// Opened is a model on a device.
type Opened struct {
	Tokenizer  *data.Tokenizer
	Format     data.Format
	Device     *device.Device
	Parameters *pretrained.Parameters
	Close      func()
}

// Texts are what a model wrote.
type Texts struct {
	Model       string
	Settings    scores.Settings
	Generations []Generation
}

// Generation is what a model wrote for a record.
type Generation struct {
	Input        string  `json:"input"`
	Output       string  `json:"output"` // the reference
	Source       string  `json:"source,omitempty"`
	Subset       string  `json:"subset,omitempty"`
	Text         string  `json:"text"`
	TokenIDs     []int32 `json:"token_ids"`
	FinishReason string  `json:"finish_reason"`
	// ReferenceNLL is the negative log-likelihood, in nats, that the model gives to the reference after the instruction,
	// over ReferenceTokens tokens.
	ReferenceNLL    float64 `json:"reference_nll"`
	ReferenceTokens int     `json:"reference_tokens"`
	// InputCut is how many tokens the model hasn't read of an input that was too long, and ReferenceCut how many of what
	// followed for the likelihood.
	InputCut     int `json:"input_cut,omitempty"`
	ReferenceCut int `json:"reference_cut,omitempty"`
}

// Write writes what out, with a directory for each model's name, hasn't got yet of the texts for records, and returns all of them
// in their order. Each batch is on disk before the next is begun; the texts are those of a process that was never interrupted.
// Generations of other settings are refused, before any model writes. A model of which nothing is missing isn't opened. note gets
// lines for a person.
func Write(out string, models []Model, records []data.Record, o decoding.Options, note func(line string)) ([]Texts, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	files, texts := make([]*file, len(models)), make([]Texts, len(models))
	for i, m := range models {
		file, err := openFile(filepath.Join(out, m.Name))
		if err != nil {
			return nil, err
		}
		defer file.close()
		o.EOS = m.Source.EOS()
		s, err := settingsOf(m, records, o)
		if err != nil {
			return nil, err
		}
		file.assume(&s)
		if err := file.agree(s, records); err != nil {
			return nil, err
		}
		files[i], texts[i] = file, Texts{Model: m.Name, Settings: s}
	}
	for i, m := range models {
		if len(files[i].kept) < len(records) {
			var err error
			if texts[i].Settings, err = m.complete(files[i], records, o, note); err != nil {
				return nil, err
			}
		}
		texts[i].Generations = files[i].kept
	}
	return texts, nil
}

// complete opens the model and has it write what is missing in a file.
func (m Model) complete(file *file, records []data.Record, o decoding.Options, note func(line string)) (scores.Settings, error) {
	opened, err := m.Open()
	if err != nil {
		return scores.Settings{}, err
	}
	defer opened.Close()
	m.Device, o.EOS = opened.Device.Kind(), m.Source.EOS() // those of a model of the hub, too, which is here by now
	s, err := settingsOf(m, records, o)
	if err != nil {
		return s, err
	}
	if err := file.agree(s, records); err != nil {
		return s, err
	}
	if err := file.goOn(s); err != nil {
		return s, err
	}
	if len(file.kept) > 0 {
		note(fmt.Sprintf("%s goes on after %d of %d records", file.dir, len(file.kept), len(records)))
	}
	return s, m.write(file, opened, records, o, note)
}

func (m Model) write(file *file, opened *Opened, records []data.Record, o decoding.Options, note func(line string)) error {
	f := opened.Format
	f.LossOn = data.LossOutput
	longest := m.Source.Config.MaxLength()
	prompts, read := make([]prompt, len(records)), slices.Clone(records)
	for i, r := range records {
		var err error
		if prompts[i], err = newPrompt(opened.Tokenizer, f, r.Input, room(longest, o.MaxNewTokens, f.EncoderDecoder)); err != nil {
			return fmt.Errorf("record %d: %w", i+1, err)
		}
		read[i].Input = prompts[i].instruction
	}
	whole, _, err := data.Encode(opened.Tokenizer, f, read)
	if err != nil {
		return err
	}
	f.MaxLength = longest
	examples, _, err := data.Encode(opened.Tokenizer, f, read)
	if err != nil {
		return err
	}
	generator, scorer := decoding.New(opened.Device, opened.Parameters), evaluation.NewScorer(opened.Device, opened.Parameters.Spec)
	defer generator.Close()
	defer scorer.Close()
	for at := len(file.kept); at < len(records); at = len(file.kept) {
		end := min(at+rows, len(records))
		o.First = at
		ids := make([][]int32, end-at)
		for i := range ids {
			ids[i] = prompts[at+i].ids
		}
		texts, err := generator.Generate(ids, o)
		if err != nil {
			return err
		}
		likelihoods, err := scorer.Likelihoods(opened.Parameters.Values, examples[at:end], f, scored)
		if err != nil {
			return err
		}
		batch := make([]Generation, end-at)
		for i, text := range texts {
			r, l := records[at+i], likelihoods[i]
			batch[i] = Generation{
				Input: r.Input, Output: r.Output, Source: r.Source, Subset: r.Subset,
				Text: opened.Tokenizer.Decode(text.IDs, true), TokenIDs: text.IDs, FinishReason: text.FinishReason,
				ReferenceNLL: l.NLL, ReferenceTokens: l.Targets,
				InputCut: prompts[at+i].cut, ReferenceCut: len(whole[at+i].Input) - len(examples[at+i].Input),
			}
		}
		if err := file.add(batch); err != nil {
			return err
		}
		note(fmt.Sprintf("%s  %d of %d records", file.dir, end, len(records)))
	}
	return nil
}
