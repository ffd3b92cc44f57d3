package models

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// ParseJSON reads a config.json into target, whose fields carry defaults, and returns all its keys.
func ParseJSON(raw []byte, target any) (map[string]json.RawMessage, error) {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return nil, fmt.Errorf("config.json is not a JSON object: %w", err)
	}
	if err := json.Unmarshal(raw, target); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if _, ok := keys["quantization_config"]; ok && !bytes.Equal(keys["quantization_config"], []byte("null")) {
		return nil, fmt.Errorf("config.json has a quantization_config: quantized checkpoints are not supported; use the original one")
	}
	return keys, nil
}

// MergeJSON renders config, a struct, as the JSON object that Hugging Face opens, with the keys of extra added.
func MergeJSON(config any, extra map[string]any) ([]byte, error) {
	keys := fields(reflect.ValueOf(config))
	for k, v := range extra {
		keys[k] = pointed(reflect.ValueOf(v))
	}
	out, err := json.MarshalIndent(keys, "", "  ")
	return append(out, '\n'), err
}

// fields are a struct's fields by their JSON names.
func fields(s reflect.Value) map[string]any {
	keys := map[string]any{}
	for i := range s.NumField() {
		name, options, _ := strings.Cut(s.Type().Field(i).Tag.Get("json"), ",")
		if name == "-" || options == "omitempty" && s.Field(i).IsZero() {
			continue
		}
		keys[name] = pointed(s.Field(i))
	}
	return keys
}

// pointed is v with floats that always have a point, 1.0 and not 1 as encoding/json writes: transformers checks the types
// of its configurations.
func pointed(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Invalid: // nil
		return nil
	case reflect.Struct:
		return fields(v)
	case reflect.Float64:
		text := strconv.FormatFloat(v.Float(), 'g', -1, 64)
		if !strings.ContainsAny(text, ".e") {
			text += ".0"
		}
		return json.Number(text)
	}
	return v.Interface()
}

// IDs is a token id or a list of them, as eos_token_id is written.
type IDs []int

// UnmarshalJSON accepts a number, a list of numbers or null.
func (ids *IDs) UnmarshalJSON(raw []byte) error {
	var one *int
	if err := json.Unmarshal(raw, &one); err == nil {
		*ids = nil
		if one != nil {
			*ids = IDs{*one}
		}
		return nil
	}
	var many []int
	if err := json.Unmarshal(raw, &many); err != nil {
		return fmt.Errorf("a token id must be a number or a list of numbers, not %s", raw)
	}
	*ids = many
	return nil
}

// MarshalJSON writes a single id as a number.
func (ids IDs) MarshalJSON() ([]byte, error) {
	switch len(ids) {
	case 0:
		return []byte("null"), nil
	case 1:
		return json.Marshal(ids[0])
	}
	return json.Marshal([]int(ids))
}

// OrElse is *p, or v when p is nil: an id that config.json may leave null.
func OrElse(p *int, v int) int {
	if p == nil {
		return v
	}
	return *p
}
