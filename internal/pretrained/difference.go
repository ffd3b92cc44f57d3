package pretrained

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/longform-go/longform/data"
)

// combine makes weights the sum with those of base, or the difference to them.
//
// All of it is float32, as where LongForm published LLaMA-7B as a difference: of 16-bit weights the difference is then exact,
// and adding it gives the same numbers back, if in float16 it is below 1, and in bfloat16 neither is 2^16 times the other. Rows
// of an embedding that base hasn't got count as zero there.
func (s *Source) combine(weights []mergedWeight, base *Source, sign float32) (closeBase func(), err error) {
	others, closeBase, err := base.merged()
	if err != nil {
		return nil, err
	}
	if err := s.sameArchitecture(base); err != nil {
		closeBase()
		return nil, err
	}
	byName := map[string]mergedWeight{}
	for _, w := range others {
		byName[w.Name] = w
	}
	var misfits []string
	for i, w := range weights {
		other, ok := byName[w.Name]
		switch {
		case !ok:
			misfits = append(misfits, w.Name+" is missing there")
		case !slices.Equal(other.Shape, w.Shape) && !base.growable(other.Shape, w.Shape):
			misfits = append(misfits, fmt.Sprintf("%s is %v here and %v there", w.Name, w.Shape, other.Shape))
		}
		weights[i].other, weights[i].sign = &other, sign
	}
	if len(misfits) > 0 {
		closeBase()
		return nil, fmt.Errorf("model %s doesn't fit the base %s: %s", s.Name, base.Name, few(misfits))
	}
	return closeBase, nil
}

// sameArchitecture refuses a base that computes something else with the same weights. Its vocabulary may differ.
func (s *Source) sameArchitecture(base *Source) error {
	if here, there := s.Config.Family(), base.Config.Family(); here != there {
		return fmt.Errorf("model %s is of the family %s, and the base %s of %s", s.Name, here, base.Name, there)
	}
	settings := func(from *Source) (map[string]json.RawMessage, error) {
		raw, err := from.Config.WithDropout(0).WithVocabulary(s.Config.Vocabulary()).JSON("float32")
		if err != nil {
			return nil, err
		}
		var all map[string]json.RawMessage
		err = json.Unmarshal(raw, &all)
		maps.DeleteFunc(all, func(key string, _ json.RawMessage) bool {
			return strings.HasSuffix(key, "token_id") || key == "initializer_range"
		})
		return all, err
	}
	here, err := settings(s)
	if err != nil {
		return err
	}
	there, err := settings(base)
	if err != nil {
		return err
	}
	keys := map[string]bool{}
	for _, all := range []map[string]json.RawMessage{here, there} {
		for key := range all {
			keys[key] = true
		}
	}
	var differ []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if !bytes.Equal(here[key], there[key]) {
			differ = append(differ, fmt.Sprintf("%s is %s here and %s there", key, orNone(here[key]), orNone(there[key])))
		}
	}
	if len(differ) > 0 {
		return fmt.Errorf("model %s isn't of the base %s: %s", s.Name, base.Name, few(differ))
	}
	return nil
}

func orNone(value json.RawMessage) string {
	if value == nil {
		return "missing"
	}
	return string(value)
}

// borrowedTokenizer are the tokenizer's files of base for a difference that came without: with the token [EOI] where the
// difference has one id more, as LongForm's has.
func (s *Source) borrowedTokenizer(base *Source) (map[string][]byte, error) {
	files, err := base.tokenizerFilesIfAny()
	if err != nil || files == nil {
		return nil, err
	}
	tok, err := base.Tokenizer()
	if err != nil {
		return nil, err
	}
	if s.Config.Vocabulary() == tok.Size()+1 {
		if tok, err = tok.WithToken(data.EOI); err != nil {
			return nil, fmt.Errorf("model %s: %w", base.Name, err)
		}
		if files, err = base.TokenizerFiles(tok); err != nil {
			return nil, err
		}
	}
	if raw, err := fs.ReadFile(s.files, generationFile); err == nil {
		files[generationFile] = raw
	}
	return files, nil
}
