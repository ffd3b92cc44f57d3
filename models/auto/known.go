package auto

import (
	"fmt"

	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/llama"
	"github.com/longform-go/longform/models/opt"
	"github.com/longform-go/longform/models/t5"
)

// known holds the sizes of the released models, from their config.json files.
var known = []struct {
	name   string
	config models.Config
}{
	{"t5-v1_1-small", t5v11(512, 1024, 8, 6)},
	{"t5-v1_1-base", t5v11(768, 2048, 12, 12)},
	{"t5-v1_1-large", t5v11(1024, 2816, 24, 16)},
	{"t5-v1_1-xl", t5v11(2048, 5120, 24, 32)},
	{"t5-v1_1-xxl", t5v11(4096, 10240, 24, 64)},
	{"opt-125m", optOf(768, 3072, 12, 12, "")},
	{"opt-350m", optOf(1024, 4096, 24, 16, `, "word_embed_proj_dim": 512, "do_layer_norm_before": false`)},
	{"opt-1.3b", optOf(2048, 8192, 24, 32, "")},
	{"opt-2.7b", optOf(2560, 10240, 32, 32, "")},
	{"opt-6.7b", optOf(4096, 16384, 32, 32, "")},
	{"opt-13b", optOf(5120, 20480, 40, 40, "")},
	{"opt-30b", optOf(7168, 28672, 48, 56, "")},
	{"llama-7b", llama1(4096, 11008, 32, 32)},
	{"llama-13b", llama1(5120, 13824, 40, 40)},
	{"llama-30b", llama1(6656, 17920, 60, 52)},
	{"llama-65b", llama1(8192, 22016, 80, 64)},
	{"meta-llama-3-8b", must(wrap(llama.Parse([]byte(`{"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
		"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192,
		"rms_norm_eps": 1e-5, "rope_theta": 500000, "bos_token_id": 128000, "eos_token_id": 128001}`))))},
}

func t5v11(dModel, dFF, layers, heads int) models.Config {
	return must(wrap(t5.Parse(fmt.Appendf(nil, `{"vocab_size": 32128, "d_model": %d, "d_kv": 64, "d_ff": %d, "num_layers": %d,
		"num_heads": %d, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": false}`, dModel, dFF, layers, heads))))
}

func optOf(hidden, ffn, layers, heads int, more string) models.Config {
	return must(wrap(opt.Parse(fmt.Appendf(nil, `{"vocab_size": 50272, "hidden_size": %d, "ffn_dim": %d,
		"num_hidden_layers": %d, "num_attention_heads": %d%s}`, hidden, ffn, layers, heads, more))))
}

func llama1(hidden, intermediate, layers, heads int) models.Config {
	return must(wrap(llama.Parse(fmt.Appendf(nil, `{"vocab_size": 32000, "hidden_size": %d, "intermediate_size": %d,
		"num_hidden_layers": %d, "num_attention_heads": %d, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6}`,
		hidden, intermediate, layers, heads))))
}

func must(c models.Config, err error) models.Config {
	if err != nil {
		panic(err) // a mistake in this file
	}
	return c
}
