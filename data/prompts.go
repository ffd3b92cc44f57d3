package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Prompt is a text to write after.
type Prompt struct {
	Text string
	// Instruction says that Text has yet to be put into a model's format.
	Instruction bool
}

// ReadPrompts reads JSON Lines: {"prompt": TEXT} for a text as it stands, {"input": TEXT} for an instruction. Errors name
// the file and the line.
func ReadPrompts(path string) ([]Prompt, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file; give a JSONL file of prompts", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; give a JSONL file of prompts", err)
	}
	var prompts []Prompt
	number := 0
	for line := range strings.Lines(string(raw)) {
		number++
		if strings.TrimSpace(line) == "" {
			continue
		}
		p, err := parsePrompt(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		prompts = append(prompts, p)
	}
	if len(prompts) == 0 {
		return nil, fmt.Errorf(`%s: the file is empty; give one {"prompt": TEXT} or {"input": TEXT} a line`, path)
	}
	return prompts, nil
}

func parsePrompt(line string) (Prompt, error) {
	var fields struct{ Prompt, Input *string }
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		return Prompt{}, fmt.Errorf("malformed JSON: %w; each line has to be one whole object", err)
	}
	switch {
	case fields.Prompt != nil && fields.Input != nil:
		return Prompt{}, errors.New(`it has both "prompt" and "input"; give one`)
	case fields.Prompt != nil:
		return Prompt{Text: *fields.Prompt}, nil
	case fields.Input != nil:
		return Prompt{Text: *fields.Input, Instruction: true}, nil
	}
	return Prompt{}, errors.New(`it has neither "prompt" nor "input"; give one`)
}
