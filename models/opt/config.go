package opt

import (
	"fmt"

	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// Config holds the keys of config.json that decide the architecture, under their Hugging Face names.
type Config struct {
	VocabSize                  int               `json:"vocab_size"`
	HiddenSize                 int               `json:"hidden_size"`
	WordEmbedProjDim           int               `json:"word_embed_proj_dim"`
	NumHiddenLayers            int               `json:"num_hidden_layers"`
	FFNDim                     int               `json:"ffn_dim"`
	NumAttentionHeads          int               `json:"num_attention_heads"`
	MaxPositionEmbeddings      int               `json:"max_position_embeddings"`
	ActivationFunction         blocks.Activation `json:"activation_function"`
	DoLayerNormBefore          bool              `json:"do_layer_norm_before"`
	RemoveFinalLayerNorm       bool              `json:"_remove_final_layer_norm"`
	EnableBias                 bool              `json:"enable_bias"`
	LayerNormElementwiseAffine bool              `json:"layer_norm_elementwise_affine"`
	TieWordEmbeddings          bool              `json:"tie_word_embeddings"`
	Dropout                    float64           `json:"dropout"`
	AttentionDropout           float64           `json:"attention_dropout"`
	LayerDrop                  float64           `json:"layerdrop"`
	InitStd                    float64           `json:"init_std"`
	BOSTokenID                 *int              `json:"bos_token_id"`
	EOSTokenID                 models.IDs        `json:"eos_token_id"`
	PadTokenID                 *int              `json:"pad_token_id"`
}

// Parse reads a config.json. Keys that are absent have the defaults of transformers' OPTConfig.
func Parse(raw []byte) (Config, error) {
	c := Config{
		VocabSize: 50272, HiddenSize: 768, NumHiddenLayers: 12, FFNDim: 3072, NumAttentionHeads: 12,
		MaxPositionEmbeddings: 2048, ActivationFunction: blocks.ReLU, DoLayerNormBefore: true, EnableBias: true,
		LayerNormElementwiseAffine: true, TieWordEmbeddings: true, Dropout: 0.1, InitStd: 0.02,
		BOSTokenID: new(2), EOSTokenID: models.IDs{2}, PadTokenID: new(1),
	}
	if _, err := models.ParseJSON(raw, &c); err != nil {
		return Config{}, err
	}
	if c.WordEmbedProjDim == 0 {
		c.WordEmbedProjDim = c.HiddenSize
	}
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("config.json: %w", err)
	}
	return c, nil
}

func (c Config) validate() error {
	for name, v := range map[string]int{
		"vocab_size": c.VocabSize, "hidden_size": c.HiddenSize, "ffn_dim": c.FFNDim, "num_hidden_layers": c.NumHiddenLayers,
		"num_attention_heads": c.NumAttentionHeads, "max_position_embeddings": c.MaxPositionEmbeddings,
		"word_embed_proj_dim": c.WordEmbedProjDim,
	} {
		if v <= 0 {
			return fmt.Errorf("%s is %d; it must be positive", name, v)
		}
	}
	if c.HiddenSize%c.NumAttentionHeads != 0 {
		return fmt.Errorf("hidden_size %d is not a multiple of num_attention_heads %d", c.HiddenSize, c.NumAttentionHeads)
	}
	if c.LayerDrop != 0 {
		return fmt.Errorf("layerdrop %v is not supported; set it to 0", c.LayerDrop)
	}
	return c.ActivationFunction.Validate()
}

// JSON is the config.json.
func (c Config) JSON(dtype string) ([]byte, error) {
	return models.MergeJSON(c, map[string]any{
		"architectures": []string{"OPTForCausalLM"}, "model_type": c.Family(), "torch_dtype": dtype, "use_cache": true,
		"prefix": "</s>",
	})
}

// Family is the model_type.
func (c Config) Family() string { return "opt" }

// EncoderDecoder is false: OPT continues a text.
func (c Config) EncoderDecoder() bool { return false }

// Vocabulary is vocab_size.
func (c Config) Vocabulary() int { return c.VocabSize }

// WithVocabulary changes vocab_size.
func (c Config) WithVocabulary(size int) models.Config { c.VocabSize = size; return c }

// WithDropout changes dropout and attention_dropout.
func (c Config) WithDropout(rate float64) models.Config {
	c.Dropout, c.AttentionDropout = rate, rate
	return c
}

// MaxLength is max_position_embeddings.
func (c Config) MaxLength() int { return c.MaxPositionEmbeddings }

// ReadsAtOnce is false: a token sees only those before it.
func (c Config) ReadsAtOnce() bool { return false }

// Redundant allows a copy of the tied embedding.
func (c Config) Redundant(tensor string) bool {
	return tensor == "lm_head.weight" && c.TieWordEmbeddings
}

// LoRATargets are PEFT's defaults for opt.
func (c Config) LoRATargets() []string { return []string{"q_proj", "v_proj"} }

// Tokens are the special tokens.
func (c Config) Tokens() models.Tokens {
	return models.Tokens{BOS: models.OrElse(c.BOSTokenID, -1), EOS: c.EOSTokenID, Pad: models.OrElse(c.PadTokenID, 0)}
}

// Cache is of all heads.
func (c Config) Cache() models.CacheLayout {
	return models.CacheLayout{Layers: c.NumHiddenLayers, Heads: c.NumAttentionHeads, HeadDim: c.HiddenSize / c.NumAttentionHeads}
}

// ForwardFLOPs counts a row of length tokens.
func (c Config) ForwardFLOPs(length, _ int) float64 {
	layer := 4*c.HiddenSize*c.HiddenSize + 2*c.HiddenSize*c.FFNDim + 2*length*c.HiddenSize
	ends := c.WordEmbedProjDim * c.VocabSize
	if c.WordEmbedProjDim != c.HiddenSize {
		ends += 2 * c.WordEmbedProjDim * c.HiddenSize
	}
	return 2 * float64(length) * float64(c.NumHiddenLayers*layer+ends)
}
