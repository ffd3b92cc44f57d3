// Package testset has models write the texts of a test set, and scores what they wrote beside its references: one model
// after another, group by group, with how far the figures can be trusted.
package testset

import (
	"fmt"
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
	Name   string // by which people tell it from others
	Source *pretrained.Source
	Device string // its kind; see device.Open
	// Precision is that of its weights and arithmetic, by a name for the settings.
	Precision string
	Format    data.Format
	Open      func() (*Opened, error)
}

// Opened is a model on a device.
type Opened struct {
	Tokenizer  *data.Tokenizer
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

// Write writes what dir hasn't got yet of the texts for records, and returns all of them in their order. Each batch is on
// disk before the next is begun; the texts are those of a process that was never interrupted. Generations of other settings
// are refused. A model of which nothing is missing isn't opened. note gets lines for a person.
func Write(dir string, m Model, records []data.Record, o decoding.Options, note func(line string)) (Texts, error) {
	if err := o.Check(); err != nil {
		return Texts{}, err
	}
	file, err := openFile(dir)
	if err != nil {
		return Texts{}, err
	}
	defer file.close()
	o.EOS, o.First = m.Source.EOS(), 0
	s, err := settingsOf(m, records, o)
	if err != nil {
		return Texts{}, err
	}
	file.assume(&s)
	if err := file.agree(s, records); err != nil {
		return Texts{}, err
	}
	if len(file.kept) < len(records) {
		opened, err := m.Open()
		if err != nil {
			return Texts{}, err
		}
		defer opened.Close()
		m.Device, o.EOS = opened.Device.Kind(), m.Source.EOS() // of a model of the hub, too, which is here by now
		if s, err = settingsOf(m, records, o); err != nil {
			return Texts{}, err
		}
		if err := file.agree(s, records); err != nil {
			return Texts{}, err
		}
		if err := file.goOn(s); err != nil {
			return Texts{}, err
		}
		if len(file.kept) > 0 {
			note(fmt.Sprintf("%s goes on after %d of %d records", dir, len(file.kept), len(records)))
		}
		if err := m.write(file, opened, records, o, note); err != nil {
			return Texts{}, err
		}
	}
	return Texts{m.Name, s, file.kept}, nil
}

func (m Model) write(file *file, opened *Opened, records []data.Record, o decoding.Options, note func(line string)) error {
	f := m.Format
	f.LossOn = data.LossOutput
	longest := m.Source.Config.MaxLength()
	prompts, read := make([]prompt, len(records)), slices.Clone(records)
	for i, r := range records {
		var err error
		if prompts[i], err = newPrompt(opened.Tokenizer, f, r.Input, room(longest, o.MaxNewTokens, f.EncoderDecoder)); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
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
