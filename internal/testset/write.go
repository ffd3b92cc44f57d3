// Package testset has models write the texts of a test set, and scores what they wrote beside its references: one model
// after another, group by group, with how far the figures can be trusted.
package testset

import (
	"fmt"
	"math"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/evaluation"
	"github.com/longform-go/longform/internal/pretrained"
)

// rows is how many texts are written at once. They are the same ones whenever writing goes on after an interruption, so
// that programs have the same shapes and numbers are rounded alike.
const rows = 8

// Model is a model on a device.
type Model struct {
	Source     *pretrained.Source
	Tokenizer  *data.Tokenizer
	Device     *device.Device
	Parameters *pretrained.Parameters
	Format     data.Format // MaxLength is the model's
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
}

// Write writes what dir hasn't got yet of the texts for records, and returns all of them in their order. Each batch is on
// disk before the next is begun; the texts are those of a process that was never interrupted. Generations of other settings
// are refused. note gets lines for a person.
func Write(dir string, m Model, records []data.Record, o decoding.Options, note func(line string)) ([]Generation, error) {
	o.EOS, o.First = m.Source.EOS(), 0
	if err := o.Check(); err != nil {
		return nil, err
	}
	prompts, err := m.prompts(records)
	if err != nil {
		return nil, err
	}
	file, err := openFile(dir, settingsOf(m, records, o))
	if err != nil {
		return nil, err
	}
	defer file.close()
	if len(file.kept) == len(records) {
		return file.kept, nil
	}
	if len(file.kept) > 0 {
		note(fmt.Sprintf("%s goes on after %d of %d records", dir, len(file.kept), len(records)))
	}
	f := m.Format
	f.LossOn = data.LossOutput
	examples, report, err := data.Encode(m.Tokenizer, f, records)
	if err != nil {
		return nil, err
	}
	if report.Truncated > 0 {
		note(fmt.Sprintf("perplexity: %d of %d records cut to the %d tokens that the model reads, %d tokens lost", report.Truncated, report.Records, f.MaxLength, report.CutTokens))
	}
	generator, scorer := decoding.New(m.Device, m.Parameters), evaluation.NewScorer(m.Device, m.Parameters.Spec)
	defer generator.Close()
	defer scorer.Close()
	for at := len(file.kept); at < len(records); at = len(file.kept) {
		end := min(at+rows, len(records))
		o.First = at
		texts, err := generator.Generate(prompts[at:end], o)
		if err != nil {
			return nil, err
		}
		likelihoods, err := scorer.Likelihoods(m.Parameters.Values, examples[at:end], f, rows)
		if err != nil {
			return nil, err
		}
		batch := make([]Generation, end-at)
		for i, text := range texts {
			r, l := records[at+i], likelihoods[i]
			if math.IsNaN(l.NLL) || math.IsInf(l.NLL, 0) {
				return nil, fmt.Errorf("record %d: the model's likelihood of the reference is %v; look at its weights", at+i, -l.NLL)
			}
			batch[i] = Generation{r.Input, r.Output, r.Source, r.Subset, m.Tokenizer.Decode(text.IDs, true), text.IDs, text.FinishReason, l.NLL, l.Targets}
		}
		if err := file.add(batch); err != nil {
			return nil, err
		}
		note(fmt.Sprintf("%s  %d of %d records", dir, end, len(records)))
	}
	return file.kept, nil
}

// prompts are the records' inputs in the model's format, as token ids. One that leaves no room for a text is refused before
// any is written.
func (m Model) prompts(records []data.Record) ([][]int32, error) {
	texts := make([]string, len(records))
	for i, r := range records {
		texts[i] = m.Format.Prompt(r.Input)
	}
	prompts := m.Tokenizer.EncodeAll(texts, true)
	longest := m.Source.Config.MaxLength()
	for i, p := range prompts {
		if longest > 0 && len(p) >= longest {
			return nil, fmt.Errorf("record %d: its prompt has %d tokens; model %s reads at most %d, new ones included: shorten the input, or leave the record out", i, len(p), m.Source.Name, longest)
		}
	}
	return prompts, nil
}
