package llamacpp

import (
	"slices"
	"strings"

	"github.com/longform-go/longform/models/llama"
)

// names pairs llama.cpp's names of modules with Hugging Face's, outside of layers and inside.
var names = [][2]string{
	{"token_embd", "model.embed_tokens"},
	{"output_norm", "model.norm"},
	{"output", "lm_head"},
}

var layerNames = [][2]string{
	{"attn_norm", "input_layernorm"},
	{"attn_q", "self_attn.q_proj"},
	{"attn_k", "self_attn.k_proj"},
	{"attn_v", "self_attn.v_proj"},
	{"attn_output", "self_attn.o_proj"},
	{"ffn_norm", "post_attention_layernorm"},
	{"ffn_gate", "mlp.gate_proj"},
	{"ffn_up", "mlp.up_proj"},
	{"ffn_down", "mlp.down_proj"},
}

const (
	layerPrefix, huggingFaceLayerPrefix = "blk.", "model.layers."

	// ropeFactors is the tensor of what llama3 divides the rotary frequencies by.
	ropeFactors = "rope_freqs.weight"
)

// huggingFaceName is the name of a tensor that llama.cpp calls name; unknown ones keep theirs.
func huggingFaceName(name string) string {
	return rename(name, 0, 1, layerPrefix, huggingFaceLayerPrefix)
}

// llamaCppName is the inverse of huggingFaceName.
func llamaCppName(name string) string { return rename(name, 1, 0, huggingFaceLayerPrefix, layerPrefix) }

func rename(name string, from, to int, fromLayer, toLayer string) string {
	module, kind := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		module, kind = name[:dot], name[dot:]
	}
	table, prefix := names, ""
	if inLayer, ok := strings.CutPrefix(module, fromLayer); ok {
		layer, rest, _ := strings.Cut(inLayer, ".")
		table, prefix, module = layerNames, toLayer+layer+".", rest
	}
	for _, pair := range table {
		if pair[from] == module {
			return prefix + pair[to] + kind
		}
	}
	return name
}

// rotatedHeads is the number of heads whose rows llama.cpp orders otherwise than Hugging Face: those of the projections
// that are rotated, weight and bias, and 0 for other tensors.
func rotatedHeads(name string, c llama.Config) int {
	switch {
	case strings.Contains(name, ".self_attn.q_proj."):
		return c.NumAttentionHeads
	case strings.Contains(name, ".self_attn.k_proj."):
		return c.NumKeyValueHeads
	}
	return 0
}

// fromPairs reorders the rows of each head from pairs that are rotated together side by side, as llama.cpp has them, to all
// first halves before all second ones, as Hugging Face has them.
func fromPairs(values []float32, rows, heads int) []float32 {
	return reorder(values, rows, heads, func(i, half int) int { return i%half*2 + i/half })
}

// toPairs is the inverse of fromPairs.
func toPairs(values []float32, rows, heads int) []float32 {
	return reorder(values, rows, heads, func(i, half int) int { return i/2 + i%2*half })
}

// reorder takes row i of each head from where source says.
func reorder(values []float32, rows, heads int, source func(i, half int) int) []float32 {
	columns, size := len(values)/rows, rows/heads
	out := make([]float32, 0, len(values))
	for head := range heads {
		for i := range size {
			at := (head*size + source(i, size/2)) * columns
			out = append(out, values[at:at+columns]...)
		}
	}
	return slices.Clip(out)
}
