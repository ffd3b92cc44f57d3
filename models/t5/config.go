package t5

import (
	"fmt"
	"strings"

	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// Config holds the keys of config.json that decide the architecture, under their Hugging Face names.
type Config struct {
	VocabSize                    int        `json:"vocab_size"`
	DModel                       int        `json:"d_model"`
	DKV                          int        `json:"d_kv"`
	DFF                          int        `json:"d_ff"`
	NumLayers                    int        `json:"num_layers"`
	NumDecoderLayers             int        `json:"num_decoder_layers"`
	NumHeads                     int        `json:"num_heads"`
	RelativeAttentionNumBuckets  int        `json:"relative_attention_num_buckets"`
	RelativeAttentionMaxDistance int        `json:"relative_attention_max_distance"`
	DropoutRate                  float64    `json:"dropout_rate"`
	LayerNormEpsilon             float64    `json:"layer_norm_epsilon"`
	InitializerFactor            float64    `json:"initializer_factor"`
	FeedForwardProj              string     `json:"feed_forward_proj"`
	TieWordEmbeddings            bool       `json:"tie_word_embeddings"`
	ScaleDecoderOutputs          bool       `json:"scale_decoder_outputs"`
	DecoderStartTokenID          *int       `json:"decoder_start_token_id"`
	EOSTokenID                   models.IDs `json:"eos_token_id"`
	PadTokenID                   *int       `json:"pad_token_id"`
}

// Parse reads a config.json. Keys that are absent have the defaults of transformers' T5Config.
//
// Whether the head is tied is written in two ways. Transformers 4 says it in tie_word_embeddings, and scales the
// decoder's output when it is tied. Transformers 5 always writes tie_word_embeddings true and tells version 1.1, with its
// own head and no scale, by scale_decoder_outputs false.
func Parse(raw []byte) (Config, error) {
	c := Config{
		VocabSize: 32128, DModel: 512, DKV: 64, DFF: 2048, NumLayers: 6, NumHeads: 8, RelativeAttentionNumBuckets: 32,
		RelativeAttentionMaxDistance: 128, DropoutRate: 0.1, LayerNormEpsilon: 1e-6, InitializerFactor: 1,
		FeedForwardProj: "relu", TieWordEmbeddings: true, EOSTokenID: models.IDs{1}, PadTokenID: new(0),
	}
	keys, err := models.ParseJSON(raw, &c)
	if err != nil {
		return Config{}, err
	}
	if c.NumDecoderLayers == 0 {
		c.NumDecoderLayers = c.NumLayers
	}
	if _, ok := keys["scale_decoder_outputs"]; ok {
		c.TieWordEmbeddings = c.TieWordEmbeddings && c.ScaleDecoderOutputs
	} else {
		c.ScaleDecoderOutputs = c.TieWordEmbeddings
	}
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("config.json: %w", err)
	}
	return c, nil
}

func (c Config) validate() error {
	for name, v := range map[string]int{
		"vocab_size": c.VocabSize, "d_model": c.DModel, "d_kv": c.DKV, "d_ff": c.DFF, "num_layers": c.NumLayers,
		"num_decoder_layers": c.NumDecoderLayers, "num_heads": c.NumHeads,
		"relative_attention_max_distance": c.RelativeAttentionMaxDistance,
	} {
		if v <= 0 {
			return fmt.Errorf("%s is %d; it must be positive", name, v)
		}
	}
	if c.RelativeAttentionNumBuckets < 4 || c.RelativeAttentionNumBuckets%2 != 0 {
		return fmt.Errorf("relative_attention_num_buckets is %d; it must be even and at least 4", c.RelativeAttentionNumBuckets)
	}
	if err := c.activation().Validate(); err != nil {
		return fmt.Errorf("feed_forward_proj %q: %w", c.FeedForwardProj, err)
	}
	return nil
}

func (c Config) gated() bool { return strings.HasPrefix(c.FeedForwardProj, "gated-") }

