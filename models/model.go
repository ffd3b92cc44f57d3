// Package models says what every architecture is: a configuration that describes a tree of weights, and the arithmetic
// over that tree. The tree's struct tags are the weight names of Hugging Face, so the tree is the checkpoint's schema.
//
// A tree is built anew for each program (Config.New), its weights are bound to the program's graph, and its methods add
// the arithmetic. Nothing in it outlives the building of the program.
package models

import (
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/models/blocks"
)

// Config is an architecture with its sizes: what config.json holds.
type Config interface {
	// Family is the model_type of config.json: "llama", "opt" or "t5".
	Family() string
	// EncoderDecoder tells a model that reads an input and writes an output from one that continues a text.
	EncoderDecoder() bool
	// Vocabulary is the number of token ids that have an embedding.
	Vocabulary() int
	// WithVocabulary is the same architecture with another vocabulary size.
	WithVocabulary(size int) Config
	// WithDropout is the same architecture with dropout at rate in all the places where the family drops.
	WithDropout(rate float64) Config
	// MaxLength is the longest sequence that the model can read, 0 when it has no limit.
	MaxLength() int
	// ReadsAtOnce tells a model whose prompts have to be read in one pass, because what it makes of a token depends on those
	// that follow.
	ReadsAtOnce() bool
	// Tokens are the special tokens of the configuration.
	Tokens() Tokens
	// Redundant says that a checkpoint may hold this tensor beside the weights: copies of tied weights, and constants
	// that old versions saved.
	Redundant(tensor string) bool
	// ForwardFLOPs are the floating-point operations of the matrix products of one row: length tokens in, and target tokens
	// out for an encoder-decoder. Attention counts in full though causal order needs half of it, as in PaLM's model FLOPs
	// (Chowdhery et al., 2022, appendix B). A training step takes three times as many.
	ForwardFLOPs(length, target int) float64
	// LoRATargets are the projections that PEFT adapts by default.
	LoRATargets() []string
	// Cache is what decoding keeps of a token.
	Cache() CacheLayout
	// JSON is the config.json that Hugging Face opens; dtype is the weights' torch name, such as "float32".
	JSON(dtype string) ([]byte, error)
	// New declares the weights.
	New() Model
}

// Tokens are ids with a meaning. BOS is -1 where a family has none.
type Tokens struct {
	BOS, Pad     int
	EOS          []int // any of these ends a text; the first is appended in training
	DecoderStart int   // first input of a decoder; encoder-decoders only
}

// Model is a tree of weights with the arithmetic over it.
type Model interface {
	// Hidden is the last hidden state [batch, target, embed] at each position that b.Labels speaks of.
	Hidden(b Batch, t *blocks.Training) *Node
	// Head is the output projection of hidden states [batch, n, embed] as products, whose sum are the scores of the next
	// token [batch, n, vocab] (blocks.Logits).
	Head(hidden *Node) []blocks.Product
	// Step reads n more tokens of each row, [batch, n] int32, and returns the hidden states [batch, n, embed] after them. Those at
	// negative positions are padding, which nothing sees. The slots of more than one must not go beyond the last of the cache.
	Step(tokens *Node, c Cache) (*Node, Cache)
}

// Encoder is a Model that writes about an input.
type Encoder interface {
	Model
	// Encode reads inputs and returns the keys and values that the decoder's layers attend to, one a layer.
	Encode(b Batch) []*blocks.KV
}

// Batch is the input of a pass, as graph nodes of type int32.
type Batch struct {
	Inputs  *Node // [batch, seq] token ids, padded on the right
	Lengths *Node // [batch] tokens in each row
	// Segments and Positions, [batch, seq], are set where several documents share a row without seeing each other: the
	// number of the document from 1 (0 is padding) and the position inside it. Otherwise nil.
	Segments, Positions *Node
	Labels              *Node // [batch, target] the id to predict at each position, -100 for none
}

// Loss is the negative log-likelihood of the labels: its sum over each row [batch] and the number of labels in each row
// [batch], both float32, and the scalar to differentiate, whose gradient is that of the sum over all rows.
func Loss(m Model, b Batch, t *blocks.Training) (sum, count, objective *Node) {
	return blocks.CrossEntropy(m.Head(m.Hidden(b, t)), b.Labels)
}

// CacheLayout is what decoding keeps of each token: keys and values of so many heads in each layer of the decoder.
type CacheLayout struct{ Layers, Heads, HeadDim int }

// Cache is what decoding keeps between tokens.
type Cache struct {
	Position *Node        // [batch] int32, how many tokens were read, and so the position of the next; negative before padding
	Slot     *Node        // int32, where all rows' next keys and values go (blocks.KV)
	Lengths  *Node        // [batch] int32, tokens of the encoder's input; encoder-decoders only
	Self     []*blocks.KV // one a layer
	Cross    []*blocks.KV // one a layer, as Encode gives them; encoder-decoders only
}

// Room is the number of tokens that the cache can hold of each row.
func (c Cache) Room() int { return c.Self[0].V.Shape().Dimensions[blocks.ValueSlots] }

// Nodes lists the cache's arrays: position, slot, lengths where there are any, then keys and values of each layer.
func (c Cache) Nodes() []*Node {
	nodes := []*Node{c.Position, c.Slot}
	if c.Lengths != nil {
		nodes = append(nodes, c.Lengths)
	}
	for _, layers := range [][]*blocks.KV{c.Self, c.Cross} {
		for _, kv := range layers {
			nodes = append(nodes, kv.K, kv.V)
		}
	}
	return nodes
}

// CacheOf is the inverse of Cache.Nodes.
func CacheOf(config Config, nodes []*Node) Cache {
	c, l := Cache{Position: nodes[0], Slot: nodes[1]}, config.Cache()
	nodes = nodes[2:]
	take := func() (kv []*blocks.KV) {
		for range l.Layers {
			kv = append(kv, &blocks.KV{K: nodes[0], V: nodes[1], Heads: l.Heads, Slot: c.Slot})
			nodes = nodes[2:]
		}
		return kv
	}
	if !config.EncoderDecoder() {
		c.Self = take()
		return c
	}
	c.Lengths, nodes = nodes[0], nodes[1:]
	c.Self = take()
	c.Cross = take()
	return c
}
