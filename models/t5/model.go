// Package t5 is the T5 architecture (Raffel et al., 2020), versions 1.0 and 1.1: an encoder that reads the input and a
// decoder that writes the output, with RMS norms before each sublayer, learned relative positions and no biases.
package t5

import (
	"math"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// Model is the encoder-decoder. Both sides share the token embedding.
type Model struct {
	Embedding blocks.Embedding `weight:"shared"`
	Encoder   Encoder          `weight:"encoder"`
	Decoder   Decoder          `weight:"decoder"`
	Output    *blocks.Linear   `weight:"lm_head"` // nil when tied to the embedding, as in version 1.0

	config Config
}

// Encoder is a stack of layers over the input.
type Encoder struct {
	Layers []*EncoderLayer `weight:"block"`
	Norm   blocks.RMSNorm  `weight:"final_layer_norm"`
}

// EncoderLayer is self-attention and a feed-forward layer.
type EncoderLayer struct {
	Self        SelfAttention `weight:"layer.0"`
	FeedForward FeedForward   `weight:"layer.1"`
}

// Decoder is a stack of layers over the output.
type Decoder struct {
	Layers []*DecoderLayer `weight:"block"`
	Norm   blocks.RMSNorm  `weight:"final_layer_norm"`
}

// DecoderLayer is causal self-attention, attention to the encoder's output, and a feed-forward layer.
type DecoderLayer struct {
	Self        SelfAttention  `weight:"layer.0"`
	Cross       CrossAttention `weight:"layer.1"`
	FeedForward FeedForward    `weight:"layer.2"`
}

// SelfAttention is attention behind its norm and beside a residual path.
type SelfAttention struct {
	Attention Attention      `weight:"SelfAttention"`
	Norm      blocks.RMSNorm `weight:"layer_norm"`
}

// CrossAttention attends to the encoder's output.
type CrossAttention struct {
	Attention Attention      `weight:"EncDecAttention"`
	Norm      blocks.RMSNorm `weight:"layer_norm"`
}

// Attention has scores without 1/sqrt(headDim): T5 puts it into the initialization.
type Attention struct {
	Query  blocks.Linear        `weight:"q"`
	Key    blocks.Linear        `weight:"k"`
	Value  blocks.Linear        `weight:"v"`
	Output blocks.Linear        `weight:"o"`
	Bias   *blocks.RelativeBias `weight:"relative_attention_bias"` // in the first layer, for the whole stack

	config Config
}

// FeedForward is the feed-forward layer behind its norm: ReLU in version 1.0, gated GELU in 1.1.
type FeedForward struct {
	MLP  MLP            `weight:"DenseReluDense"`
	Norm blocks.RMSNorm `weight:"layer_norm"`
}

// MLP is act(x Wi) Wo, or act(x Wi0) * (x Wi1) Wo when gated.
type MLP struct {
	In     *blocks.Linear `weight:"wi"`
	Gate   *blocks.Linear `weight:"wi_0"`
	GateUp *blocks.Linear `weight:"wi_1"`
	Out    blocks.Linear  `weight:"wo"`

	config Config
}

// New declares the weights, with the standard deviations of transformers' initialization, which fold in the
// attention's missing 1/sqrt(headDim).
func (c Config) New() models.Model {
	m := &Model{Embedding: blocks.NewEmbedding(c.VocabSize, c.DModel, blocks.NormalInit(c.InitializerFactor)), config: c}
	norm := func() blocks.RMSNorm {
		n := blocks.NewRMSNorm(c.DModel, c.LayerNormEpsilon)
		n.Weight.Init = blocks.ConstantInit(c.InitializerFactor)
		return n
	}
	for i := range c.NumLayers {
		m.Encoder.Layers = append(m.Encoder.Layers, &EncoderLayer{
			Self:        SelfAttention{Attention: c.selfAttention(i == 0, true), Norm: norm()},
			FeedForward: FeedForward{MLP: c.mlp(), Norm: norm()},
		})
	}
	for i := range c.NumDecoderLayers {
		m.Decoder.Layers = append(m.Decoder.Layers, &DecoderLayer{
			Self:        SelfAttention{Attention: c.selfAttention(i == 0, false), Norm: norm()},
			Cross:       CrossAttention{Attention: c.attention(), Norm: norm()},
			FeedForward: FeedForward{MLP: c.mlp(), Norm: norm()},
		})
	}
	m.Encoder.Norm, m.Decoder.Norm = norm(), norm()
	if !c.TieWordEmbeddings {
		head := blocks.NewLinear(c.DModel, c.VocabSize, false, blocks.NormalInit(c.InitializerFactor))
		m.Output = &head
	}
	return m
}

func (c Config) attention() Attention {
	inner := c.NumHeads * c.DKV
	return Attention{
		Query:  blocks.NewLinear(c.DModel, inner, false, c.std(c.DModel*c.DKV)),
		Key:    blocks.NewLinear(c.DModel, inner, false, c.std(c.DModel)),
		Value:  blocks.NewLinear(c.DModel, inner, false, c.std(c.DModel)),
		Output: blocks.NewLinear(inner, c.DModel, false, c.std(inner)),
		config: c,
	}
}

func (c Config) selfAttention(bias, bidirectional bool) Attention {
	a := c.attention()
	blocks.Join(&a.Query, &a.Key, &a.Value)
	if bias {
		a.Bias = blocks.NewRelativeBias(c.RelativeAttentionNumBuckets, c.NumHeads, c.RelativeAttentionMaxDistance, bidirectional, c.std(c.DModel))
	}
	return a
}

func (c Config) std(fanIn int) blocks.Init {
	return blocks.NormalInit(c.InitializerFactor / math.Sqrt(float64(fanIn)))
}

func (c Config) mlp() MLP {
	in := func() *blocks.Linear {
		l := blocks.NewLinear(c.DModel, c.DFF, false, c.std(c.DModel))
		return &l
	}
	m := MLP{Out: blocks.NewLinear(c.DFF, c.DModel, false, c.std(c.DFF)), config: c}
	if c.gated() {
		m.Gate, m.GateUp = in(), in()
		blocks.Join(m.Gate, m.GateUp)
	} else {
		m.In = in()
	}
	return m
}

// Hidden maps inputs [batch, seq] and labels [batch, target] to the decoder's states [batch, target, embed].
func (m *Model) Hidden(b models.Batch, t *blocks.Training) *Node {
	encoded := m.encode(b, t)
	s := sight{m.config.how(nil), m.config.how(blocks.Within(b.Lengths, encoded.Shape().Dimensions[1]))}
	s.self.Causal, s.self.Bias = true, m.Decoder.Layers[0].Self.Attention.Bias.Square(b.Labels.Graph(), b.Labels.Shape().Dimensions[1])
	return m.decode(m.shiftRight(b.Labels), encoded, s, nil, nil, t)
}

// shiftRight turns labels into the decoder's inputs: the start token, then each label but the last.
func (m *Model) shiftRight(labels *Node) *Node {
	g, d := labels.Graph(), labels.Shape().Dimensions
	pad := FillScalar(g, labels.Shape(), float64(models.OrElse(m.config.PadTokenID, 0)))
	tokens := Where(Equal(labels, Scalar(g, labels.DType(), blocks.IgnoreIndex)), pad, labels)
	start := FillScalar(g, shapes.Make(labels.DType(), d[0], 1), float64(m.config.start()))
	return Concatenate([]*Node{start, SliceAxis(tokens, 1, AxisRangeFromStart(d[1]-1))}, 1)
}

func (m *Model) encode(b models.Batch, t *blocks.Training) *Node {
	seq := b.Inputs.Shape().Dimensions[1]
	how := m.config.how(blocks.Within(b.Lengths, seq))
	how.Bias = m.Encoder.Layers[0].Self.Attention.Bias.Square(b.Inputs.Graph(), seq)
	x := t.Dropout(m.Embedding.Forward(b.Inputs), m.config.DropoutRate)
	for _, layer := range m.Encoder.Layers {
		x = t.LayerStart(x)
		x = layer.Self.Forward(x, how, nil, t)
		x = layer.FeedForward.Forward(x, t)
	}
	return t.Dropout(m.Encoder.Norm.Forward(t.LayersEnd(x)), m.config.DropoutRate)
}

// sight is what the decoder's queries see of the decoder's own positions and of the encoder's.
type sight struct{ self, cross blocks.Attention }

// how is attention under a mask, without the scale that T5 folds into the initialization.
func (c Config) how(mask *Node) blocks.Attention {
	return blocks.Attention{Scale: 1, Mask: mask, Dropout: c.DropoutRate}
}

// decode runs the decoder over tokens [batch, target]. encoded is the encoder's output, or nil when the caches cross
// already hold its keys and values.
func (m *Model) decode(tokens, encoded *Node, s sight, self, cross []*blocks.KV, t *blocks.Training) *Node {
	x := t.Dropout(m.Embedding.Forward(tokens), m.config.DropoutRate)
	for i, layer := range m.Decoder.Layers {
		var selfKV, crossKV *blocks.KV
		if self != nil {
			selfKV, crossKV = self[i], cross[i]
		}
		x = t.LayerStart(x)
		x = layer.Self.Forward(x, s.self, selfKV, t)
		x = layer.Cross.Forward(x, encoded, s.cross, crossKV, t)
		x = layer.FeedForward.Forward(x, t)
	}
	return t.Dropout(m.Decoder.Norm.Forward(t.LayersEnd(x)), m.config.DropoutRate)
}

// Forward maps [batch, seq, embed] to the same shape.
func (l *SelfAttention) Forward(x *Node, how blocks.Attention, kv *blocks.KV, t *blocks.Training) *Node {
	a := &l.Attention
	qkv := blocks.Together(l.Norm.Forward(x), t, &a.Query, &a.Key, &a.Value)
	return Add(x, t.Dropout(a.attend(a.heads(qkv[0]), a.heads(qkv[1]), a.heads(qkv[2]), how, kv, t), a.config.DropoutRate))
}

// Forward maps [batch, target, embed] to the same shape. Keys and values come from encoded [batch, seq, embed], or from
// kv when encoded is nil.
func (l *CrossAttention) Forward(x, encoded *Node, how blocks.Attention, kv *blocks.KV, t *blocks.Training) *Node {
	a := &l.Attention
	var k, v *Node
	if encoded != nil {
		k, v = l.keysAndValues(encoded, t)
	}
	q := a.heads(a.Query.Forward(l.Norm.Forward(x), t))
	return Add(x, t.Dropout(a.attend(q, k, v, how, kv, t), a.config.DropoutRate))
}

// keysAndValues are those of encoded [batch, seq, embed], [batch, seq, heads, headDim].
func (l *CrossAttention) keysAndValues(encoded *Node, t *blocks.Training) (k, v *Node) {
	a := &l.Attention
	return a.heads(a.Key.Forward(encoded, t)), a.heads(a.Value.Forward(encoded, t))
}

func (a *Attention) heads(x *Node) *Node { return blocks.SplitHeads(x, a.config.NumHeads) }

// attend takes q [batch, target, heads, headDim] and k and v [batch, seq, heads, headDim], or nil when kv has all of them.
func (a *Attention) attend(q, k, v *Node, how blocks.Attention, kv *blocks.KV, t *blocks.Training) *Node {
	return a.Output.Forward(kv.Attend(q, k, v, how, t), t)
}

// Forward maps [batch, seq, embed] to the same shape.
func (f *FeedForward) Forward(x *Node, t *blocks.Training) *Node {
	return Add(x, t.Dropout(f.MLP.Forward(f.Norm.Forward(x), t), f.MLP.config.DropoutRate))
}

// Forward maps [batch, seq, embed] to the same shape.
func (m *MLP) Forward(x *Node, t *blocks.Training) *Node {
	act := m.config.activation()
	var h *Node
	if m.In != nil {
		h = act.Apply(m.In.Forward(x, t))
	} else {
		in := blocks.Together(x, t, m.Gate, m.GateUp)
		h = Mul(act.Apply(in[0]), in[1])
	}
	return m.Out.Forward(t.Dropout(h, m.config.DropoutRate), t)
}

// Head is the output projection of hidden [batch, n, embed]. Version 1.0 scales the states, because it projects with the
// embedding.
func (m *Model) Head(hidden *Node) []blocks.Product {
	if m.config.ScaleDecoderOutputs {
		hidden = MulScalar(hidden, 1/math.Sqrt(float64(m.config.DModel)))
	}
	if m.Output == nil {
		return m.Embedding.Head(hidden)
	}
	return m.Output.Head(hidden)
}

// Encode reads inputs and computes the keys and values that the decoder attends to.
func (m *Model) Encode(b models.Batch) []*blocks.KV {
	encoded := m.encode(b, nil)
	var all []*blocks.KV
	for _, layer := range m.Decoder.Layers {
		all = append(all, blocks.NewKV(layer.Cross.keysAndValues(encoded, nil)))
	}
	return all
}

// Step reads more tokens of each row.
func (m *Model) Step(tokens *Node, c models.Cache) (*Node, models.Cache) {
	n, room := tokens.Shape().Dimensions[1], c.Room()
	s := sight{m.config.how(blocks.Seen(blocks.Positions(c.Position, n), c.Slot, room)), m.config.how(blocks.Within(c.Lengths, c.Cross[0].V.Shape().Dimensions[blocks.ValueSlots]))}
	s.self.Bias = m.Decoder.Layers[0].Self.Attention.Bias.Back(blocks.Ages(c.Slot, n, room))
	x := m.decode(tokens, nil, s, c.Self, c.Cross, nil)
	c.Position, c.Slot = AddScalar(c.Position, n), blocks.AfterSlot(c.Slot, n, room)
	return x, c
}
