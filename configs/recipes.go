package configs

import (
	"embed"
	"strings"
)

//go:embed *.yaml
var recipes embed.FS

// Recipes lists the bare names of the built-in recipes, in order.
func Recipes() []string {
	entries, _ := recipes.ReadDir(".") // an embedded directory can always be read
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

func recipe(name string) (src []byte, ok bool) {
	src, err := recipes.ReadFile(name + ".yaml")
	return src, err == nil
}
