// Package opt is the OPT architecture (Zhang et al., 2022): a decoder with layer norms, learned positions, ReLU
// feed-forward layers and an output projection tied to the token embedding.
package opt

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// positionOffset is where the rows of the position table begin: the two before are left over from the table of the
// original code, which numbered positions after the padding id.
const positionOffset = 2

// layerNormEpsilon is torch's default, which OPT uses throughout.
const layerNormEpsilon = 1e-5

// Model is the language model.
type Model struct {
	Embedding  blocks.Embedding  `weight:"model.decoder.embed_tokens"`
	Positions  blocks.Embedding  `weight:"model.decoder.embed_positions"`
	ProjectIn  *blocks.Linear    `weight:"model.decoder.project_in"` // nil unless word_embed_proj_dim differs
	Layers     []*Layer          `weight:"model.decoder.layers"`
	Norm       *blocks.LayerNorm `weight:"model.decoder.final_layer_norm"` // nil after post-norm layers
	ProjectOut *blocks.Linear    `weight:"model.decoder.project_out"`
	Output     *blocks.Linear    `weight:"lm_head"` // nil when tied to the embedding, as released models are

	config Config
}

// Layer is attention and a feed-forward layer beside residual paths, each with its norm before it, or after it in the
// 350m model.
type Layer struct {
	Attention     Attention        `weight:"self_attn"`
	AttentionNorm blocks.LayerNorm `weight:"self_attn_layer_norm"`
	Up            blocks.Linear    `weight:"fc1"`
	Down          blocks.Linear    `weight:"fc2"`
	MLPNorm       blocks.LayerNorm `weight:"final_layer_norm"`

	config Config
}

// Attention is causal self-attention.
type Attention struct {
	Key    blocks.Linear `weight:"k_proj"`
	Value  blocks.Linear `weight:"v_proj"`
	Query  blocks.Linear `weight:"q_proj"`
	Output blocks.Linear `weight:"out_proj"`

	config Config
}

// New declares the weights.
func (c Config) New() models.Model {
	std := blocks.NormalInit(c.InitStd)
	linear := func(in, out int, bias bool) blocks.Linear { return blocks.NewLinear(in, out, bias, std) }
	norm := func() blocks.LayerNorm {
		return blocks.NewLayerNorm(c.HiddenSize, layerNormEpsilon, c.LayerNormElementwiseAffine)
	}
	tokens := std
	tokens.ZeroRow = c.PadTokenID
	m := &Model{
		Embedding: blocks.NewEmbedding(c.VocabSize, c.WordEmbedProjDim, tokens),
		Positions: blocks.NewEmbedding(c.MaxPositionEmbeddings+positionOffset, c.HiddenSize, std),
		config:    c,
	}
	if c.WordEmbedProjDim != c.HiddenSize {
		in, out := linear(c.WordEmbedProjDim, c.HiddenSize, false), linear(c.HiddenSize, c.WordEmbedProjDim, false)
		m.ProjectIn, m.ProjectOut = &in, &out
	}
	for range c.NumHiddenLayers {
		square := func() blocks.Linear { return linear(c.HiddenSize, c.HiddenSize, c.EnableBias) }
		l := &Layer{
			Attention:     Attention{Key: square(), Value: square(), Query: square(), Output: square(), config: c},
			AttentionNorm: norm(),
			Up:            linear(c.HiddenSize, c.FFNDim, c.EnableBias),
			Down:          linear(c.FFNDim, c.HiddenSize, c.EnableBias),
			MLPNorm:       norm(),
			config:        c,
		}
		blocks.Join(&l.Attention.Query, &l.Attention.Key, &l.Attention.Value)
		m.Layers = append(m.Layers, l)
	}
	if c.DoLayerNormBefore && !c.RemoveFinalLayerNorm {
		last := norm()
		m.Norm = &last
	}
	if !c.TieWordEmbeddings {
		head := linear(c.WordEmbedProjDim, c.VocabSize, false)
		m.Output = &head
	}
	return m
}

