package llama

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// Config holds the keys of config.json that decide the architecture, under their Hugging Face names.
type Config struct {
	VocabSize             int        `json:"vocab_size"`
	HiddenSize            int        `json:"hidden_size"`
	IntermediateSize      int        `json:"intermediate_size"`
	NumHiddenLayers       int        `json:"num_hidden_layers"`
	NumAttentionHeads     int        `json:"num_attention_heads"`
	NumKeyValueHeads      int        `json:"num_key_value_heads"`
	HeadDim               int        `json:"head_dim"`
	HiddenAct             string     `json:"hidden_act"`
	MaxPositionEmbeddings int        `json:"max_position_embeddings"`
	InitializerRange      float64    `json:"initializer_range"`
	RMSNormEps            float64    `json:"rms_norm_eps"`
	TieWordEmbeddings     bool       `json:"tie_word_embeddings"`
	AttentionBias         bool       `json:"attention_bias"`
	MLPBias               bool       `json:"mlp_bias"`
	AttentionDropout      float64    `json:"attention_dropout"`
	BOSTokenID            *int       `json:"bos_token_id"`
	EOSTokenID            models.IDs `json:"eos_token_id"`
	PadTokenID            *int       `json:"pad_token_id"`

	Rope blocks.Rope `json:"-"`
}

