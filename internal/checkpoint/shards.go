package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/longform-go/longform/internal/safetensors"
)

const indexSuffix = ".index.json"

// shard is one file of a model's weights.
type shard struct {
	file    string
	tensors []safetensors.Tensor
}

// cutShards cuts the weights, in their order, into files of at most limit
// bytes of data, as Hugging Face does: a shard is closed when the next tensor
// would go over the limit, and a tensor above the limit gets one of its own.
func cutShards(name string, weights []safetensors.Tensor, limit int64) []shard {
	var parts [][]safetensors.Tensor
	var current []safetensors.Tensor
	var size int64
	for _, t := range weights {
		n := t.Bytes()
		if n > limit {
			parts = append(parts, []safetensors.Tensor{t})
			continue
		}
		if size+n > limit {
			parts = append(parts, current)
			current, size = nil, 0
		}
		current = append(current, t)
		size += n
	}
	if len(current) > 0 || len(parts) == 0 {
		parts = append(parts, current)
	}
	if len(parts) == 1 {
		return []shard{{name, parts[0]}}
	}
	shards := make([]shard, len(parts))
	ext := filepath.Ext(name)
	for i, tensors := range parts {
		file := fmt.Sprintf("%s-%05d-of-%05d%s", strings.TrimSuffix(name, ext), i+1, len(parts), ext)
		shards[i] = shard{file, tensors}
	}
	return shards
}

// shardIndex is the file that tells which shard has which tensor.
func shardIndex(shards []shard) []byte {
	var total int64
	files := map[string]string{}
	for _, s := range shards {
		for _, t := range s.tensors {
			total += t.Bytes()
			files[t.Name] = s.file
		}
	}
	x := map[string]any{"metadata": map[string]int64{"total_size": total}, "weight_map": files}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(x); err != nil { // strings and a number: can't fail
		panic(err)
	}
	return buf.Bytes()
}
