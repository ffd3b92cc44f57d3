package clitest

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Readme checks that the README's calls of a program, lines that begin with bin/NAME, name commands and flags of its tree.
// check is given each such command with its flags and arguments, but for those after a prompt, $: they are there for what
// they print, which may be an error.
func Readme(t *testing.T, root func() *cobra.Command, check func(c *cobra.Command) error) {
	t.Chdir("../..")
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`(?m)^(\$ )?bin/` + root().Name() + `\b(.*)$`)
	calls := call.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\\\n", " "), -1)
	if len(calls) == 0 {
		t.Fatalf("no line like %s", call)
	}
	for _, line := range calls {
		c, args, err := root().Find(words(line[2]))
		if err == nil {
			c.InitDefaultHelpFlag()
			c.InitDefaultVersionFlag()
			err = c.ParseFlags(args)
		}
		if err == nil {
			err = c.ValidateArgs(c.Flags().Args())
		}
		if err == nil && line[1] == "" {
			err = check(c)
		}
		if err != nil {
			t.Errorf("README.md: %s: %v", line[0], err)
		}
	}
}

var word = regexp.MustCompile(`^\s*((?:[^\s'"<>|&;]|'[^']*'|"[^"]*")+)`)

// words are those that a shell would make of a line, as far as a comment, a redirection or a pipe.
func words(line string) (all []string) {
	for {
		next := word.FindStringSubmatch(line)
		if next == nil || next[1][0] == '#' {
			return all
		}
		all = append(all, strings.NewReplacer(`'`, "", `"`, "").Replace(next[1]))
		line = line[len(next[0]):]
	}
}
