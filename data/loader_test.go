package data

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const testPad = 99

// causalExamples makes examples of the given lengths whose tokens tell where
// they are from: 1000*(record+1) + position. Those whose number is odd have
// their loss on the second half only.
func causalExamples(lengths ...int) []Example {
	examples := make([]Example, len(lengths))
	for i, n := range lengths {
		e := Example{Record: i, Input: make([]int32, n), Labels: make([]int32, n)}
		for t := range n {
			e.Input[t] = int32(1000*(i+1) + t)
		}
		for t := range n {
			e.Labels[t] = NoLoss
			if t+1 < n && (i%2 == 0 || t >= n/2) {
				e.Labels[t] = e.Input[t+1]
			}
		}
		examples[i] = e
	}
	return examples
}

func pairExamples(inputs, targets []int) []Example {
	examples := make([]Example, len(inputs))
	for i := range inputs {
		examples[i] = Example{Record: i, Input: causalExamples(inputs[i])[0].Input, Labels: slices.Repeat([]int32{int32(i + 1)}, targets[i])}
	}
	return examples
}

type fatal interface{ Fatalf(string, ...any) }

func newLoader(t fatal, examples []Example, c LoaderConfig) *Loader {
	c.Pad = testPad
	l, err := NewLoader(examples, c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return l
}

// anyLoader draws examples and a configuration that fits them.
func anyLoader(t *rapid.T) ([]Example, LoaderConfig) {
	lengths := rapid.SliceOfN(rapid.IntRange(2, 100), 1, 60).Draw(t, "lengths")
	c := LoaderConfig{
		BatchSize: rapid.IntRange(1, 7).Draw(t, "batch size"),
		Packing:   rapid.SampledFrom([]string{PackingNone, PackingBlocks, PackingBarrier}).Draw(t, "packing"),
		Order:     rapid.SampledFrom([]string{OrderShuffled, OrderFile}).Draw(t, "order"),
		Seed:      rapid.Uint64().Draw(t, "seed"),
		Pad:       testPad,
	}
	switch c.Packing {
	case PackingBlocks:
		c.BlockLength = rapid.IntRange(2, 50).Draw(t, "block length")
	case PackingBarrier:
		c.BlockLength = rapid.IntRange(slices.Max(lengths), 200).Draw(t, "block length")
	default:
		if rapid.Bool().Draw(t, "own buckets") {
			c.Buckets = []int{10, 33, 100}
		}
		if c.EncoderDecoder = rapid.Bool().Draw(t, "encoder-decoder"); c.EncoderDecoder {
			targets := rapid.SliceOfN(rapid.IntRange(1, 100), len(lengths), len(lengths)).Draw(t, "target lengths")
			return pairExamples(lengths, targets), c
		}
	}
	return causalExamples(lengths...), c
}

// checkBatch checks what holds for every batch.
func checkBatch(t fatal, l *Loader, b Batch) {
	if b.Rows != l.config.BatchSize || len(b.Lengths) != b.Rows || len(b.Inputs) != b.Rows*b.Length || len(b.Labels) != b.Rows*b.TargetLength {
		t.Fatalf("the shapes do not fit: %+v", b)
	}
	if !l.config.EncoderDecoder && b.Length != b.TargetLength {
		t.Fatalf("length %d but target length %d", b.Length, b.TargetLength)
	}
	if l.config.Packing == PackingNone {
		if !slices.Contains(l.config.Buckets, b.Length) || !slices.Contains(l.config.Buckets, b.TargetLength) {
			t.Fatalf("shape %d, %d is not of the buckets %v", b.Length, b.TargetLength, l.config.Buckets)
		}
		longest := int(slices.Max(b.Lengths))
		if smaller := slices.Index(l.config.Buckets, b.Length) - 1; smaller >= 0 && l.config.Buckets[smaller] >= longest {
			t.Fatalf("%d tokens at most in a bucket of %d", longest, b.Length)
		}
	} else if b.Length != l.config.BlockLength {
		t.Fatalf("length %d, want that of a block", b.Length)
	}
	if (b.Segments != nil) != (l.config.Packing == PackingBarrier) || (b.Positions != nil) != (b.Segments != nil) {
		t.Fatalf("segments %v, positions %v with packing %s", b.Segments, b.Positions, l.config.Packing)
	}
	tokens := 0
	for row, n := range b.Lengths {
		tokens += int(n)
		for _, id := range b.Inputs[row*b.Length+int(n) : (row+1)*b.Length] {
			if id != testPad {
				t.Fatalf("token %d in the padding", id)
			}
		}
		if n == 0 && countTargets(b.Labels[row*b.TargetLength:(row+1)*b.TargetLength]) != 0 {
			t.Fatalf("targets in an empty row")
		}
	}
	if b.Tokens != tokens || b.Targets != countTargets(b.Labels) {
		t.Fatalf("%d tokens and %d targets counted as %d and %d", tokens, countTargets(b.Labels), b.Tokens, b.Targets)
	}
}

// epoch returns the batches of an epoch from its start.
func epoch(t fatal, l *Loader, n int) []Batch {
	if err := l.Seek(Position{Epoch: n}); err != nil {
		t.Fatalf("%v", err)
	}
	batches := make([]Batch, l.BatchesPerEpoch())
	for i := range batches {
		if l.Position() != (Position{n, i}) {
			t.Fatalf("position %+v before batch %d of epoch %d", l.Position(), i, n)
		}
		batches[i] = l.Next()
	}
	if l.Position() != (Position{n + 1, 0}) {
		t.Fatalf("position %+v after epoch %d", l.Position(), n)
	}
	return batches
}

func TestEveryExampleOnceAnEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		examples, c := anyLoader(t)
		l := newLoader(t, examples, c)
		for n := range 2 {
			seen := map[int32]int{}
			records := map[int]bool{}
			for _, b := range epoch(t, l, n) {
				checkBatch(t, l, b)
				for row, length := range b.Lengths {
					for _, id := range b.Inputs[row*b.Length:][:length] {
						seen[id]++
					}
				}
				for _, r := range b.Records {
					if c.Packing != PackingBlocks && records[r] {
						t.Fatalf("record %d is in two batches", r)
					}
					records[r] = true
				}
				if b.Tokens == 0 {
					t.Fatalf("a batch without tokens")
				}
			}
			want := map[int32]int{}
			for _, e := range examples {
				for _, id := range e.Input {
					want[id]++
				}
			}
			if !reflect.DeepEqual(seen, want) || len(records) != len(examples) {
				t.Fatalf("epoch %d holds %v, want %v; records %v", n, seen, want, records)
			}
		}
	})
}

