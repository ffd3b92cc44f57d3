package clitest

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Help checks that --help of every command of a tree says what it is for, with an example that is a call of it, and fails
// for none.
func Help(t *testing.T, root func() *cobra.Command) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			for line := range strings.Lines(c.Example) {
				if !strings.Contains(line, c.CommandPath()+" ") && !strings.HasSuffix(strings.TrimSpace(line), c.CommandPath()) {
					t.Errorf("example %q doesn't call %s", line, c.CommandPath())
				}
			}
			if c.Example == "" || c.Short == "" {
				t.Errorf("example %q, short description %q", c.Example, c.Short)
			}
			fresh := root()
			var out, problems bytes.Buffer
			fresh.SetOut(&out)
			fresh.SetErr(&problems)
			fresh.SetArgs(append(strings.Fields(c.CommandPath())[1:], "--help"))
			if err := fresh.Execute(); err != nil || problems.Len() > 0 {
				t.Errorf("error %v, standard error %q", err, &problems)
			}
			for _, part := range []string{"Usage:\n", "Examples:\n" + c.Example, c.CommandPath()} {
				if !strings.Contains(out.String(), part) {
					t.Errorf("no %q in\n%s", part, &out)
				}
			}
		})
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root())
}
