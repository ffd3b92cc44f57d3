package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func tokenizeCommand() *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:     "tokenize --model DIR",
		Short:   "Turn texts into token ids",
		Long:    `Turn texts into token ids, special tokens included as the tokenizer adds them. Standard input has one JSON string a line.`,
		Example: `  echo '"Hello, world!"' | infer tokenize --model runs/demo --json`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			source, err := findModel(path)
			if err != nil {
				return err
			}
			defer source.Close()
			tokenizer, err := source.Tokenizer()
			if err != nil {
				return err
			}
			return eachLine(cmd.InOrStdin(), func(text string) error {
				ids := tokenizer.Encode(text, true)
				if ids == nil {
					ids = []int32{}
				}
				if asJSON {
					return printer(cmd.OutOrStdout()).Encode(map[string][]int32{"ids": ids})
				}
				_, err := fmt.Fprintln(cmd.OutOrStdout(), ids)
				return err
			})
		},
	}
	c.Flags().StringVar(&path, "model", "", modelHelp)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return c
}

// eachLine reads one JSON string a line.
func eachLine(r io.Reader, do func(string) error) error {
	in := bufio.NewReader(r)
	for line := 1; ; line++ {
		raw, err := in.ReadBytes('\n')
		if len(raw) > 0 && (len(raw) > 1 || raw[0] != '\n') {
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return fmt.Errorf("standard input, line %d: not a JSON string: %w", line, err)
			}
			if err := do(text); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("standard input, line %d: %w", line, err)
		}
	}
}
