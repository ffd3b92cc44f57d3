package tasks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/longform-go/longform/data"
)

// writingPrompts is WritingPrompts (Fan et al., 2018): prompts and stories of Reddit, tokenized, a line each.
//
// The instruction is the story example on LongForm's model cards. Their text isn't tokenized; how it was undone, and whether
// stories were cut at 1,000 words, as Fan et al. do, isn't known: here they stay as they are published.
var writingPrompts = Task{
	Name:         "writingprompts",
	Files:        "WritingPrompts: test.wp_source beside test.wp_target, or JSON, JSONL or Parquet with prompt and story",
	Instructions: `"Prompt: ", the prompt without its tag, and " Write a story about given prompt."; the story`,
	Published:    published("WritingPrompts", 2),
	records:      stories,
}

const (
	promptsFile = ".wp_source"
	storiesFile = ".wp_target"
)

type storyRow struct {
	Prompt string `json:"prompt" parquet:"prompt,optional"`
	Story  string `json:"story" parquet:"story,optional"`
}

func stories(source string, take func(data.Record) error) error {
	if test := filepath.Join(source, "test"+promptsFile); exists(test) {
		source = test
	}
	if name, ok := strings.CutSuffix(source, promptsFile); ok {
		return storyPairs(name, take)
	}
	return rows(source, func(_ string, row storyRow) (data.Record, error) {
		if row.Prompt == "" {
			return data.Record{}, errors.New("it has no prompt; give WritingPrompts with prompt and story")
		}
		return story(row.Prompt, row.Story), nil
	}, take)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// storyPairs reads the lines of two files side by side.
func storyPairs(name string, take func(data.Record) error) error {
	var lines [2][]string
	for i, path := range []string{name + promptsFile, name + storiesFile} {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines[i] = slices.Collect(strings.Lines(string(raw)))
	}
	if p, s := len(lines[0]), len(lines[1]); p != s {
		return fmt.Errorf("%s%s has %d lines and %s%s %d; give both of one split", name, promptsFile, p, name, storiesFile, s)
	}
	for i, prompt := range lines[0] {
		if err := take(story(prompt, lines[1][i])); err != nil {
			return fmt.Errorf("line %d of %s%s and %s: %w", i+1, name, promptsFile, storiesFile, err)
		}
	}
	return nil
}

// tag is what kind of post it was: [ WP ] for a prompt, [ EU ] in a known universe, and others.
var tag = regexp.MustCompile(`^\s*\[\s*[A-Za-z]{2,3}\s*\]\s*`)

func story(prompt, text string) data.Record {
	lines := func(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "<newline>", "\n")) }
	return data.Record{
		Input:  fmt.Sprintf("Prompt: %s Write a story about given prompt.", lines(tag.ReplaceAllString(prompt, ""))),
		Output: lines(text),
	}
}
