package testset

import (
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

// settingsOf leaves Device empty where it is chosen when the model is opened.
func settingsOf(m Model, records []data.Record, o decoding.Options) scores.Settings {
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
		Model: m.Source.Name, Adapter: m.Source.Adapter, Device: on, Precision: m.Precision,
		Records: len(records), SHA256: fmt.Sprintf("%x", sha256.Sum256(raw)),
		MaxNewTokens: o.MaxNewTokens, MinNewTokens: o.MinNewTokens,
		Temperature: s.Temperature, TopK: s.TopK, TopP: s.TopP, MinP: s.MinP, TypicalP: s.TypicalP, Seed: s.Seed,
		RepetitionPenalty: p.Repetition, PresencePenalty: p.Presence, FrequencyPenalty: p.Frequency, NoRepeatNGramSize: p.NoRepeatNGram,
		Beams: b.Number, LengthPenalty: b.LengthPenalty, BeamsEarlyStopping: string(b.EarlyStopping),
	}
}

// fields are settings by name, as JSON.
func fields(s scores.Settings) map[string]json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // NaN was refused
	}
	var named map[string]json.RawMessage
	if err := json.Unmarshal(raw, &named); err != nil {
		panic(err)
	}
	return named
}

// same names the first setting that stored ones have otherwise.
func same(s scores.Settings, stored map[string]json.RawMessage) error {
	now := fields(s)
	names := maps.Clone(now)
	maps.Copy(names, stored)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if string(now[name]) != string(stored[name]) {
			return fmt.Errorf("its generations have other settings: %s is %s there, and %s here", name, cmp.Or(string(stored[name]), "missing"), cmp.Or(string(now[name]), "missing"))
		}
	}
	return nil
}
