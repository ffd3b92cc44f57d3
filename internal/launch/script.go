package launch

import (
	"maps"
	"slices"
	"strings"
)

// Quote writes words as one line of a POSIX shell that means exactly them.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if w != "" && strings.Trim(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,@%+") == "" {
			quoted[i] = w
			continue
		}
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// Exports writes the job's variables as shell lines, in the order of their names.
func (j Job) Exports() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(j.Env)) {
		b.WriteString("export " + name + "=" + Quote(j.Env[name]) + "\n")
	}
	return b.String()
}
