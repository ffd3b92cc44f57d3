package data

import "slices"

// Batch is what one step trains on: the same number of rows every time, and
// one of a few lengths, so that a compiled program is used again.
//
// Inputs and, if they are there, Segments and Positions are [rows, length];
// Labels are [rows, targetLength]. A row beyond its tokens, and a row without
// any, holds Pad and NoLoss.
type Batch struct {
	Rows, Length, TargetLength int

	Inputs  []int32
	Lengths []int32 // [rows]: the tokens of each row of Inputs
	// Segments numbers the documents of a row from 1, with 0 for padding, and
	// Positions counts the tokens of each from 0. Both are nil unless documents
	// are packed with a barrier: no token may then attend to another document.
	Segments, Positions []int32
	Labels              []int32 // the id to predict at each position, or NoLoss

	Targets int   // labels that count
	Tokens  int   // input tokens that aren't padding
	Records []int // the numbers of the records in it, to name a bad batch

	records [][]int // of each row
}

// newBatch returns a batch of empty rows.
func newBatch(rows, length, targetLength int, pad int32, barrier bool) Batch {
	b := Batch{
		Rows: rows, Length: length, TargetLength: targetLength,
		Inputs:  slices.Repeat([]int32{pad}, rows*length),
		Lengths: make([]int32, rows),
		Labels:  slices.Repeat([]int32{NoLoss}, rows*targetLength),
		records: make([][]int, rows),
	}
	if barrier {
		b.Segments = make([]int32, rows*length)
		b.Positions = make([]int32, rows*length)
	}
	return b
}

// add puts input and labels behind what row holds already; a decoder's labels
// only ever come into an empty row.
func (b *Batch) add(row int, input, labels []int32, record int) {
	at := int(b.Lengths[row])
	copy(b.Inputs[row*b.Length+at:(row+1)*b.Length], input)
	copy(b.Labels[row*b.TargetLength+at:(row+1)*b.TargetLength], labels)
	b.Lengths[row] += int32(len(input))
	b.records[row] = append(b.records[row], record)
}

// count fills in the sums over the rows.
func (b *Batch) count() {
	b.Targets, b.Tokens, b.Records = countTargets(b.Labels), 0, slices.Concat(b.records...)
	for _, n := range b.Lengths {
		b.Tokens += int(n)
	}
	b.Records = slices.Compact(b.Records) // a record cut at a block's end is in two rows
}
