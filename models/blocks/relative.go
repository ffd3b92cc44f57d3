package blocks

import (
	"math"

	. "github.com/gomlx/gomlx/core/graph"
)

// RelativeBias is T5's position encoding (Raffel et al., 2020): a learned score for each head and each bucket of the
// distance between a query and a key.
type RelativeBias struct {
	Weight        *Weight `weight:"weight"` // [buckets, heads]
	MaxDistance   int
	Bidirectional bool
}

// NewRelativeBias declares the table.
func NewRelativeBias(buckets, heads, maxDistance int, bidirectional bool, init Init) *RelativeBias {
	return &RelativeBias{
		Weight:        &Weight{Shape: []int{buckets, heads}, Init: init},
		MaxDistance:   maxDistance,
		Bidirectional: bidirectional,
	}
}

// Square is the bias [1, heads, seq, seq] of a whole sequence over itself. It looks up one row for each distance and lays
// the rows out along the diagonals by reshaping, so that its gradient is a sum and not a scatter over seq² entries.
func (b *RelativeBias) Square(g *Graph, seq int) *Node {
	heads := b.Weight.Shape[1]
	// Index i of the line is the distance i-(seq-1); there is one more than the 2·seq-1 distances that occur.
	n := 2 * seq
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = b.bucket(i - (seq - 1))
	}
	byDistance := Gather(b.Weight.value, ExpandAxes(Const(g, rows), -1)) // [n, heads]
	line := TransposeAllAxes(byDistance, 1, 0)                           // [heads, n]
	// Repeating a line of n and cutting it into lines of n-1 shifts each by one: row q, column j is line[j-q]. Query q
	// and key k want line[k-q+seq-1], so keys start at column seq-1.
	repeated := BroadcastToDims(ExpandAxes(line, 1), heads, seq, n)
	shifted := SliceAxis(Reshape(repeated, heads, seq*n), 1, AxisRangeFromStart(seq*(n-1)))
	shifted = Reshape(shifted, heads, seq, n-1)
	return ExpandAxes(SliceAxis(shifted, 2, AxisRange(seq-1, n-1)), 0)
}

// Back is the bias [1, heads, queries, keys] of queries over keys that are ages, [queries, keys] int32, positions before them.
func (b *RelativeBias) Back(ages *Node) *Node {
	// Beyond MaxDistance every distance has the last bucket.
	buckets := make([]int32, b.MaxDistance+1)
	for age := range buckets {
		buckets[age] = b.bucket(-age)
	}
	bucket := Gather(Const(ages.Graph(), buckets), ExpandAxes(MinScalar(ages, b.MaxDistance), -1))
	bias := Gather(b.Weight.value, ExpandAxes(bucket, -1)) // [queries, keys, heads]
	return ExpandAxes(TransposeAllAxes(bias, 2, 0, 1), 0)
}

// bucket is the table row of a distance key - query: half of the buckets for exact small distances, the rest spaced
// logarithmically up to MaxDistance. It is computed in float32 as transformers does, where rounding decides the borders.
func (b *RelativeBias) bucket(distance int) int32 {
	buckets := b.Weight.Shape[0]
	first := 0
	if b.Bidirectional {
		buckets /= 2
		if distance > 0 {
			first = buckets
		}
		distance = max(distance, -distance)
	} else {
		distance = max(-distance, 0)
	}
	exact := buckets / 2
	if distance < exact {
		return int32(first + distance)
	}
	ratio := float32(math.Log(float64(float32(distance) / float32(exact))))
	large := exact + int(ratio/float32(math.Log(float64(b.MaxDistance)/float64(exact)))*float32(buckets-exact))
	return int32(first + min(large, buckets-1))
}
