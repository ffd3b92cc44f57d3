package data

import (
	"errors"
	"fmt"
	"slices"
)

// EOI marks the end of the instruction in LongForm's causal format.
const EOI = "[EOI]"

// How a causal model's text tells the instruction from the output.
const (
	EOIText  = "text"  // "{input} [EOI] {output}", the mark being ordinary text
	EOIToken = "token" // the same text; the mark is one added token
	EOINone  = "none"  // "{input}\n{output}"
)

// What a causal model's loss is taken over.
const (
	LossAll    = "all"    // instruction and output, as LongForm does
	LossOutput = "output" // the output alone
)

// NoLoss is the label of a position without a target.
const NoLoss = -100

// Format says how a record becomes token ids.
type Format struct {
	EncoderDecoder bool
	// EOI is EOIText, EOIToken or EOINone. Encoder-decoder models have EOINone:
	// their instruction and output are apart anyway.
	EOI string
	// LossOn is LossAll or LossOutput. An encoder-decoder model's targets are
	// its output in either case.
	LossOn string
	// MaxLength is the most tokens of Example.Input, MaxTargetLength of an
	// encoder-decoder model's target; 0 is no limit.
	MaxLength, MaxTargetLength int
	// EOS ends every causal example that isn't cut short.
	EOS int32
	// Pad is the id for a LoaderConfig to fill batches with; Encode pads nothing.
	Pad int32
}

// Prompt is what a model is given to write the output of input: for a causal
// model all text before the output, for an encoder-decoder model the input.
func (f Format) Prompt(input string) string {
	switch {
	case f.EncoderDecoder:
		return input
	case f.EOI == EOINone:
		return input + "\n"
	default:
		return input + " " + EOI
	}
}

// text is prompt and output as a causal model reads them.
func (f Format) text(prompt, output string) string {
	if f.EOI == EOINone {
		return prompt + output
	}
	return prompt + " " + output
}

// Example is a record as token ids.
//
// For a causal model Input is the whole text, special tokens and the closing
// EOS included, and Labels[t] the id that position t has to predict, Input[t+1],
// or NoLoss; the last is always NoLoss. For an encoder-decoder model Input is
// what the encoder reads and Labels what the decoder has to write.
type Example struct {
	Input  []int32
	Labels []int32
	Record int // the record's number, from 0
}

// Report counts what Encode made of the records.
type Report struct {
	Records       int
	Tokens        int // in all Inputs
	Targets       int // labels that aren't NoLoss
	Longest       int // the most tokens of an Input
	LongestTarget int // the most Labels of an encoder-decoder example, else 0
	Truncated     int // examples whose Input was cut at MaxLength
	CutTokens     int // tokens that these lost
	// TruncatedTargets counts the targets cut at MaxTargetLength.
	TruncatedTargets int
	// WithoutTargets counts the examples that nothing can be learnt from,
	// since all of the output was cut off.
	WithoutTargets int
}

// Encode turns records into examples, in their order, on all processors.
//
// A causal text is tokenized as a whole, then EOS is appended, then all of it
// is cut at MaxLength, so that a text cut short has no EOS. With LossOutput a
// token belongs to the output if it holds any of its characters. Encoder
// input and target are cut so that the tokenizer's closing token stays.
func Encode(tok *Tokenizer, f Format, records []Record) ([]Example, Report, error) {
	if err := f.validate(tok); err != nil {
		return nil, Report{}, err
	}
	if len(records) == 0 {
		return nil, Report{}, errors.New("no records to encode")
	}
	encode := f.causal
	if f.EncoderDecoder {
		encode = f.encoderDecoder
	}
	examples := make([]Example, len(records))
	cuts := make([]cut, len(records))
	errs := make([]error, len(records))
	parallel(len(records), func(i int) {
		examples[i], cuts[i], errs[i] = encode(tok, records[i])
		examples[i].Record = i
	})
	report := Report{Records: len(records)}
	for i, e := range examples {
		if errs[i] != nil {
			return nil, Report{}, fmt.Errorf("record %d: %w", i+1, errs[i])
		}
		report.add(f, e, cuts[i])
	}
	return examples, report, nil
}