// activation is the function named in feed_forward_proj; "gated-gelu" means the tanh approximation.
func (c Config) activation() blocks.Activation {
	if c.FeedForwardProj == "gated-gelu" {
		return blocks.GeLUNew
	}
	return blocks.Activation(strings.TrimPrefix(c.FeedForwardProj, "gated-"))
}

// start is the decoder's first input, which is the padding token unless config.json says otherwise.
func (c Config) start() int {
	return models.OrElse(c.DecoderStartTokenID, models.OrElse(c.PadTokenID, 0))
}

// JSON is the config.json in a spelling that transformers 4 and 5 both read as it is meant.
func (c Config) JSON(dtype string) ([]byte, error) {
	return models.MergeJSON(c, map[string]any{
		"architectures": []string{"T5ForConditionalGeneration"}, "model_type": c.Family(), "torch_dtype": dtype,
		"is_encoder_decoder": true, "use_cache": true, "decoder_start_token_id": c.start(),
		"is_gated_act": c.gated(), "dense_act_fn": c.activation(),
	})
}

// Family is the model_type.
func (c Config) Family() string { return "t5" }

// EncoderDecoder is true: T5 reads an input and writes an output.
func (c Config) EncoderDecoder() bool { return true }

// Vocabulary is vocab_size.
func (c Config) Vocabulary() int { return c.VocabSize }

// WithVocabulary changes vocab_size.
func (c Config) WithVocabulary(size int) models.Config { c.VocabSize = size; return c }

// WithDropout changes dropout_rate.
func (c Config) WithDropout(rate float64) models.Config { c.DropoutRate = rate; return c }

// WithHead fits the configuration to whether the checkpoint has an lm_head: one of its own in version 1.1. In a model that
// scales its output, as version 1.0 does, it is a copy of the embedding.
func (c Config) WithHead(there bool) Config {
	c.TieWordEmbeddings = c.ScaleDecoderOutputs || !there
	return c
}

// MaxLength is 0: relative positions have no limit.
func (c Config) MaxLength() int { return 0 }

// ReadsAtOnce is true: the encoder sees both ways.
func (c Config) ReadsAtOnce() bool { return true }

// Redundant allows copies of the shared embedding, and a bias of the first cross-attention that old checkpoints hold and
// nothing reads.
func (c Config) Redundant(tensor string) bool {
	switch tensor {
	case "lm_head.weight":
		return c.TieWordEmbeddings
	case "encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
		"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight":
		return true
	}
	return false
}

// LoRATargets are PEFT's defaults for t5.
func (c Config) LoRATargets() []string { return []string{"q", "v"} }

// Tokens are the special tokens; T5 has no beginning-of-text token.
func (c Config) Tokens() models.Tokens {
	return models.Tokens{BOS: -1, EOS: c.EOSTokenID, Pad: models.OrElse(c.PadTokenID, 0), DecoderStart: c.start()}
}

// Cache is of the decoder's attention to itself, and as much again of that to the encoder's output.
func (c Config) Cache() models.CacheLayout {
	return models.CacheLayout{Layers: c.NumDecoderLayers, Heads: c.NumHeads, HeadDim: c.DKV}
}

// ForwardFLOPs counts a row of length tokens in and target tokens out.
func (c Config) ForwardFLOPs(length, target int) float64 {
	inner := c.NumHeads * c.DKV
	matrix, feedForward := c.DModel*inner, 2*c.DModel*c.DFF
	if c.gated() {
		feedForward = 3 * c.DModel * c.DFF
	}
	encoder := length * (4*matrix + feedForward + 2*length*inner)
	// The keys and values of cross-attention come from the encoder's tokens.
	decoder := target*(6*matrix+feedForward+2*target*inner+2*length*inner) + length*2*matrix
	return 2 * float64(c.NumLayers*encoder+c.NumDecoderLayers*decoder+target*c.DModel*c.VocabSize)
}