// Parse reads a config.json. Keys that are absent have the defaults of transformers' LlamaConfig.
func Parse(raw []byte) (Config, error) {
	c := Config{
		VocabSize: 32000, HiddenSize: 4096, IntermediateSize: 11008, NumHiddenLayers: 32, NumAttentionHeads: 32,
		HiddenAct: "silu", MaxPositionEmbeddings: 2048, InitializerRange: 0.02, RMSNormEps: 1e-6,
		BOSTokenID: new(1), EOSTokenID: models.IDs{2},
	}
	keys, err := models.ParseJSON(raw, &c)
	if err != nil {
		return Config{}, err
	}
	if c.NumKeyValueHeads == 0 {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	if c.Rope, err = parseRope(keys, c.MaxPositionEmbeddings); err != nil {
		return Config{}, fmt.Errorf("config.json: %w", err)
	}
	if err := c.validate(keys); err != nil {
		return Config{}, fmt.Errorf("config.json: %w", err)
	}
	return c, nil
}

func (c Config) validate(keys map[string]json.RawMessage) error {
	if c.HiddenAct != "silu" {
		return fmt.Errorf("hidden_act %q is not supported for llama; silu is", c.HiddenAct)
	}
	for name, v := range map[string]int{
		"vocab_size": c.VocabSize, "hidden_size": c.HiddenSize, "intermediate_size": c.IntermediateSize,
		"num_hidden_layers": c.NumHiddenLayers, "num_attention_heads": c.NumAttentionHeads,
		"num_key_value_heads": c.NumKeyValueHeads, "head_dim": c.HeadDim, "max_position_embeddings": c.MaxPositionEmbeddings,
	} {
		if v <= 0 {
			return fmt.Errorf("%s is %d; it must be positive", name, v)
		}
	}
	if c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		return fmt.Errorf("num_attention_heads %d is not a multiple of num_key_value_heads %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	}
	if c.HeadDim%2 != 0 {
		return fmt.Errorf("head_dim %d is odd; rotary positions need an even one", c.HeadDim)
	}
	if raw, ok := keys["partial_rotary_factor"]; ok && string(raw) != "1" && string(raw) != "1.0" {
		return fmt.Errorf("partial_rotary_factor %s is not supported", raw)
	}
	return c.Rope.Validate()
}

// parseRope reads the rotary settings in the spelling of transformers 5 (rope_parameters) or 4 (rope_theta and
// rope_scaling).
func parseRope(keys map[string]json.RawMessage, maxLength int) (blocks.Rope, error) {
	r := blocks.Rope{Type: "default", Theta: 10000}
	read := func(key string, target any) error {
		raw, ok := keys[key]
		if !ok || string(raw) == "null" {
			return nil
		}
		if err := json.Unmarshal(raw, target); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	}
	old := struct {
		Type string `json:"type"` // before transformers 4.43
	}{}
	for _, step := range []error{
		read("rope_theta", &r.Theta), read("rope_parameters", &r), read("rope_scaling", &old), read("rope_scaling", &r),
		read("original_max_position_embeddings", &r.OriginalLength),
	} {
		if step != nil {
			return r, step
		}
	}
	if old.Type != "" && r.Type == "default" {
		r.Type = old.Type
	}
	if (r.Type == "yarn" || r.Type == "llama3") && r.OriginalLength == 0 {
		r.OriginalLength = maxLength
	}
	if r.Type == "yarn" && r.Factor == 0 {
		r.Factor = float64(maxLength) / float64(r.OriginalLength)
	}
	return r, nil
}

// JSON is the config.json with the rotary settings in both spellings.
func (c Config) JSON(dtype string) ([]byte, error) {
	extra := map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": c.Family(), "torch_dtype": dtype, "use_cache": true,
		"rope_theta": c.Rope.Theta, "rope_scaling": nil, "rope_parameters": c.Rope,
	}
	if c.Rope.Type != "default" {
		extra["rope_scaling"] = c.Rope
	}
	return models.MergeJSON(c, extra)
}

// Family is the model_type.
func (c Config) Family() string { return "llama" }

// EncoderDecoder is false: LLaMA continues a text.
func (c Config) EncoderDecoder() bool { return false }

// Vocabulary is vocab_size.
func (c Config) Vocabulary() int { return c.VocabSize }

// WithVocabulary changes vocab_size.
func (c Config) WithVocabulary(size int) models.Config { c.VocabSize = size; return c }

// WithDropout changes attention_dropout, the only dropout of the family.
func (c Config) WithDropout(rate float64) models.Config { c.AttentionDropout = rate; return c }

// MaxLength is max_position_embeddings, except for dynamic rotary positions, which stretch to any length.
func (c Config) MaxLength() int {
	if c.Rope.Type == "dynamic" {
		return 0
	}
	return c.MaxPositionEmbeddings
}

// ReadsAtOnce is true for dynamic rotary positions, which stretch with all of a prompt that is read, as in transformers.
func (c Config) ReadsAtOnce() bool { return c.Rope.Type == "dynamic" }

// Redundant allows a copy of the tied embedding, and the rotary frequencies that transformers saved before 4.31.
func (c Config) Redundant(tensor string) bool {
	return tensor == "lm_head.weight" && c.TieWordEmbeddings || strings.HasSuffix(tensor, ".rotary_emb.inv_freq")
}

// LoRATargets are PEFT's defaults for llama.
func (c Config) LoRATargets() []string { return []string{"q_proj", "v_proj"} }

// Tokens are the special tokens; a missing pad_token_id is 0, which padding never shows to the model.
func (c Config) Tokens() models.Tokens {
	return models.Tokens{BOS: models.OrElse(c.BOSTokenID, -1), EOS: c.EOSTokenID, Pad: models.OrElse(c.PadTokenID, 0)}
}

// Cache is of grouped heads.
func (c Config) Cache() models.CacheLayout {
	return models.CacheLayout{Layers: c.NumHiddenLayers, Heads: c.NumKeyValueHeads, HeadDim: c.HeadDim}
}

// ForwardFLOPs counts a row of length tokens.
func (c Config) ForwardFLOPs(length, _ int) float64 {
	inner := c.NumAttentionHeads * c.HeadDim
	attention := c.HiddenSize * (2*inner + 2*c.NumKeyValueHeads*c.HeadDim)
	layer := attention + 3*c.HiddenSize*c.IntermediateSize + 2*length*inner
	return 2 * float64(length) * float64(c.NumHiddenLayers*layer+c.HiddenSize*c.VocabSize)
}
