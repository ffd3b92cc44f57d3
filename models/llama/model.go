// Package llama is the LLaMA architecture (Touvron et al., 2023), generations 1 to 3: a decoder with RMS norms before
// each sublayer, rotary positions, grouped key/value heads and a gated feed-forward layer.
package llama

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// Model is the language model: token embedding, layers, norm, output projection.
type Model struct {
	Embedding blocks.Embedding `weight:"model.embed_tokens"`
	Layers    []*Layer         `weight:"model.layers"`
	Norm      blocks.RMSNorm   `weight:"model.norm"`
	Output    *blocks.Linear   `weight:"lm_head"` // nil when tied to the embedding

	config Config
}

// Layer is attention and a feed-forward layer, each behind its norm and beside a residual path.
type Layer struct {
	AttentionNorm blocks.RMSNorm `weight:"input_layernorm"`
	Attention     Attention      `weight:"self_attn"`
	MLPNorm       blocks.RMSNorm `weight:"post_attention_layernorm"`
	MLP           MLP            `weight:"mlp"`
}

// Attention is causal self-attention with rotary positions.
type Attention struct {
	Query  blocks.Linear `weight:"q_proj"`
	Key    blocks.Linear `weight:"k_proj"`
	Value  blocks.Linear `weight:"v_proj"`
	Output blocks.Linear `weight:"o_proj"`

	config Config
}

// MLP is the gated feed-forward layer (SwiGLU; Shazeer, 2020).
type MLP struct {
	Gate blocks.Linear `weight:"gate_proj"`
	Up   blocks.Linear `weight:"up_proj"`
	Down blocks.Linear `weight:"down_proj"`
}

// New declares the weights.
func (c Config) New() models.Model {
	std := blocks.NormalInit(c.InitializerRange)
	embedding := std
	embedding.ZeroRow = c.PadTokenID
	m := &Model{
		Embedding: blocks.NewEmbedding(c.VocabSize, c.HiddenSize, embedding),
		Norm:      blocks.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
		config:    c,
	}
	linear := func(in, out int, bias bool) blocks.Linear { return blocks.NewLinear(in, out, bias, std) }
	for range c.NumHiddenLayers {
		l := &Layer{
			AttentionNorm: blocks.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			Attention: Attention{
				Query:  linear(c.HiddenSize, c.NumAttentionHeads*c.HeadDim, c.AttentionBias),
				Key:    linear(c.HiddenSize, c.NumKeyValueHeads*c.HeadDim, c.AttentionBias),
				Value:  linear(c.HiddenSize, c.NumKeyValueHeads*c.HeadDim, c.AttentionBias),
				Output: linear(c.NumAttentionHeads*c.HeadDim, c.HiddenSize, c.AttentionBias),
				config: c,
			},
			MLPNorm: blocks.NewRMSNorm(c.HiddenSize, c.RMSNormEps),
			MLP: MLP{
				Gate: linear(c.HiddenSize, c.IntermediateSize, c.MLPBias),
				Up:   linear(c.HiddenSize, c.IntermediateSize, c.MLPBias),
				Down: linear(c.IntermediateSize, c.HiddenSize, c.MLPBias),
			},
		}
		blocks.Join(&l.Attention.Query, &l.Attention.Key, &l.Attention.Value)
		blocks.Join(&l.MLP.Gate, &l.MLP.Up)
		m.Layers = append(m.Layers, l)
	}
	if !c.TieWordEmbeddings {
		head := linear(c.HiddenSize, c.VocabSize, false)
		m.Output = &head
	}
	return m
}

// Hidden maps tokens [batch, seq] to [batch, seq, embed].
func (m *Model) Hidden(b models.Batch, t *blocks.Training) *Node {
	g, seq := b.Inputs.Graph(), b.Inputs.Shape().Dimensions[1]
	positions := b.Positions
	if positions == nil {
		positions = Iota(g, shapes.Make(dtypes.Int32, 1, seq), 1)
	}
	var mask *Node
	if b.Segments != nil {
		mask = blocks.SameSegment(b.Segments)
	}
	// The longest row decides how far dynamic positions stretch, as for a batch in transformers. In decoding each row
	// is on its own.
	seen := Reshape(ReduceAllMax(b.Lengths), 1)
	at := m.config.Rope.Rotate(positions, m.config.HeadDim, m.config.MaxPositionEmbeddings, seen)
	return m.layers(m.Embedding.Forward(b.Inputs), at, m.attention(true, mask), nil, t)
}

func (m *Model) attention(causal bool, mask *Node) blocks.Attention {
	return blocks.Attention{
		Scale: 1 / math.Sqrt(float64(m.config.HeadDim)), Causal: causal, Mask: mask, Dropout: m.config.AttentionDropout,
	}
}

func (m *Model) layers(x *Node, at blocks.Rotation, how blocks.Attention, caches []*blocks.KV, t *blocks.Training) *Node {
	for i, layer := range m.Layers {
		var kv *blocks.KV
		if caches != nil {
			kv = caches[i]
		}
		x = layer.Forward(t.LayerStart(x), at, how, kv, t)
	}
	return m.Norm.Forward(t.LayersEnd(x))
}

// Forward maps [batch, seq, embed] to the same shape.
func (l *Layer) Forward(x *Node, at blocks.Rotation, how blocks.Attention, kv *blocks.KV, t *blocks.Training) *Node {
	x = Add(x, l.Attention.Forward(l.AttentionNorm.Forward(x), at, how, kv, t))
	return Add(x, l.MLP.Forward(l.MLPNorm.Forward(x), t))
}

// Forward maps [batch, seq, embed] to the same shape.
func (a *Attention) Forward(x *Node, at blocks.Rotation, how blocks.Attention, kv *blocks.KV, t *blocks.Training) *Node {
	qkv := blocks.Together(x, t, &a.Query, &a.Key, &a.Value)
	q := blocks.SplitHeads(qkv[0], a.config.NumAttentionHeads)
	k := blocks.SplitHeads(qkv[1], a.config.NumKeyValueHeads)
	v := blocks.SplitHeads(qkv[2], a.config.NumKeyValueHeads)
	return a.Output.Forward(kv.Attend(at.Apply(q), at.Apply(k), v, how, t), t)
}

// Forward maps [batch, seq, embed] to the same shape.
func (m *MLP) Forward(x *Node, t *blocks.Training) *Node {
	in := blocks.Together(x, t, &m.Gate, &m.Up)
	return m.Down.Forward(Mul(blocks.SiLU.Apply(in[0]), in[1]), t)
}

// Head is the output projection of hidden [batch, n, embed].
func (m *Model) Head(hidden *Node) []blocks.Product {
	if m.Output == nil {
		return m.Embedding.Head(hidden)
	}
	return m.Output.Head(hidden)
}

// Step reads more tokens of each row.
func (m *Model) Step(tokens *Node, c models.Cache) (*Node, models.Cache) {
	n := tokens.Shape().Dimensions[1]
	positions, next := blocks.Positions(c.Position, n), AddScalar(c.Position, n)
	at := m.config.Rope.Rotate(positions, m.config.HeadDim, m.config.MaxPositionEmbeddings, next)
	mask := blocks.Seen(positions, c.Slot, c.Room())
	x := m.layers(m.Embedding.Forward(tokens), at, m.attention(false, mask), c.Self, nil)
	c.Position, c.Slot = next, blocks.AfterSlot(c.Slot, n, c.Room())
	return x, c
}
