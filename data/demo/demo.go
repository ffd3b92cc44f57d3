// Package demo holds the demo's data.
package demo

import "embed"

// Files are the files of the demo.
//
//go:embed *.json *.jsonl
var Files embed.FS