// cut is how many tokens truncation took off an example.
type cut struct{ input, target int }

func (r *Report) add(f Format, e Example, c cut) {
	targets := countTargets(e.Labels)
	r.Tokens += len(e.Input)
	r.Targets += targets
	r.Longest = max(r.Longest, len(e.Input))
	if f.EncoderDecoder {
		r.LongestTarget = max(r.LongestTarget, len(e.Labels))
	}
	if c.input > 0 {
		r.Truncated++
		r.CutTokens += c.input
	}
	if c.target > 0 {
		r.TruncatedTargets++
	}
	if targets == 0 {
		r.WithoutTargets++
	}
}

func countTargets(labels []int32) int {
	n := 0
	for _, l := range labels {
		if l != NoLoss {
			n++
		}
	}
	return n
}

func (f Format) validate(tok *Tokenizer) error {
	if f.LossOn != LossAll && f.LossOn != LossOutput {
		return fmt.Errorf("unknown loss %q; it is %s or %s", f.LossOn, LossAll, LossOutput)
	}
	if f.MaxLength < 0 || f.MaxTargetLength < 0 {
		return fmt.Errorf("max_length %d and max_target_length %d cannot be negative", f.MaxLength, f.MaxTargetLength)
	}
	if f.EncoderDecoder {
		if f.EOI != EOINone {
			return fmt.Errorf("eoi is %q; an encoder-decoder model reads the bare instruction, so it has to be %s", f.EOI, EOINone)
		}
		return nil
	}
	if f.MaxTargetLength > 0 {
		return errors.New("max_target_length is for encoder-decoder models; this model's whole text is cut at max_length")
	}
	switch f.EOI {
	case EOIText, EOINone:
		return nil
	case EOIToken:
		if _, ok := tok.ID(EOI); !ok {
			return fmt.Errorf("eoi is %s, but the tokenizer has no token %s; it has to be added first", EOIToken, EOI)
		}
		return nil
	}
	return fmt.Errorf("unknown eoi %q; it is %s, %s or %s", f.EOI, EOIText, EOIToken, EOINone)
}

func (f Format) causal(tok *Tokenizer, r Record) (Example, cut, error) {
	prompt := f.Prompt(r.Input)
	ids, offsets, err := tok.EncodeOffsets(f.text(prompt, r.Output), true)
	if err != nil {
		return Example{}, cut{}, err
	}
	first := 0 // the first token with a loss
	if f.LossOn == LossOutput {
		first = slices.IndexFunc(offsets, func(o Offset) bool { return o.End > len(prompt) })
		if first < 0 { // the output holds nothing that the tokenizer keeps
			first = len(ids)
		}
	}
	ids, n := truncate(append(ids, f.EOS), f.MaxLength)
	labels := make([]int32, len(ids))
	for t := range labels {
		labels[t] = NoLoss
		if t+1 < len(ids) && t+1 >= first {
			labels[t] = ids[t+1]
		}
	}
	return Example{Input: ids, Labels: labels}, cut{input: n}, nil
}

func (f Format) encoderDecoder(tok *Tokenizer, r Record) (Example, cut, error) {
	input, n := truncateBefore(tok.Encode(r.Input, true), f.MaxLength, f.EOS)
	labels, m := truncateBefore(tok.Encode(r.Output, true), f.MaxTargetLength, f.EOS)
	return Example{Input: input, Labels: labels}, cut{input: n, target: m}, nil
}

// truncate returns at most limit ids and how many more there were.
func truncate(ids []int32, limit int) ([]int32, int) {
	if limit == 0 || len(ids) <= limit {
		return ids, 0
	}
	return ids[:limit:limit], len(ids) - limit
}

// truncateBefore is truncate, but where the ids end with eos they still do.
func truncateBefore(ids []int32, limit int, eos int32) ([]int32, int) {
	kept, n := truncate(ids, limit)
	if n > 0 && ids[len(ids)-1] == eos {
		kept[len(kept)-1] = eos
	}
	return kept, n
}