// Labels are those of the examples, at their places. What a block adds or
// takes is checked against its own definition below.
func TestLabelsStayWithTheirExamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		examples, c := anyLoader(t)
		if c.Packing == PackingBlocks {
			return
		}
		for _, b := range epoch(t, newLoader(t, examples, c), 0) {
			targets := 0
			for row, records := range b.records {
				at := 0
				for k, r := range records {
					e := examples[r]
					if !slices.Equal(b.Inputs[row*b.Length+at:][:len(e.Input)], e.Input) || !slices.Equal(b.Labels[row*b.TargetLength+at:][:len(e.Labels)], e.Labels) {
						t.Fatalf("row %d does not hold record %d at %d: %+v", row, r, at, b)
					}
					targets += countTargets(e.Labels)
					for i := range e.Input {
						if p := row*b.Length + at + i; c.Packing == PackingBarrier && (int(b.Segments[p]) != k+1 || int(b.Positions[p]) != i) {
							t.Fatalf("row %d: segments %v, positions %v", row, b.Segments, b.Positions)
						}
					}
					at += len(e.Input)
				}
				if c.Packing == PackingBarrier && slices.Max(append([]int32{0}, b.Segments[row*b.Length+at:(row+1)*b.Length]...)) != 0 {
					t.Fatalf("row %d: padding has a segment", row)
				}
			}
			if b.Targets != targets {
				t.Fatalf("%d targets, want %d", b.Targets, targets)
			}
		}
	})
}

// groupTexts is what group_texts of transformers' run_clm does, over tokens
// and the labels that transformers shifts, but keeps the rest at the end.
func groupTexts(examples []Example, length int) (inputs, labels [][]int32) {
	var ids, own []int32 // own: the token as a target, or NoLoss
	for _, e := range examples {
		ids = append(ids, e.Input...)
		first := int32(NoLoss)
		if e.Labels[0] != NoLoss {
			first = e.Input[0]
		}
		own = append(append(own, first), e.Labels[:len(e.Labels)-1]...)
	}
	for block := range slices.Chunk(ids, length) {
		inputs = append(inputs, block)
	}
	for block := range slices.Chunk(own, length) {
		labels = append(labels, shifted(block))
	}
	return inputs, labels
}

