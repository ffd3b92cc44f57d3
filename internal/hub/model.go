package hub

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Names that from_pretrained gives to a model's files.
const (
	configFile    = "config.json"
	tokenizerFile = "tokenizer.json"
	weightsFile   = "model.safetensors"
	indexFile     = "model.safetensors.index.json"
)

// Model is a repository with a model in it. Its methods download a part of it into Dir.
type Model struct{ *Repository }

// OpenModel finds a model on the hub.
func OpenModel(name string) (Model, error) {
	r, err := Open(Models, name)
	return Model{r}, err
}

// FetchConfig downloads what says how the model is built and how it generates.
func (m Model) FetchConfig() error {
	switch {
	case m.has(configFile):
		return m.fetch(configFile, "generation_config.json")
	case m.has("adapter_config.json"):
		return fmt.Errorf("it is a PEFT adapter, not a model; download it with: hf download %s --local-dir %s, and give the directory",
			m.name, path.Base(m.name))
	}
	return fmt.Errorf("the hub has no %s in it; a model that from_pretrained opens has one", configFile)
}

// FetchTokenizer downloads the tokenizer.
func (m Model) FetchTokenizer() error {
	if !m.has(tokenizerFile) {
		return fmt.Errorf("the hub has no %s in it; %s", tokenizerFile, m.convert())
	}
	return m.fetch(tokenizerFile, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "longform.json")
}

// FetchWeights downloads the weights: one file, or the index and the shards it lists.
func (m Model) FetchWeights() error {
	switch {
	case m.has(weightsFile):
		return m.fetch(weightsFile)
	case m.has(indexFile):
		return m.fetchShards()
	}
	for _, name := range m.Files() {
		if strings.HasPrefix(name, "pytorch_model") && path.Ext(name) == ".bin" {
			return fmt.Errorf("the hub has no %s in it, only %s, which isn't read; %s", weightsFile, name, m.convert())
		}
	}
	return fmt.Errorf("the hub has no %s in it; %s", weightsFile, m.convert())
}

func (m Model) fetchShards() error {
	paths, err := m.Fetch(indexFile)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(paths[0])
	if err != nil {
		return err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return fmt.Errorf("%s: %w", indexFile, err)
	}
	var shards []string
	for _, shard := range index.WeightMap {
		shards = append(shards, shard)
	}
	slices.Sort(shards)
	_, err = m.Fetch(slices.Compact(shards)...)
	return err
}

// fetch downloads those of the named files that the repository has.
func (m Model) fetch(names ...string) error {
	_, err := m.Fetch(slices.DeleteFunc(names, func(name string) bool { return !m.has(name) })...)
	return err
}

var className = regexp.MustCompile(`^[A-Za-z]\w*$`)

// convert is how to get a directory with weights and tokenizer in the formats that are read. AutoModel won't do: it
// leaves out the head.
func (m Model) convert() string {
	class := "AutoModelForCausalLM"
	if paths, err := m.Fetch(configFile); err == nil {
		var config struct {
			Architectures []string `json:"architectures"`
		}
		raw, err := os.ReadFile(paths[0])
		if err == nil && json.Unmarshal(raw, &config) == nil && len(config.Architectures) == 1 && className.MatchString(config.Architectures[0]) {
			class = config.Architectures[0]
		}
	}
	dir := path.Base(m.name)
	return fmt.Sprintf(`convert it with: python3 -c 'import transformers as t; t.%s.from_pretrained("%s").save_pretrained("%s", safe_serialization=True); `+
		`t.AutoTokenizer.from_pretrained("%[2]s").save_pretrained("%[3]s")'; then give the directory %[3]s instead`, class, m.name, dir)
}
