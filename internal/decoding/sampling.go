package decoding

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Sampling says how the next token is chosen. The zero value takes the most likely one.
type Sampling struct {
	// Temperature divides the logits; 0 means greedy.
	Temperature float64
	// TopK keeps the k most likely tokens; 0 keeps all.
	TopK int
	// TopP keeps the most likely tokens that together reach this probability (nucleus sampling; Holtzman et al., 2020);
	// 0 and 1 keep all.
	TopP float64
	Seed uint64
}

// drawer chooses the tokens of one text.
type drawer struct {
	Sampling
	random *rand.Rand
}

func newDrawer(s Sampling, text int) *drawer {
	return &drawer{Sampling: s, random: rand.New(rand.NewPCG(s.Seed, uint64(text)))}
}

// next chooses a token by its logits. Temperature, top-k and top-p apply in this order, as in transformers.
func (d *drawer) next(logits []float32) int32 {
	if d.Temperature == 0 {
		return greedy(logits)
	}
	probabilities := d.distribution(logits)
	u := d.random.Float64()
	for _, p := range probabilities {
		if u -= p.p; u < 0 {
			return p.id
		}
	}
	return probabilities[0].id // rounding left a little of u
}

// greedy is the first of the most likely tokens.
func greedy(logits []float32) int32 {
	best := 0
	for i, l := range logits {
		if l > logits[best] {
			best = i
		}
	}
	return int32(best)
}

// likely is a token with its probability.
type likely struct {
	id int32
	p  float64
}

// distribution is what is left to choose from, most likely first, with probabilities that sum to 1.
func (d *drawer) distribution(logits []float32) []likely {
	tokens := make([]likely, len(logits))
	largest := float64(slices.Max(logits))
	for i, l := range logits {
		tokens[i] = likely{int32(i), math.Exp((float64(l) - largest) / d.Temperature)}
	}
	slices.SortStableFunc(tokens, func(a, b likely) int { return cmp.Compare(b.p, a.p) })
	if d.TopK > 0 && d.TopK < len(tokens) {
		tokens = tokens[:d.TopK]
	}
	normalize(tokens)
	if d.TopP > 0 && d.TopP < 1 {
		sum := 0.0
		for i, t := range tokens {
			if sum += t.p; sum >= d.TopP {
				tokens = tokens[:i+1]
				break
			}
		}
		normalize(tokens)
	}
	return tokens
}

func normalize(tokens []likely) {
	sum := 0.0
	for _, t := range tokens {
		sum += t.p
	}
	for i := range tokens {
		tokens[i].p /= sum
	}
}