func TestBlocksAreGroupTexts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		examples := causalExamples(rapid.SliceOfN(rapid.IntRange(2, 40), 1, 20).Draw(t, "lengths")...)
		c := LoaderConfig{BatchSize: rapid.IntRange(1, 4).Draw(t, "batch size"), Packing: PackingBlocks, BlockLength: rapid.IntRange(2, 50).Draw(t, "block length"), Order: OrderFile}
		inputs, labels := groupTexts(examples, c.BlockLength)
		i := 0
		for _, b := range epoch(t, newLoader(t, examples, c), 0) {
			for row, n := range b.Lengths {
				if n == 0 {
					continue
				}
				if !slices.Equal(b.Inputs[row*b.Length:][:n], inputs[i]) || !slices.Equal(b.Labels[row*b.Length:][:n], labels[i]) {
					t.Fatalf("block %d: %v %v, want %v %v", i, b.Inputs, b.Labels, inputs[i], labels[i])
				}
				i++
			}
		}
		if i != len(inputs) {
			t.Fatalf("%d blocks, want %d", i, len(inputs))
		}
	})
}

func TestSeek(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		examples, c := anyLoader(t)
		straight, resumed := newLoader(t, examples, c), newLoader(t, examples, c)
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			straight.Next()
		}
		p := straight.Position()
		if err := resumed.Seek(p); err != nil {
			t.Fatalf("%v", err)
		}
		for range 5 {
			if resumed.Position() != straight.Position() || resumed.BatchesPerEpoch() != straight.BatchesPerEpoch() {
				t.Fatalf("at %+v, want %+v", resumed.Position(), straight.Position())
			}
			if a, b := straight.Next(), resumed.Next(); !reflect.DeepEqual(a, b) {
				t.Fatalf("after %+v: %+v, want %+v", p, b, a)
			}
		}
	})
}

func TestSeekErrors(t *testing.T) {
	l := newLoader(t, causalExamples(3, 4, 5), LoaderConfig{BatchSize: 2, Packing: PackingNone, Order: OrderFile})
	l.Next()
	for _, p := range []Position{{0, 2}, {-1, 0}, {0, -1}} {
		if err := l.Seek(p); err == nil || l.Position() != (Position{0, 1}) {
			t.Errorf("%+v: error %v, position %+v", p, err, l.Position())
		}
	}
}

func TestFileOrder(t *testing.T) {
	l := newLoader(t, causalExamples(40, 3, 3, 60, 5), LoaderConfig{BatchSize: 2, Packing: PackingNone, Order: OrderFile})
	for n := range 2 {
		var got []string
		for _, b := range epoch(t, l, n) {
			got = append(got, fmt.Sprint(b.Records, b.Length))
		}
		if want := []string{"[0 1] 48", "[2 3] 64", "[4] 32"}; !slices.Equal(got, want) {
			t.Errorf("epoch %d: %v, want %v", n, got, want)
		}
	}
}