// Hidden maps tokens [batch, seq] to [batch, seq, embed].
func (m *Model) Hidden(b models.Batch, t *blocks.Training) *Node {
	g, dims := b.Inputs.Graph(), b.Inputs.Shape().Dimensions
	positions := b.Positions
	if positions == nil {
		positions = Iota(g, shapes.Make(dtypes.Int32, 1, dims[1]), 1)
	}
	var mask *Node
	if b.Segments != nil {
		mask = blocks.SameSegment(b.Segments)
	}
	return m.layers(m.embed(b.Inputs, positions), m.attention(true, mask), nil, t)
}

func (m *Model) attention(causal bool, mask *Node) blocks.Attention {
	return blocks.Attention{
		Scale:  1 / math.Sqrt(float64(m.config.HiddenSize/m.config.NumAttentionHeads)),
		Causal: causal, Mask: mask, Dropout: m.config.AttentionDropout,
	}
}

// embed adds the vectors of tokens [batch, seq] and of their positions [batch or 1, seq].
func (m *Model) embed(tokens, positions *Node) *Node {
	x := m.Embedding.Forward(tokens)
	if m.ProjectIn != nil {
		x = m.ProjectIn.Forward(x, nil)
	}
	return Add(x, m.Positions.Forward(AddScalar(positions, positionOffset)))
}

func (m *Model) layers(x *Node, how blocks.Attention, caches []*blocks.KV, t *blocks.Training) *Node {
	for i, layer := range m.Layers {
		var kv *blocks.KV
		if caches != nil {
			kv = caches[i]
		}
		x = layer.Forward(t.LayerStart(x), how, kv, t)
	}
	x = t.LayersEnd(x)
	if m.Norm != nil {
		x = m.Norm.Forward(x)
	}
	if m.ProjectOut != nil {
		x = m.ProjectOut.Forward(x, nil)
	}
	return x
}

// Forward maps [batch, seq, embed] to the same shape.
func (l *Layer) Forward(x *Node, how blocks.Attention, kv *blocks.KV, t *blocks.Training) *Node {
	x = l.sublayer(x, &l.AttentionNorm, t, func(x *Node) *Node { return l.Attention.Forward(x, how, kv, t) })
	return l.sublayer(x, &l.MLPNorm, t, func(x *Node) *Node {
		return l.Down.Forward(l.config.ActivationFunction.Apply(l.Up.Forward(x, t)), t)
	})
}

// sublayer adds f(x) to x, with the norm before f or after the sum.
func (l *Layer) sublayer(x *Node, norm *blocks.LayerNorm, t *blocks.Training, f func(*Node) *Node) *Node {
	if l.config.DoLayerNormBefore {
		return Add(x, t.Dropout(f(norm.Forward(x)), l.config.Dropout))
	}
	return norm.Forward(Add(x, t.Dropout(f(x), l.config.Dropout)))
}

// Forward maps [batch, seq, embed] to the same shape.
func (a *Attention) Forward(x *Node, how blocks.Attention, kv *blocks.KV, t *blocks.Training) *Node {
	heads := a.config.NumAttentionHeads
	qkv := blocks.Together(x, t, &a.Query, &a.Key, &a.Value)
	q, k, v := blocks.SplitHeads(qkv[0], heads), blocks.SplitHeads(qkv[1], heads), blocks.SplitHeads(qkv[2], heads)
	return a.Output.Forward(kv.Attend(q, k, v, how, t), t)
}

// Head is the output projection of hidden [batch, n, embed].
func (m *Model) Head(hidden *Node) []blocks.Product {
	if m.Output == nil {
		return m.Embedding.Head(hidden)
	}
	return m.Output.Head(hidden)
}

// Step reads more tokens of each row. Padding, at negative positions, gets the vector of the first.
func (m *Model) Step(tokens *Node, c models.Cache) (*Node, models.Cache) {
	n := tokens.Shape().Dimensions[1]
	positions := blocks.Positions(c.Position, n)
	mask := blocks.Seen(positions, c.Slot, c.Room())
	x := m.layers(m.embed(tokens, MaxScalar(positions, 0)), m.attention(false, mask), c.Self, nil)
	c.Position, c.Slot = AddScalar(c.Position, n), blocks.AfterSlot(c.Slot, n, c.Room())
	return x, c
}
