package data

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sort"
)

// planRows puts one example in a row. In file order a batch holds consecutive
// examples. Shuffled, an example waits with others of its bucket until they
// fill a batch; those left over at the end fill batches from the short to the
// long; then the batches are shuffled, so that length and time have no bond.
func (l *Loader) planRows(order []int, rng *rand.Rand) plan {
	size := l.config.BatchSize
	var batches [][]int
	if l.config.Order == OrderFile {
		batches = slices.Collect(slices.Chunk(order, size))
	} else {
		type shape struct{ length, targetLength int } // buckets
		waiting := map[shape][]int{}
		for _, i := range order {
			s := shape{l.config.bucket(len(l.examples[i].Input)), l.config.bucket(len(l.examples[i].Labels))}
			waiting[s] = append(waiting[s], i)
			if len(waiting[s]) == size {
				batches = append(batches, waiting[s])
				delete(waiting, s)
			}
		}
		shapes := make([]shape, 0, len(waiting))
		for s := range waiting {
			shapes = append(shapes, s)
		}
		slices.SortFunc(shapes, func(a, b shape) int {
			return cmp.Or(a.length-b.length, a.targetLength-b.targetLength)
		})
		var left []int
		for _, s := range shapes {
			left = append(left, waiting[s]...)
		}
		batches = slices.AppendSeq(batches, slices.Chunk(left, size))
		rng.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
	}
	return plan{len(batches), func(n int) Batch {
		length, targetLength := 0, 0
		for _, i := range batches[n] {
			length = max(length, l.config.bucket(len(l.examples[i].Input)))
			targetLength = max(targetLength, l.config.bucket(len(l.examples[i].Labels)))
		}
		b := newBatch(size, l.config.Buckets[length], l.config.Buckets[targetLength], l.config.Pad, false)
		for row, i := range batches[n] {
			b.add(row, l.examples[i].Input, l.examples[i].Labels, l.examples[i].Record)
		}
		return b
	}}
}

// planBlocks joins the epoch's examples in their order and cuts the whole into
// blocks, as group_texts in Hugging Face's examples does: an example may go on
// in the next block, and tokens see those of other examples before them in the
// block. The last token of an example predicts the first of the next, if that
// one's loss is on its instruction too; a block's last token predicts nothing.
// What is left at the end, which group_texts drops, is a block cut short.
func (l *Loader) planBlocks(order []int) plan {
	length, size := l.config.BlockLength, l.config.BatchSize
	starts := make([]int, len(order)+1) // where each example begins in the whole
	for k, i := range order {
		starts[k+1] = starts[k] + len(l.examples[i].Input)
	}
	blocks := (starts[len(order)] + length - 1) / length
	return plan{(blocks + size - 1) / size, func(n int) Batch {
		b := newBatch(size, length, length, l.config.Pad, false)
		for row := 0; row < size && n*size+row < blocks; row++ {
			from := (n*size + row) * length
			to := from + length
			k := sort.SearchInts(starts, from+1) - 1 // the example that from is in
			for ; k < len(order) && starts[k] < to; k++ {
				e := l.examples[order[k]]
				begin, end := max(from-starts[k], 0), min(to-starts[k], len(e.Input))
				if at := int(b.Lengths[row]); at > 0 && e.Labels[0] != NoLoss {
					b.Labels[row*length+at-1] = e.Input[0]
				}
				b.add(row, e.Input[begin:end], e.Labels[begin:end], e.Record)
			}
			b.Labels[row*length+int(b.Lengths[row])-1] = NoLoss
		}
		return b
	}}
}

// openBlocks bounds how many blocks may wait for an example that fits.
const openBlocks = 64

// planBarrier puts whole examples into blocks: shuffled, each into that open
// block with room for it which it fills best; in file order, into the current
// block or a new one, so that the order stays.
func (l *Loader) planBarrier(order []int) plan {
	length, size := l.config.BlockLength, l.config.BatchSize
	most := openBlocks
	if l.config.Order == OrderFile {
		most = 1
	}
	type block struct {
		examples []int
		room     int
	}
	var open, closed []block
	for _, i := range order {
		n := len(l.examples[i].Input)
		at := -1
		for j, b := range open {
			if b.room >= n && (at < 0 || b.room < open[at].room) {
				at = j
			}
		}
		if at < 0 {
			if len(open) == most {
				fullest := 0
				for j := range open {
					if open[j].room < open[fullest].room {
						fullest = j
					}
				}
				closed = append(closed, open[fullest])
				open = slices.Delete(open, fullest, fullest+1)
			}
			at = len(open)
			open = append(open, block{room: length})
		}
		open[at].examples = append(open[at].examples, i)
		open[at].room -= n
	}
	closed = append(closed, open...)
	return plan{(len(closed) + size - 1) / size, func(n int) Batch {
		b := newBatch(size, length, length, l.config.Pad, true)
		for row, block := range closed[n*size : min((n+1)*size, len(closed))] {
			for segment, i := range block.examples {
				e := l.examples[i]
				at := row*length + int(b.Lengths[row])
				for t := range e.Input {
					b.Segments[at+t], b.Positions[at+t] = int32(segment+1), int32(t)
				}
				b.add(row, e.Input, e.Labels, e.Record)
			}
		}
		return b
	}}
}
