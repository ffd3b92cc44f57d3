package pretrained

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/models"
)

// formatFile is ours, among the tokenizer's files: it says how the records were written down that a model was trained on.
const formatFile = "longform.json"

// noted is what stands in formatFile.
type noted struct {
	EOI string `json:"eoi"` // as data.Format has it
}

// FormatFor is LongForm's format for a model's family: "[EOI]" between instruction and output for models that continue a
// text, the bare instruction for encoder-decoders.
func FormatFor(c models.Config) data.Format {
	f := data.Format{EncoderDecoder: c.EncoderDecoder(), EOI: data.EOIText, LossOn: data.LossAll, Pad: int32(c.Tokens().Pad)}
	if f.EncoderDecoder {
		f.EOI = data.EOINone
	}
	if eos := c.Tokens().EOS; len(eos) > 0 {
		f.EOS = int32(eos[0])
	}
	return f
}

// Format is the one that the model's run has trained it in, or else LongForm's for its family.
func (s *Source) Format() (data.Format, error) {
	raw, err := s.TokenizerFile(formatFile)
	f := FormatFor(s.Config) // which a model of the hub may have only by now
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	var n noted
	if err == nil {
		err = json.Unmarshal(raw, &n)
	}
	if err != nil {
		return data.Format{}, fmt.Errorf("model %s: %s: %w", s.Name, formatFile, err)
	}
	if f.EncoderDecoder {
		return f, nil
	}
	if !slices.Contains([]string{data.EOIText, data.EOIToken, data.EOINone}, n.EOI) {
		return data.Format{}, fmt.Errorf("model %s: %s: eoi is %q; this version knows %s, %s and %s", s.Name, formatFile, n.EOI, data.EOIText, data.EOIToken, data.EOINone)
	}
	f.EOI = n.EOI
	return f, nil
}

// TrainedFiles are the TokenizerFiles of what is trained on records in the format f. It is noted among them, and a chat
// template is left out: a conversation in another form isn't what the model has learnt to answer.
func (s *Source) TrainedFiles(tok *data.Tokenizer, f data.Format) (map[string][]byte, error) {
	files, err := s.TokenizerFiles(tok)
	if err != nil {
		return nil, err
	}
	delete(files, "chat_template.jinja")
	if raw, ok := files["tokenizer_config.json"]; ok {
		var settings map[string]json.RawMessage
		if err := json.Unmarshal(raw, &settings); err != nil {
			return nil, fmt.Errorf("model %s: tokenizer_config.json: %w", s.Name, err)
		}
		if _, ok := settings["chat_template"]; ok {
			delete(settings, "chat_template")
			if raw, err = json.MarshalIndent(settings, "", "  "); err != nil {
				return nil, err
			}
			files["tokenizer_config.json"] = append(raw, '\n')
		}
	}
	raw, err := json.Marshal(noted{f.EOI})
	files[formatFile] = append(raw, '\n')
	return files, err
}
