package modelcard

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/testset/scores"
)

// metadata is the card's metadata, as the hub documents it
// (https://huggingface.co/docs/hub/model-cards#model-card-metadata); model-index as in the hub's modelcard.md and in
// huggingface_hub's EvalResult.
type metadata struct {
	License  string       `yaml:"license,omitempty"`
	Base     string       `yaml:"base_model,omitempty"`
	Datasets []string     `yaml:"datasets,omitempty"`
	Library  string       `yaml:"library_name,omitempty"`
	Pipeline string       `yaml:"pipeline_tag,omitempty"`
	Tags     []string     `yaml:"tags"`
	Index    []indexEntry `yaml:"model-index,omitempty"`
}

// indexEntry is a model of the index, which is this one.
type indexEntry struct {
	Name    string   `yaml:"name"`
	Results []result `yaml:"results"`
}

// result is what was measured on a data set.
type result struct {
	Task struct {
		Type string `yaml:"type"`
	} `yaml:"task"`
	Dataset struct {
		Type  string `yaml:"type"` // the hub's name of it, or the file's
		Name  string `yaml:"name"` // for people
		Split string `yaml:"split,omitempty"`
	} `yaml:"dataset"`
	Metrics []metric `yaml:"metrics"`
}

type metric struct {
	Type  string  `yaml:"type"` // the hub's name of it
	Name  string  `yaml:"name"`
	Value float64 `yaml:"value"`
}

// hubMetrics are the hub's names of metrics. Lengths have none.
var hubMetrics = map[string]string{
	scores.METEOR: "meteor", "ROUGE-1": "rouge", "ROUGE-2": "rouge", "ROUGE-L": "rouge", "BLEU": "sacrebleu", "chrF": "chrf", "perplexity": "perplexity",
}

// Header is the card's metadata as YAML.
func (c Card) Header() (string, error) {
	h := metadata{License: c.License(), Tags: []string{"longform", c.Family}}
	if isOnHub(c.Base) {
		h.Base = c.Base
	}
	if c.Run != nil {
		h.Datasets = onHub(c.Run.Config.Data.Train)
	}
	if c.Whole() {
		h.Library, h.Pipeline = "transformers", c.Pipeline()
	}
	if len(c.Scores) > 0 {
		entry := indexEntry{Name: c.Name}
		for _, r := range c.Scores {
			entry.Results = append(entry.Results, c.result(r))
		}
		h.Index = []indexEntry{entry}
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := e.Encode(h)
	return b.String(), err
}

// result has the figures of a report. A METEOR that lacks something isn't compared with others under the hub's name.
func (c Card) result(r *scores.Report) (found result) {
	found.Task.Type = c.Pipeline()
	found.Dataset.Type, found.Dataset.Name = r.Data, r.Heading()
	if repository, split, ok := data.HubName(r.Data); ok {
		found.Dataset.Type, found.Dataset.Split = repository, split
	}
	for _, f := range figures(r) {
		name := hubMetrics[f.metric]
		if name == "" {
			continue
		}
		if f.Label != f.metric {
			name = strings.NewReplacer(",", "", " ", "-").Replace(strings.ToLower(f.Label))
		}
		found.Metrics = append(found.Metrics, metric{name, f.Label, float64(f.Value)})
	}
	return found
}
