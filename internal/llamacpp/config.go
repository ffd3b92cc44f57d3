package llamacpp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"

	"github.com/longform-go/longform/internal/gguf"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
	"github.com/longform-go/longform/models/llama"
)

// metadata reads what a file says about its model.
type metadata struct{ *gguf.File }

// config is the file's config.json. It is parsed from JSON, so that it passes what every other one has to.
func (m metadata) config() (llama.Config, error) {
	if n, _, _ := m.integer("split.count"); n > 1 { // parts after the first don't tell the architecture
		return llama.Config{}, fmt.Errorf("one of %d parts of a model; join them with: llama-gguf-split --merge", n)
	}
	if arch := m.text("general.architecture"); arch != "llama" {
		return llama.Config{}, fmt.Errorf("its architecture %q is not supported; llama is", arch)
	}
	if n, _, _ := m.integer("llama.expert_count"); n > 0 {
		return llama.Config{}, fmt.Errorf("a mixture of %d experts is not supported", n)
	}
	embedding, ok := m.Tensor("token_embd.weight")
	if !ok || len(embedding.Shape) != 2 {
		return llama.Config{}, fmt.Errorf("it has no token_embd.weight, so no model")
	}
	_, untied := m.Tensor("output.weight")
	_, bias := m.Tensor("blk.0.attn_q.bias")
	_, mlpBias := m.Tensor("blk.0.ffn_up.bias")
	keys := map[string]any{
		"model_type": "llama", "vocab_size": embedding.Shape[0], "tie_word_embeddings": !untied, "attention_bias": bias,
		"mlp_bias": mlpBias, "bos_token_id": nil, "eos_token_id": nil,
	}
	for _, k := range []struct {
		key, name string
		needed    bool
	}{
		{"llama.context_length", "max_position_embeddings", true},
		{"llama.embedding_length", "hidden_size", true},
		{"llama.feed_forward_length", "intermediate_size", true},
		{"llama.block_count", "num_hidden_layers", true},
		{"llama.attention.head_count", "num_attention_heads", true},
		{"llama.attention.head_count_kv", "num_key_value_heads", false},
		{"llama.attention.key_length", "head_dim", false},
	} {
		n, ok, err := m.integer(k.key)
		switch {
		case err != nil:
			return llama.Config{}, err
		case !ok && k.needed:
			return llama.Config{}, fmt.Errorf("its metadata have no %s", k.key)
		case ok:
			keys[k.name] = n
		}
	}
	for what, name := range map[string]string{"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"} {
		id, ok, err := m.special(what, embedding.Shape[0])
		if err != nil {
			return llama.Config{}, err
		}
		if ok {
			keys[name] = id
		}
	}
	epsilon, ok := m.number("llama.attention.layer_norm_rms_epsilon")
	if !ok {
		return llama.Config{}, fmt.Errorf("its metadata have no llama.attention.layer_norm_rms_epsilon")
	}
	keys["rms_norm_eps"] = epsilon
	if theta, ok := m.number("llama.rope.freq_base"); ok {
		keys["rope_theta"] = theta
	}
	raw, err := json.Marshal(keys)
	if err != nil {
		return llama.Config{}, err
	}
	c, err := llama.Parse(raw)
	if err != nil {
		return llama.Config{}, fmt.Errorf("its metadata: %w", err)
	}
	if n := len(m.Tensors()); c.NumHiddenLayers > n { // layers take memory before their tensors are looked for
		return llama.Config{}, fmt.Errorf("llama.block_count is %d, and there are %d tensors", c.NumHiddenLayers, n)
	}
	if n, ok, _ := m.integer("llama.rope.dimension_count"); ok && n != c.HeadDim {
		return llama.Config{}, fmt.Errorf("rotary positions of %d of %d features of a head are not supported", n, c.HeadDim)
	}
	if n, ok, _ := m.integer("llama.attention.value_length"); ok && n != c.HeadDim {
		return llama.Config{}, fmt.Errorf("values of %d features a head beside keys of %d are not supported", n, c.HeadDim)
	}
	c.Rope, err = m.rope(c)
	return c, err
}

// rope are the rotary settings: those of the metadata, or llama3's, of which a file has only the divisors. What the metadata
// don't say is as in llama.cpp's load_hparams.
func (m metadata) rope(c llama.Config) (blocks.Rope, error) {
	if f, ok := m.number("llama.rope.scaling.attn_factor"); ok && f != 1 {
		return c.Rope, fmt.Errorf("llama.rope.scaling.attn_factor %v is not supported", f)
	}
	r := c.Rope
	r.Type, r.Factor = cmp.Or(m.text("llama.rope.scaling.type"), "linear"), 1
	switch r.Type {
	case "none":
	case "linear", "yarn":
		factor, ok := m.number("llama.rope.scaling.factor")
		if !ok {
			factor, _ = m.number("llama.rope.scale_linear") // its name in older files
		}
		r.Factor = cmp.Or(factor, 1)
	default:
		return r, fmt.Errorf("rope scaling %q is not supported; linear, yarn and llama3 are", r.Type)
	}
	if t, ok := m.Tensor(ropeFactors); ok {
		if r.Factor != 1 {
			return r, fmt.Errorf("%s rope scaling by %v together with %s is not supported", r.Type, r.Factor, ropeFactors)
		}
		divisors, err := m.ReadFloat32(t.Name)
		if err != nil {
			return r, err
		}
		return llama3(c.Rope, divisors, c.HeadDim)
	}
	if r.Factor == 1 {
		return c.Rope, nil
	}
	if r.Type == "yarn" {
		r.OriginalLength, _, _ = m.integer("llama.rope.scaling.original_context_length")
		r.BetaFast, _ = m.number("llama.rope.scaling.yarn_beta_fast")
		r.BetaSlow, _ = m.number("llama.rope.scaling.yarn_beta_slow")
	}
	return r, r.Validate()
}