// The order of an epoch is part of what a checkpoint stands for: whatever
// changes it makes old checkpoints go on with other batches.
func TestShuffledOrderIsFixed(t *testing.T) {
	l := newLoader(t, causalExamples(9, 9, 9, 9, 9, 9, 9, 9), LoaderConfig{BatchSize: 3, Packing: PackingNone, Order: OrderShuffled, Seed: 7})
	var got [][]int
	for n := range 2 {
		for _, b := range epoch(t, l, n) {
			got = append(got, b.Records)
		}
	}
	want := [][]int{{4, 1, 3}, {2, 6}, {7, 5, 0}, {7, 5}, {2, 3, 6}, {4, 1, 0}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestShuffling(t *testing.T) {
	order := func(seed uint64, n int) []int {
		l := newLoader(t, causalExamples(slices.Repeat([]int{5}, 100)...), LoaderConfig{BatchSize: 4, Packing: PackingNone, Order: OrderShuffled, Seed: seed})
		var records []int
		for _, b := range epoch(t, l, n) {
			records = append(records, b.Records...)
		}
		return records
	}
	first := order(1, 0)
	if !slices.Equal(first, order(1, 0)) {
		t.Error("the same seed and epoch gave two orders")
	}
	if slices.Equal(first, order(2, 0)) || slices.Equal(first, order(1, 1)) || slices.IsSorted(first) {
		t.Error("seed or epoch make no difference")
	}
}

// Rows of similar length share a batch, so that little is padding.
func TestBatchesOfSimilarLength(t *testing.T) {
	var lengths []int
	for i := range 1000 {
		lengths = append(lengths, 10+i*7919%500)
	}
	l := newLoader(t, causalExamples(lengths...), LoaderConfig{BatchSize: 8, Packing: PackingNone, Order: OrderShuffled})
	tokens, room := 0, 0
	for _, b := range epoch(t, l, 0) {
		tokens += b.Tokens
		room += b.Rows * b.Length
	}
	if tokens*100 < room*80 {
		t.Errorf("%d tokens in room for %d", tokens, room)
	}
}

func TestBarrierPacksTightly(t *testing.T) {
	var lengths []int
	for i := range 1000 {
		lengths = append(lengths, 10+i*7919%190)
	}
	l := newLoader(t, causalExamples(lengths...), LoaderConfig{BatchSize: 8, Packing: PackingBarrier, BlockLength: 256, Order: OrderShuffled})
	tokens, room := 0, 0
	for _, b := range epoch(t, l, 0) {
		tokens += b.Tokens
		room += b.Rows * b.Length
	}
	if tokens*100 < room*95 {
		t.Errorf("%d tokens in room for %d", tokens, room)
	}
	file := newLoader(t, causalExamples(lengths...), LoaderConfig{BatchSize: 8, Packing: PackingBarrier, BlockLength: 256, Order: OrderFile})
	last := -1
	for _, b := range epoch(t, file, 0) {
		for _, r := range b.Records {
			if r != last+1 {
				t.Fatalf("record %d follows %d", r, last)
			}
			last = r
		}
	}
}

func TestDefaultBuckets(t *testing.T) {
	for _, c := range []struct {
		longest int
		pairs   bool
		want    []int
	}{
		{1, false, []int{32}},
		{32, false, []int{32}},
		{33, false, []int{32, 40}},
		{48, false, []int{32, 48}},
		{49, false, []int{32, 48, 56}},
		{64, false, []int{32, 48, 64}},
		{131, false, []int{32, 48, 64, 96, 128, 136}},
		{1024, false, []int{32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024}},
		{300, true, []int{32, 64, 128, 256, 304}},
	} {
		if got := defaultBuckets(c.longest, c.pairs); !slices.Equal(got, c.want) {
			t.Errorf("longest %d: %v, want %v", c.longest, got, c.want)
		}
	}
}

func TestLoaderErrors(t *testing.T) {
	good := LoaderConfig{BatchSize: 2, Packing: PackingNone, Order: OrderFile}
	for want, change := range map[string]func(*LoaderConfig){
		"batch_size is 0":   func(c *LoaderConfig) { c.BatchSize = 0 },
		"unknown order":     func(c *LoaderConfig) { c.Order = "random" },
		"unknown packing":   func(c *LoaderConfig) { c.Packing = "tight" },
		"for causal models": func(c *LoaderConfig) { c.Packing, c.BlockLength, c.EncoderDecoder = PackingBlocks, 64, true },
		"a block length":    func(c *LoaderConfig) { c.Packing = PackingBarrier },
		"more than a block": func(c *LoaderConfig) { c.Packing, c.BlockLength = PackingBarrier, 20 },
		"buckets are for":   func(c *LoaderConfig) { c.Packing, c.BlockLength, c.Buckets = PackingBlocks, 20, []int{64} },
		"largest bucket 20": func(c *LoaderConfig) { c.Buckets = []int{10, 20} },
		"ascending":         func(c *LoaderConfig) { c.Buckets = []int{64, 32} },
		"positive":          func(c *LoaderConfig) { c.Buckets = []int{0, 32} },
	} {
		c := good
		change(&c)
		if _, err := NewLoader(causalExamples(30, 5), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", c, err, want)
		}
	}
	if _, err := NewLoader(nil, good); err == nil {
		t.Error("no examples, no error")
	}
}
