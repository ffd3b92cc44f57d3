package pretrained

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/models"
)

// PEFT's files and names.
const (
	adapterConfigName = "adapter_config.json"
	adapterPrefix     = "base_model.model."
)

// isAdapter tells the weights of an adapter from those of the model.
func isAdapter(name string) bool {
	return strings.HasSuffix(name, ".lora_A.weight") || strings.HasSuffix(name, ".lora_B.weight")
}

// adapterConfig is PEFT's adapter_config.json as far as it concerns LoRA.
type adapterConfig struct {
	PEFTType      string          `json:"peft_type"`
	TaskType      string          `json:"task_type"`
	Base          string          `json:"base_model_name_or_path"`
	Rank          int             `json:"r"`
	Alpha         float64         `json:"lora_alpha"`
	Dropout       float64         `json:"lora_dropout"`
	Targets       json.RawMessage `json:"target_modules"`
	Bias          string          `json:"bias"`
	FanInFanOut   bool            `json:"fan_in_fan_out"`
	InferenceMode bool            `json:"inference_mode"`
	Init          json.RawMessage `json:"init_lora_weights,omitempty"`
}

// keepsBase says whether an adapter that began so is one of its base as that is published: PEFT takes how PiSSA, OLoRA, CorDA and
// LoftQ begin out of the base's weights.
func keepsBase(init json.RawMessage) bool {
	var name string
	if json.Unmarshal(init, &name) != nil {
		return true // true, false or absent
	}
	return slices.Contains([]string{"", "gaussian", "eva", "orthogonal"}, strings.ToLower(name))
}

// unsupported are settings of PEFT that change what an adapter computes; they must be absent, null, false or empty.
var unsupported = []string{
	"use_rslora", "use_dora", "use_qalora", "use_bdlora", "modules_to_save", "layers_to_transform", "rank_pattern",
	"alpha_pattern", "trainable_token_indices", "target_parameters", "layer_replication", "exclude_modules", "lora_bias",
	"alora_invocation_tokens", "arrow_config", "kasa_config", "velora_config", "monteclora_config",
}

func fromAdapter(dir string) (*Source, error) {
	raw, err := os.ReadFile(filepath.Join(dir, adapterConfigName))
	if err != nil {
		return nil, fmt.Errorf("adapter %s: %w", dir, err)
	}
	lora, base, err := parseAdapter(raw)
	if err != nil {
		return nil, fmt.Errorf("adapter %s: %s: %w", dir, adapterConfigName, err)
	}
	if inner, err := newest(base); base != "" && err == nil && holds(inner, adapterConfigName) {
		return nil, fmt.Errorf("adapter %s: its base %s is an adapter, too; merge that one with: train export %[2]s DIR, and name DIR in %[3]s", dir, base, adapterConfigName)
	}
	s, err := Find(base)
	if err != nil {
		return nil, fmt.Errorf("adapter %s: its base: %w", dir, err)
	}
	if err := s.Download(); err != nil {
		return nil, fmt.Errorf("adapter %s: its base: %w", dir, err)
	}
	s.Name, s.Adapter, s.LoRA, s.base = dir, dir, lora, base
	if holds(dir, "tokenizer.json") {
		s.tokenizer = os.DirFS(dir)
	}
	return s, nil
}

func holds(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// Base is what an adapter that is trained on this model names as its base: an absolute directory, or the name that the
// model was found by.
func (s *Source) Base() (string, error) {
	switch {
	case s.Dir != "":
		return filepath.Abs(s.Dir)
	case s.base != "":
		return s.base, nil
	}
	return s.Name, nil
}

func parseAdapter(raw []byte) (*models.LoRA, string, error) {
	var c adapterConfig
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, "", err
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, "", err
	}
	for _, key := range unsupported {
		switch string(all[key]) {
		case "", "null", "false", "{}", "[]":
		default:
			return nil, "", fmt.Errorf("%s is not supported; merge the adapter with PEFT first", key)
		}
	}
	var targets []string
	if err := json.Unmarshal(c.Targets, &targets); err != nil {
		return nil, "", fmt.Errorf("target_modules must be a list of names, not %s", c.Targets)
	}
	switch {
	case c.PEFTType != "LORA":
		return nil, "", fmt.Errorf("peft_type %q is not supported; LORA is", c.PEFTType)
	case c.Rank <= 0:
		return nil, "", fmt.Errorf("r is %d; it must be positive", c.Rank)
	case c.FanInFanOut:
		return nil, "", fmt.Errorf("fan_in_fan_out is not supported")
	case c.Bias != "none" && c.Bias != "":
		return nil, "", fmt.Errorf("bias %q is not supported; none is", c.Bias)
	case !keepsBase(c.Init):
		return nil, "", fmt.Errorf("init_lora_weights %s changes the base's weights; save the adapter again with PEFT's "+
			"path_initial_model_for_weight_conversion, or merge it with PEFT first", c.Init)
	case len(targets) == 0:
		return nil, "", fmt.Errorf("target_modules is empty")
	}
	slices.Sort(targets)
	return &models.LoRA{Rank: c.Rank, Alpha: c.Alpha, Dropout: c.Dropout, Targets: targets}, c.Base, nil
}

// AdapterConfig is the adapter_config.json of an adapter for the model base.
func AdapterConfig(l models.LoRA, base string, encoderDecoder bool) ([]byte, error) {
	task := "CAUSAL_LM"
	if encoderDecoder {
		task = "SEQ_2_SEQ_LM"
	}
	targets, err := json.Marshal(l.Targets)
	if err != nil {
		return nil, err
	}
	raw, err := json.MarshalIndent(adapterConfig{
		PEFTType: "LORA", TaskType: task, Base: base, Rank: l.Rank, Alpha: l.Alpha, Dropout: l.Dropout, Targets: targets,
		Bias: "none", InferenceMode: true,
	}, "", "  ")
	return append(raw, '\n'), err
}

// openAdapter refuses what PEFT saves beside the adapter, such as the embedding of a vocabulary that has grown.
func openAdapter(dir string) (*safetensors.File, error) {
	path := filepath.Join(dir, checkpoint.AdapterFile)
	f, err := safetensors.Open(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && holds(dir, "adapter_model.bin"):
		return nil, fmt.Errorf("no %s, only adapter_model.bin, which isn't read; save the adapter again with PEFT", path)
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("no %s beside %s; give a directory that PEFT or a run has saved", path, adapterConfigName)
	case err != nil:
		return nil, fmt.Errorf("adapter: %w", err)
	}
	for _, info := range f.Tensors() {
		if !isAdapter(info.Name) {
			f.Close()
			return nil, fmt.Errorf("%s holds %s, which isn't LoRA's; merge the adapter with PEFT first", path, info.Name)
		}
	}
	return f, nil
}

// adapterTensors are an adapter's tensors by the names of our weights.
func adapterTensors(f *safetensors.File) map[string]tensor {
	tensors := map[string]tensor{}
	for _, info := range f.Tensors() {
		tensors[strings.TrimPrefix(info.Name, adapterPrefix)] = tensor{info, safetensorsStore{f}}
	}
	return tensors
}