// llama3 finds the settings that give the divisors. Between them only the original length is free: every released model has
// the factors 1 and 4 for low and high frequencies.
func llama3(r blocks.Rope, divisors []float32, headDim int) (blocks.Rope, error) {
	if len(divisors) != headDim/2 {
		return r, fmt.Errorf("%s has %d numbers, and heads of %d features need %d", ropeFactors, len(divisors), headDim, headDim/2)
	}
	r.Type, r.LowFreqFactor, r.HighFreqFactor = "llama3", 1, 4
	r.Factor = float64(slices.Max(divisors))
	lengths := []int{8192}
	for i, d := range divisors {
		if d > 1 && float64(d) < r.Factor {
			share := (1/float64(d) - 1/r.Factor) / (1 - 1/r.Factor) // of the frequency that is kept
			wavelength := 2 * math.Pi * math.Pow(r.Theta, 2*float64(i)/float64(headDim))
			lengths = append(lengths, int(math.Round(wavelength*(r.LowFreqFactor+share*(r.HighFreqFactor-r.LowFreqFactor)))))
		}
	}
	for _, r.OriginalLength = range lengths {
		if r.Validate() == nil && slices.EqualFunc(r.Divisors(headDim), divisors, func(a, b float32) bool {
			return math.Abs(float64(a-b)) < 1e-3*float64(b)
		}) {
			return r, nil
		}
	}
	return r, fmt.Errorf("its rotary frequencies in %s are not llama3's, and no others are supported", ropeFactors)
}

// generation is generation_config.json: any of the tokens that end a text, a turn or a message ends what is written.
func (m metadata) generation(c llama.Config) ([]byte, error) {
	var ends models.IDs
	for _, what := range []string{"eos", "eot", "eom"} {
		id, ok, err := m.special(what, c.VocabSize)
		if err != nil {
			return nil, err
		}
		if !ok && what == "eot" {
			id, ok = m.turnEnd()
		}
		if ok && !slices.Contains(ends, id) {
			ends = append(ends, id)
		}
	}
	return json.Marshal(map[string]any{"bos_token_id": c.BOSTokenID, "eos_token_id": ends, "pad_token_id": c.PadTokenID})
}

// turnEnd finds the token that ends a turn by its name, as llama.cpp does in older files, which don't tell its id.
func (m metadata) turnEnd() (id int, ok bool) {
	v, err := m.vocabulary()
	if err != nil {
		return 0, false // a tokenizer is no need here
	}
	for _, token := range []string{"<|eot_id|>", "<|im_end|>", "<|end|>"} {
		if id, ok := v.ids[token]; ok && v.types[id] == controlToken {
			return id, true
		}
	}
	return 0, false
}

// special is the id of a token with a meaning in a vocabulary of that size. One outside of it, as llama.cpp's
// LLAMA_TOKEN_NULL is, says that there is none.
func (m metadata) special(what string, size int) (id int, ok bool, err error) {
	key := "tokenizer.ggml." + what + "_token_id"
	if v := reflect.ValueOf(m.Value(key)); v.CanUint() && v.Uint() >= uint64(size) {
		return 0, false, nil
	}
	id, ok, err = m.integer(key)
	return id, ok && id >= 0 && id < size, err
}

func (m metadata) text(key string) string {
	s, _ := m.Value(key).(string)
	return s
}

// integer is a whole number of any type. Of a list, one for each layer, all have to be equal.
func (m metadata) integer(key string) (n int, ok bool, err error) {
	v := reflect.ValueOf(m.Value(key))
	one := func(v reflect.Value) (int, bool) {
		switch {
		case v.CanInt():
			return int(v.Int()), true
		case v.CanUint() && v.Uint() <= math.MaxInt32:
			return int(v.Uint()), true
		}
		return 0, false
	}
	switch {
	case !v.IsValid():
		return 0, false, nil
	case v.Kind() == reflect.Slice && v.Len() > 0:
		n, ok = one(v.Index(0))
		for i := range v.Len() {
			if other, _ := one(v.Index(i)); other != n {
				return 0, false, fmt.Errorf("%s differs from layer to layer, which is not supported", key)
			}
		}
	default:
		n, ok = one(v)
	}
	if !ok {
		return 0, false, fmt.Errorf("%s is %v, not a whole number", key, v)
	}
	return n, true, nil
}

// number is a float32 as the shortest decimal that rounds to it, which is what was meant: 1e-05, not 9.99999974e-06.
func (m metadata) number(key string) (float64, bool) {
	f, ok := m.Value(key).(float32)
	v, _ := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64) // parses what was formatted
	return v, ok && !math.IsNaN(v) && !math.IsInf(v, 0)
}
