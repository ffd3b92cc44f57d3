package testset

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/testset/scores"
)

// settingsOf leaves Device empty where it is chosen when the model is opened, and Fingerprint where the model's weights aren't here.
func settingsOf(m Model, records []data.Record, o decoding.Options) (scores.Settings, error) {
	fingerprint, err := m.Source.Fingerprint()
	if err != nil {
		return scores.Settings{}, err
	}
	raw, err := json.Marshal(records)
	if err != nil {
		panic(err) // of texts
	}
	on := m.Device
	if on == device.Auto {
		on = ""
	}
	s, p, b := o.Sampling, o.Penalties, o.Beams
	return scores.Settings{
		Model: m.Source.Name, Adapter: m.Source.Adapter, Fingerprint: fingerprint, EOS: o.EOS, Device: on, Precision: m.Precision,
		Records: len(records), SHA256: fmt.Sprintf("%x", sha256.Sum256(raw)),
		MaxNewTokens: o.MaxNewTokens, MinNewTokens: o.MinNewTokens,
		Temperature: s.Temperature, TopK: s.TopK, TopP: s.TopP, MinP: s.MinP, TypicalP: s.TypicalP, Seed: s.Seed,
		RepetitionPenalty: p.Repetition, PresencePenalty: p.Presence, FrequencyPenalty: p.Frequency, NoRepeatNGramSize: p.NoRepeatNGram,
		Beams: b.Number, LengthPenalty: b.LengthPenalty, BeamsEarlyStopping: string(b.EarlyStopping),
	}, nil
}

// fields are settings by name, as JSON.
func fields(s scores.Settings) map[string]json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // decoding.Options has finite numbers alone
	}
	var named map[string]json.RawMessage
	if err := json.Unmarshal(raw, &named); err != nil {
		panic(err)
	}
	return named
}

// same names the first setting that stored ones have otherwise. Another fingerprint is told where all else is the same.
func same(s scores.Settings, stored map[string]json.RawMessage) error {
	now := fields(s)
	names := maps.Clone(now)
	maps.Copy(names, stored)
	changed := false
	for _, name := range slices.Sorted(maps.Keys(names)) {
		switch here, there := string(now[name]), compact(stored[name]); {
		case here == there:
		case (name == "model" || name == "adapter") && scores.SamePlace(text(now[name]), text(stored[name])):
		case name == "fingerprint" && there != "":
			changed = true
		default:
			return fmt.Errorf("its generations have other settings: %s is %s there, and %s here", name, cmp.Or(there, "missing"), cmp.Or(here, "missing"))
		}
	}
	if changed {
		return fmt.Errorf("%s has changed since it wrote these generations", cmp.Or(s.Adapter, s.Model))
	}
	return nil
}

// text is a JSON string's; empty of what is none.
func text(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s)
	return s
}

// compact is JSON without the space that settings are written with.
func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	_ = json.Compact(&b, raw) // what is no JSON differs anyway
	return b.String()
}
