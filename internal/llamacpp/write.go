package llamacpp

import (
	"encoding/json"
	"fmt"

	"github.com/longform-go/longform/internal/gguf"
	"github.com/longform-go/longform/models/llama"
)

// Content is a model to be written.
type Content struct {
	Name      string
	Config    llama.Config
	EOS       []int             // ids that end a text; at most three can be told apart in a file
	Tokenizer map[string][]byte // tokenizer.json, and the chat template's file; nil leaves the tokenizer out
	Tensors   []Tensor
	Type      gguf.Type // of matrices; norms and biases stay float32, as llama.cpp wants them
}

// Tensor is a weight by its Hugging Face name.
type Tensor struct {
	Name  string
	Shape []int
	Read  func() ([]float32, error)
}

// fileTypes are the numbers of general.file_type.
var fileTypes = map[gguf.Type]uint32{gguf.F32: 0, gguf.F16: 1, gguf.Q4_0: 2, gguf.Q8_0: 7, gguf.BF16: 32}

// Write makes a GGUF file, which mustn't exist yet. A matrix whose rows aren't whole blocks becomes float16.
func Write(path string, c Content) error {
	pairs, err := c.metadata()
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	var tensors []gguf.Tensor
	if c.Config.Rope.Type == "llama3" {
		divisors := c.Config.Rope.Divisors(c.Config.HeadDim)
		tensors = append(tensors, encoded(gguf.Info{Name: ropeFactors, Type: gguf.F32, Shape: []int{len(divisors)}},
			func() ([]float32, error) { return divisors, nil }))
	}
	for _, t := range c.Tensors {
		info := gguf.Info{Name: llamaCppName(t.Name), Type: c.Type, Shape: t.Shape}
		if len(t.Shape) == 1 {
			info.Type = gguf.F32
		} else if t.Shape[len(t.Shape)-1]%c.Type.Block() != 0 {
			info.Type = gguf.F16
		}
		tensors = append(tensors, encoded(info, func() ([]float32, error) {
			values, err := t.Read()
			if heads := rotatedHeads(t.Name, c.Config); err == nil && heads > 0 {
				values = toPairs(values, t.Shape[0], heads)
			}
			return values, err
		}))
	}
	return gguf.Write(path, pairs, tensors)
}

func encoded(info gguf.Info, values func() ([]float32, error)) gguf.Tensor {
	return gguf.Tensor{Info: info, Data: func(dst []byte) error {
		v, err := values()
		if err != nil {
			return err
		}
		return gguf.Quantize(dst, info.Type, v)
	}}
}

func (c Content) metadata() ([]gguf.KV, error) {
	config := c.Config
	count := func(n int) uint32 { return uint32(n) }
	pairs := []gguf.KV{
		{Key: "general.architecture", Value: "llama"},
		{Key: "general.type", Value: "model"},
		{Key: "general.name", Value: c.Name},
		{Key: "general.file_type", Value: fileTypes[c.Type]},
		{Key: "general.quantization_version", Value: uint32(2)},
		{Key: "llama.vocab_size", Value: count(config.VocabSize)},
		{Key: "llama.context_length", Value: count(config.MaxPositionEmbeddings)},
		{Key: "llama.embedding_length", Value: count(config.HiddenSize)},
		{Key: "llama.feed_forward_length", Value: count(config.IntermediateSize)},
		{Key: "llama.block_count", Value: count(config.NumHiddenLayers)},
		{Key: "llama.attention.head_count", Value: count(config.NumAttentionHeads)},
		{Key: "llama.attention.head_count_kv", Value: count(config.NumKeyValueHeads)},
		{Key: "llama.attention.key_length", Value: count(config.HeadDim)},
		{Key: "llama.attention.value_length", Value: count(config.HeadDim)},
		{Key: "llama.attention.layer_norm_rms_epsilon", Value: float32(config.RMSNormEps)},
		{Key: "llama.rope.dimension_count", Value: count(config.HeadDim)},
		{Key: "llama.rope.freq_base", Value: float32(config.Rope.Theta)},
	}
	switch r := config.Rope; {
	case r.Type == "default" || r.Type == "llama3":
	case r.Type == "linear" || r.Type == "yarn" && r.AttentionFactor == 0 && r.MScale == 0 && r.MScaleAllDim == 0 && r.Truncate == nil:
		pairs = append(pairs, gguf.KV{Key: "llama.rope.scaling.type", Value: r.Type},
			gguf.KV{Key: "llama.rope.scaling.factor", Value: float32(r.Factor)})
		if r.OriginalLength > 0 {
			pairs = append(pairs, gguf.KV{Key: "llama.rope.scaling.original_context_length", Value: count(r.OriginalLength)})
		}
		if r.BetaFast != 0 {
			pairs = append(pairs, gguf.KV{Key: "llama.rope.scaling.yarn_beta_fast", Value: float32(r.BetaFast)})
		}
		if r.BetaSlow != 0 {
			pairs = append(pairs, gguf.KV{Key: "llama.rope.scaling.yarn_beta_slow", Value: float32(r.BetaSlow)})
		}
	default:
		return nil, fmt.Errorf("rotary positions of type %s with these settings have no counterpart in llama.cpp", r.Type)
	}
	if c.Tokenizer == nil {
		pairs = append(pairs, gguf.KV{Key: "tokenizer.ggml.model", Value: "no_vocab"})
		return append(pairs, c.ids(config.Tokens().BOS)...), nil
	}
	tokenizer, err := c.tokenizer()
	if err != nil {
		return nil, fmt.Errorf("its tokenizer can't be told to llama.cpp: %w", err)
	}
	return append(pairs, tokenizer...), nil
}

// chatTemplate is the template of chat_template.jinja or, as older versions of transformers have it, of
// tokenizer_config.json.
func (c Content) chatTemplate() string {
	if t := c.Tokenizer["chat_template.jinja"]; t != nil {
		return string(t)
	}
	var config struct {
		Template any `json:"chat_template"`
	}
	_ = json.Unmarshal(c.Tokenizer["tokenizer_config.json"], &config) // no template is no error
	text, _ := config.Template.(string)                               // some have a list of named ones
	return text
}
