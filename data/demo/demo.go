// Package demo embeds what the demo trains on, so that it needs no download:
// instruction and text pairs written for this project, the tokenizer trained on
// them, and the configuration of a LLaMA small enough to learn them on a CPU.
//
// The pairs describe one small world with few words and recurring sentences:
// some 570 words in all. A model trained on them writes sentences of that world
// and knows nothing else. The validation pairs are new combinations of the same
// words and sentences.
package demo

import "embed"

// Files holds train.jsonl and validation.jsonl (records with input, output,
// source and subset), prompts.jsonl (the instructions that the trained model
// is shown, which no pair has), tokenizer.json and tokenizer_config.json,
// config.json and generation_config.json.
//
//go:embed train.jsonl validation.jsonl prompts.jsonl tokenizer.json tokenizer_config.json config.json generation_config.json
var Files embed.FS
