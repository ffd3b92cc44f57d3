package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The packages under testdata are run by go test itself, so this holds for what go
// test really prints.
func TestReport(t *testing.T) {
	tests := []struct {
		name    string
		want    counts
		printed []string // in this order
		absent  string
	}{
		{"passes", counts{passed: 3}, []string{"ok  \t"}, "chatter"},
		{"fails", counts{passed: 1, failed: 2}, []string{"why it failed", "FAIL\t"}, "chatter"},
		{"skips", counts{passed: 1, skipped: 1}, []string{"the reason", "ok  \t"}, ""},
		{"panics", counts{failed: 1}, []string{"panic: out of cheese", "FAIL\t"}, ""},
		{"broken", counts{failed: 1}, []string{"undefined: nothing", "FAIL\t"}, ""},
		{"exits", counts{failed: 1}, []string{"gave up early", "FAIL\t"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			output, _ := exec.Command("go", "test", "-json", "./"+filepath.Join("testdata", test.name)).Output()
			var printed strings.Builder
			got, err := report(strings.NewReader(string(output)), &printed)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("counted %+v, want %+v", got, test.want)
			}
			rest := printed.String()
			for _, want := range test.printed {
				_, after, found := strings.Cut(rest, want)
				if !found {
					t.Errorf("%q is missing from what follows in\n%s", want, printed.String())
				}
				rest = after
			}
			if test.absent != "" && strings.Contains(printed.String(), test.absent) {
				t.Errorf("%q should have been left out of\n%s", test.absent, printed.String())
			}
		})
	}
}
