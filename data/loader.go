package data

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// How examples share rows.
const (
	PackingNone    = "none"    // one example a row, rows of similar length in a batch
	PackingBlocks  = "blocks"  // one after another, cut into blocks of one length
	PackingBarrier = "barrier" // whole examples in blocks, kept apart by Segments
)

// The order of an epoch.
const (
	OrderShuffled = "shuffled" // anew each epoch, by seed and epoch alone
	OrderFile     = "file"     // as the examples come, the same each epoch
)

// LoaderConfig says how a Loader makes batches of examples.
type LoaderConfig struct {
	BatchSize int    // rows of every batch
	Packing   string // PackingNone, PackingBlocks or PackingBarrier
	// BlockLength is the length of every row that examples are packed into.
	BlockLength int
	Order       string // OrderShuffled or OrderFile
	Seed        uint64
	// Buckets are the lengths that rows without packing may have, ascending;
	// the smallest that fits is taken. None stands for 32, 48, 64, 96, 128, ...
	// and the longest example's length; for encoder-decoder models for 32, 64,
	// 128, ..., since they have a length for the input and one for the target,
	// and each pair of lengths is a program to compile.
	Buckets        []int
	Pad            int32
	EncoderDecoder bool
}

// Position is where a Loader stands: before a batch of an epoch, both counted
// from 0.
type Position struct {
	Epoch int `json:"epoch"`
	Batch int `json:"batch"`
}

// Loader deals out batches, one epoch after another without end. Every example
// is in each epoch exactly once; what doesn't fill the last batch is followed
// by empty rows.
//
// The order of a shuffled epoch is a Fisher-Yates shuffle by a PCG generator
// that starts from the seed and the number of the epoch, so a Position is all
// that is needed to go back, and going back costs the planning of one epoch,
// wherever in it the position is. A Loader is for one goroutine.
type Loader struct {
	examples []Example
	config   LoaderConfig
	epoch    int
	next     int // the batch of the epoch that comes next; less than plan.batches
	plan     plan
}

// plan is what an epoch's batches hold.
type plan struct {
	batches int
	build   func(batch int) Batch
}

// NewLoader checks that the examples and the configuration fit each other.
func NewLoader(examples []Example, c LoaderConfig) (*Loader, error) {
	if len(examples) == 0 {
		return nil, fmt.Errorf("no examples to make batches of")
	}
	if c.BatchSize < 1 {
		return nil, fmt.Errorf("batch_size is %d; it has to be at least 1", c.BatchSize)
	}
	if c.Order != OrderShuffled && c.Order != OrderFile {
		return nil, fmt.Errorf("unknown order %q; it is %s or %s", c.Order, OrderShuffled, OrderFile)
	}
	longest := slices.MaxFunc(examples, func(a, b Example) int { return rowLength(a) - rowLength(b) })
	switch c.Packing {
	case PackingNone:
		if len(c.Buckets) == 0 {
			c.Buckets = defaultBuckets(rowLength(longest), c.EncoderDecoder)
		}
		if !increasing(c.Buckets) {
			return nil, fmt.Errorf("buckets %v have to be positive and ascending", c.Buckets)
		}
		if largest := c.Buckets[len(c.Buckets)-1]; rowLength(longest) > largest {
			return nil, fmt.Errorf("record %d has %d tokens and the largest bucket %d; add a bucket or lower max_length", longest.Record+1, rowLength(longest), largest)
		}
	case PackingBlocks, PackingBarrier:
		switch {
		case c.EncoderDecoder:
			return nil, fmt.Errorf("packing %q is for causal models; an encoder-decoder model needs packing %q", c.Packing, PackingNone)
		case len(c.Buckets) > 0:
			return nil, fmt.Errorf("buckets are for packing %q; with %q every row has the block's length", PackingNone, c.Packing)
		case c.BlockLength < 2:
			return nil, fmt.Errorf("packing %q needs a block length of at least 2, not %d; set max_length", c.Packing, c.BlockLength)
		case c.Packing == PackingBarrier && len(longest.Input) > c.BlockLength:
			return nil, fmt.Errorf("record %d has %d tokens, more than a block of %d; lower max_length", longest.Record+1, len(longest.Input), c.BlockLength)
		}
	default:
		return nil, fmt.Errorf("unknown packing %q; it is %s, %s or %s", c.Packing, PackingNone, PackingBlocks, PackingBarrier)
	}
	l := &Loader{examples: examples, config: c}
	l.plan = l.planEpoch(0)
	return l, nil
}

// Next returns the batch at the position and moves on.
func (l *Loader) Next() Batch {
	b := l.plan.build(l.next)
	b.count()
	if l.next++; l.next == l.plan.batches {
		l.epoch, l.next = l.epoch+1, 0
		l.plan = l.planEpoch(l.epoch)
	}
	return b
}

// Position is that of the batch that Next returns next: after an epoch's last
// batch, the next epoch's first.
func (l *Loader) Position() Position { return Position{Epoch: l.epoch, Batch: l.next} }

// Seek goes to a position that a Loader with the same examples and the same
// configuration has been at. A position that no such Loader has is an error.
func (l *Loader) Seek(p Position) error {
	if p.Epoch < 0 || p.Batch < 0 {
		return fmt.Errorf("no batch %d of epoch %d", p.Batch, p.Epoch)
	}
	plan := l.planEpoch(p.Epoch)
	if p.Batch >= plan.batches {
		return fmt.Errorf("no batch %d of epoch %d, which has %d; the data or the batch size are not those of the saved position", p.Batch, p.Epoch, plan.batches)
	}
	l.epoch, l.next, l.plan = p.Epoch, p.Batch, plan
	return nil
}

// BatchesPerEpoch is the number of batches of the epoch at the position. It is
// the same for all epochs, except when whole examples are packed in an order
// that changes.
func (l *Loader) BatchesPerEpoch() int { return l.plan.batches }

func (l *Loader) planEpoch(epoch int) plan {
	order := make([]int, len(l.examples))
	for i := range order {
		order[i] = i
	}
	rng := rand.New(rand.NewPCG(l.config.Seed, uint64(epoch)))
	if l.config.Order == OrderShuffled {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	switch l.config.Packing {
	case PackingBlocks:
		return l.planBlocks(order)
	case PackingBarrier:
		return l.planBarrier(order)
	default:
		return l.planRows(order, rng)
	}
}

// rowLength is the length that a row needs for an example, the longer of two
// for encoder-decoder models.
func rowLength(e Example) int { return max(len(e.Input), len(e.Labels)) }

// bucket is the number of the smallest bucket that holds n tokens.
func (c LoaderConfig) bucket(n int) int {
	at, _ := slices.BinarySearch(c.Buckets, n)
	return at
}

// defaultBuckets ends with the longest example, up to a multiple of 8: where
// many are cut at one length, they would fill half of the next bucket only.
func defaultBuckets(longest int, encoderDecoder bool) []int {
	last := max(32, (longest+7)/8*8)
	var buckets []int
	for size := 32; size < last; size *= 2 {
		buckets = append(buckets, size)
		if between := size * 3 / 2; between < last && !encoderDecoder {
			buckets = append(buckets, between)
		}
	}
	return append(buckets, last)
}

func increasing(buckets []int) bool {
	last := 0
	for _, b := range buckets {
		if b <= last {
			return false
		}
		last = b
	}
	return true
}
