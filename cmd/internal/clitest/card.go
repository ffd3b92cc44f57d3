package clitest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"go.yaml.in/yaml/v3"
)

// figures SCORES MODEL CARD checks that a card's model-index has a model's figures of a scores.json, all but the mean lengths and
// digit for digit.
func figures(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: figures scores.json model card")
	}
	var scores struct {
		Models []struct {
			Model string
			All   struct {
				Figures map[string]struct{ Value float64 }
			}
		}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &scores))
	parts := strings.SplitN(ts.ReadFile(args[2]), "---\n", 3)
	if len(parts) != 3 {
		ts.Fatalf("%s has no header", args[2])
	}
	var header struct {
		Index []struct {
			Results []struct {
				Metrics []struct{ Value float64 }
			}
		} `yaml:"model-index"`
	}
	ts.Check(yaml.Unmarshal([]byte(parts[1]), &header))
	if len(header.Index) != 1 {
		ts.Fatalf("%s has %d models in its index, want one", args[2], len(header.Index))
	}
	found := map[float64]bool{}
	for _, r := range header.Index[0].Results {
		for _, m := range r.Metrics {
			found[m.Value] = true
		}
	}
	var missing []string
	checked := 0
	for _, m := range scores.Models {
		for name, f := range m.All.Figures {
			if m.Model != args[1] || strings.HasSuffix(name, "words") {
				continue
			}
			checked++
			if !found[f.Value] {
				missing = append(missing, fmt.Sprintf("%s %v", name, f.Value))
			}
		}
	}
	switch {
	case checked == 0:
		ts.Fatalf("%s has no figures of %s", args[0], args[1])
	case neg == (len(missing) == 0):
		ts.Fatalf("of %d figures of %s in %s these aren't in %s: %q", checked, args[1], args[0], args[2], missing)
	}
}
