// Package auto picks the architecture that a config.json or a name asks for.
package auto

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/llama"
	"github.com/longform-go/longform/models/opt"
	"github.com/longform-go/longform/models/t5"
)

// Parse reads a config.json of any supported family. tensors are the names in the checkpoint, when there is one: they
// decide whether a T5 has a head of its own, which transformers 5 no longer writes into config.json.
func Parse(raw []byte, tensors []string) (models.Config, error) {
	var head struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("config.json is not valid JSON: %w", err)
	}
	switch head.ModelType {
	case "llama":
		return wrap(llama.Parse(raw))
	case "opt":
		return wrap(opt.Parse(raw))
	case "t5":
		c, err := t5.Parse(raw)
		if err != nil {
			return nil, err
		}
		if len(tensors) > 0 {
			c = c.WithHead(slices.Contains(tensors, "lm_head.weight"))
		}
		return c, nil
	case "":
		return nil, fmt.Errorf("config.json has no model_type; it must be llama, opt or t5")
	}
	return nil, fmt.Errorf("config.json: model_type %q is not supported; llama, opt and t5 are", head.ModelType)
}

func wrap[C models.Config](c C, err error) (models.Config, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Known is the configuration of a released model by the last part of its hub name, in any case: "opt-125m",
// "facebook/opt-125m", "google/t5-v1_1-xl", "meta-llama/Meta-Llama-3-8B".
func Known(name string) (models.Config, bool) {
	short := strings.ToLower(name[strings.LastIndexByte(name, '/')+1:])
	for _, k := range known {
		if k.name == short {
			return k.config, true
		}
	}
	return nil, false
}

// Names lists the known models, smallest first in each family.
func Names() []string {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = k.name
	}
	return names
}
