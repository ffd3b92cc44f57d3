package auto

import (
	"strings"
	"testing"

	"github.com/longform-go/longform/models"
)

// The published counts of parameters and tensors (tied weights counted once).
func TestKnownSizes(t *testing.T) {
	tests := []struct {
		name                string
		parameters, tensors int
	}{
		{"google/t5-v1_1-xl", 2_849_757_184, 558},
		{"facebook/opt-125m", 125_239_296, 196},
		{"facebook/opt-350m", 331_196_416, 388},
		{"facebook/opt-1.3b", 1_315_758_080, 388},
		{"facebook/opt-2.7b", 2_651_596_800, 516},
		{"facebook/opt-6.7b", 6_658_473_984, 516},
		{"llama-7b", 6_738_415_616, 291},
		{"meta-llama/Meta-Llama-3-8B", 8_030_261_248, 291},
	}
	for _, test := range tests {
		c, ok := Known(test.name)
		if !ok {
			t.Errorf("%s: not known", test.name)
			continue
		}
		parameters := 0
		weights := models.Weights(c.New())
		for _, w := range weights {
			parameters += w.Size()
		}
		if parameters != test.parameters || len(weights) != test.tensors {
			t.Errorf("%s: %d parameters in %d tensors, want %d in %d", test.name, parameters, len(weights), test.parameters, test.tensors)
		}
	}
}

func TestParseRefusesByName(t *testing.T) {
	tests := []struct{ config, want string }{
		{`{`, "not valid JSON"},
		{`{}`, "no model_type"},
		{`{"model_type": "gpt2"}`, `model_type "gpt2"`},
		{`{"model_type": "llama", "hidden_act": "gelu"}`, `hidden_act "gelu"`},
		{`{"model_type": "llama", "rope_scaling": {"rope_type": "longrope", "factor": 2}}`, `rope type "longrope"`},
		{`{"model_type": "llama", "num_key_value_heads": 5}`, "num_key_value_heads 5"},
		{`{"model_type": "llama", "head_dim": 15}`, "head_dim 15"},
		{`{"model_type": "llama", "quantization_config": {"bits": 4}}`, "quantization_config"},
		{`{"model_type": "llama", "vocab_size": "many"}`, "vocab_size"},
		{`{"model_type": "opt", "activation_function": "gelu"}`, `activation "gelu"`},
		{`{"model_type": "opt", "layerdrop": 0.1}`, "layerdrop"},
		{`{"model_type": "opt", "num_hidden_layers": 0}`, "num_hidden_layers is 0"},
		{`{"model_type": "t5", "feed_forward_proj": "gated-tanh"}`, "feed_forward_proj"},
		{`{"model_type": "t5", "relative_attention_num_buckets": 3}`, "relative_attention_num_buckets is 3"},
	}
	for _, test := range tests {
		_, err := Parse([]byte(test.config), nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one about %s", test.config, err, test.want)
		}
	}
}
