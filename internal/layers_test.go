// Package internal_test keeps the layers apart: it reads the import lines of every
// package and checks who may import whom. Tests may import what they like.
package internal_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/longform-go/longform"

// A rule is about the packages that who matches and except doesn't. Packages of this
// module are written "./data"; "std" stands for the standard library, a trailing
// "/..." for a package and all below it, and "*" for one element of a path.
type rule struct {
	who    string
	except []string
	only   []string // what these packages may import; nil: anything
	never  []string // what they must not import
	deep   bool     // never holds for what they import in turn, too
	why    string
}

var gomlx = []string{"github.com/gomlx/..."}

var rules = []rule{
	{who: "./...", never: []string{"./cmd/..."},
		why: "commands are thin, and logic lives below them"},
	{who: "./...", except: []string{"./configs"}, never: []string{"github.com/spf13/viper/..."},
		why: "only configs knows viper; everything else takes typed structs"},
	{who: "./...", except: []string{"./cmd/..."}, never: []string{"github.com/spf13/cobra/..."},
		why: "only commands know the command line"},
	{who: "./...", except: []string{"./internal/chat"}, never: []string{"github.com/ardanlabs/jinja"},
		why: "only chat knows templates; everything else gets the text"},
	{who: "./models/*", except: []string{"./models/auto", "./models/blocks"},
		only: append([]string{"std", "./models", "./models/blocks"}, gomlx...),
		why:  "an architecture stands on models and blocks alone"},
	{who: "./models/blocks", only: append([]string{"std", "./models"}, gomlx...),
		why: "blocks never asks which architecture it serves"},
	{who: "./models/...", never: []string{"./data", "./configs", "./internal/training", "./internal/decoding", "./internal/rundir"}, deep: true,
		why: "a model doesn't know what is done with it"},
	{who: "./internal/safetensors", only: []string{"std"},
		why: "it is the format and nothing else"},
	{who: "./internal/nf4", only: []string{"std"},
		why: "it is arithmetic and nothing else"},
	{who: "./internal/cache", only: []string{"std"},
		why: "it keeps bytes, whatever is in them"},
	{who: "./internal/metrics", only: []string{"std"},
		why: "scores are arithmetic on texts, whoever wrote them"},
	{who: "./internal/gguf", only: []string{"std"},
		why: "it is the format and its numbers"},
	{who: "./internal/llamacpp", never: []string{"./internal/pretrained", "./internal/device", "./internal/training", "./internal/decoding"}, deep: true,
		why: "it translates a file, whoever computes with it"},
	{who: "./internal/hub", only: []string{"std", "./internal/durable"},
		why: "the hub holds files, whatever is in them"},
	{who: "./internal/checkpoint", only: []string{"std", "./internal/durable", "./internal/safetensors"},
		why: "a checkpoint is files"},
	{who: "./data", never: gomlx, deep: true,
		why: "data are records and numbers, whatever computes with them"},
	{who: "./configs", never: gomlx, deep: true,
		why: "reading a config needs no accelerator library"},
	{who: "./internal/modelcard", never: gomlx, deep: true,
		why: "a card is words about a model"},
	{who: "./internal/rundir", never: gomlx, deep: true,
		why: "a run directory is names and files"},
	{who: "./internal/tracking", only: []string{"std", "./configs", "./internal/rundir", "google.golang.org/protobuf/..."},
		why: "a tracker gets what is logged, and asks nothing of training"},
	{who: "./internal/sweep/journal", only: []string{"std", "./internal/durable"},
		why: "a study is a file and its lock"},
	{who: "./internal/sweep/search", only: []string{"std"},
		why: "which trial comes next is arithmetic on what is known"},
	{who: "./internal/training", never: []string{"./internal/sweep", "./internal/launch"}, deep: true,
		why: "a run doesn't know who started it"},
	{who: "./internal/sweep", never: gomlx, deep: true,
		why: "a driver needs no accelerator library"},
	{who: "./internal/launch/...", never: append([]string{"./configs", "./data", "./internal/training"}, gomlx...), deep: true,
		why: "a launcher knows commands, not what they compute"},
	{who: "./internal/decoding", never: []string{"./internal/sweep", "./internal/launch", "./internal/training"}, deep: true,
		why: "writing text needs no training"},
	{who: "./internal/figure", only: []string{"std", "gonum.org/v1/plot/..."},
		why: "it draws, whatever the numbers mean"},
	{who: "./internal/testset/tasks", never: gomlx, deep: true,
		why: "a test set is texts, whoever writes others beside them"},
	{who: "./internal/testset/scores", never: gomlx, deep: true,
		why: "scores are figures on disk, whoever quotes them"},
	{who: "./internal/textstream", only: []string{"std"},
		why: "it needs to know how a tokenizer decodes, not which"},
	{who: "./internal/spelling", only: []string{"std"},
		why: "names are strings, whatever they name"},
	{who: "./internal/serving", never: []string{"./configs", "./internal/sweep", "./internal/launch", "./internal/training"}, deep: true,
		why: "a server writes with what it is given"},
	{who: "./internal/testset", never: []string{"./internal/sweep", "./internal/launch", "./internal/training"}, deep: true,
		why: "a model is measured whoever trained it"},
}

func TestLayers(t *testing.T) {
	imports := readImports(t, "..")
	for _, r := range rules {
		if !slices.ContainsFunc(keys(imports), r.about) {
			t.Errorf("the rule about %s matches no package: correct its name or delete it", r.who)
		}
		for _, v := range r.violations(imports) {
			t.Error(v)
		}
	}
}

// TestRulesCanFail gives each kind of rule something to object to.
func TestRulesCanFail(t *testing.T) {
	tests := []struct {
		name    string
		imports map[string][]string
		want    string // a part of the only violation; empty: none
	}{
		{"command imported", map[string][]string{"./data": {"./cmd/train"}}, "./data imports ./cmd/train"},
		{"viper outside configs", map[string][]string{"./internal/training": {"github.com/spf13/viper"}}, "imports github.com/spf13/viper"},
		{"viper in configs", map[string][]string{"./configs": {"github.com/spf13/viper"}}, ""},
		{"architecture imports another", map[string][]string{"./models/opt": {"std", "./models/llama"}}, "./models/opt imports ./models/llama"},
		{"new architecture imports a checkpoint", map[string][]string{"./models/new": {"./internal/checkpoint"}}, "imports ./internal/checkpoint"},
		{"auto imports architectures", map[string][]string{"./models/auto": {"./models/opt", "./models/t5"}}, ""},
		{"architecture within bounds", map[string][]string{"./models/t5": {"std", "./models", "./models/blocks", "github.com/gomlx/gomlx/core/graph"}}, ""},
		{"blocks asks who it serves", map[string][]string{"./models/blocks": {"./models/t5"}}, "./models/blocks imports ./models/t5"},
		{"format beyond the standard library", map[string][]string{"./internal/safetensors": {"golang.org/x/sys/unix"}}, "imports golang.org/x/sys/unix"},
		{"gomlx reached in two steps", map[string][]string{
			"./data": {"std", "./internal/tools"}, "./internal/tools": {"github.com/gomlx/compute"},
		}, "./data imports ./internal/tools, which imports github.com/gomlx/compute"},
		{"similar name", map[string][]string{"./data": {"github.com/gomlxfriends/csv"}}, ""},
		{"sweep reached in a circle", map[string][]string{
			"./internal/training": {"./a"}, "./a": {"./b"}, "./b": {"./a", "./internal/sweep"},
		}, "which imports ./internal/sweep"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, r := range rules {
				got = append(got, r.violations(test.imports)...)
			}
			if test.want == "" && len(got) > 0 || test.want != "" && (len(got) != 1 || !strings.Contains(got[0], test.want)) {
				t.Errorf("violations %q, want one with %q", got, test.want)
			}
		})
	}
}

func (r rule) about(pkg string) bool {
	return matches(r.who, pkg) && !slices.ContainsFunc(r.except, func(p string) bool { return matches(p, pkg) })
}

// violations lists the imports that break the rule, one line each.
func (r rule) violations(imports map[string][]string) []string {
	var found []string
	var visit func(pkg, chain string, seen map[string]bool)
	visit = func(pkg, chain string, seen map[string]bool) {
		for _, to := range imports[pkg] {
			forbidden := slices.ContainsFunc(r.never, func(p string) bool { return matches(p, to) })
			allowed := r.only == nil || slices.ContainsFunc(r.only, func(p string) bool { return matches(p, to) })
			switch {
			case forbidden || !allowed:
				found = append(found, fmt.Sprintf("%s %s: %s", chain, to, r.why))
			case r.deep && !seen[to]:
				seen[to] = true
				visit(to, chain+" "+to+", which imports", seen)
			}
		}
	}
	for _, pkg := range keys(imports) {
		if r.about(pkg) {
			visit(pkg, pkg+" imports", map[string]bool{pkg: true})
		}
	}
	return found
}

func matches(pattern, pkg string) bool {
	if root, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == root || strings.HasPrefix(pkg, root+"/")
	}
	ok, err := path.Match(pattern, pkg)
	return ok && err == nil
}

// readImports maps each package below root to what its files import, tests left out.
// It reads files of every platform and build tag.
func readImports(t *testing.T, root string) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && file != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		pkg := short(path.Join(module, filepath.ToSlash(dir)))
		imports[pkg] = append(imports[pkg], "std") // so that a package that imports nothing is known
		for _, spec := range parsed.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports[pkg] = append(imports[pkg], short(to))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range imports {
		slices.Sort(imports[pkg])
		imports[pkg] = slices.Compact(imports[pkg])
	}
	return imports
}

// short turns an import path into the form that rules use.
func short(importPath string) string {
	if rest, ok := strings.CutPrefix(importPath, module); ok {
		return "." + rest
	}
	if first, _, _ := strings.Cut(importPath, "/"); !strings.Contains(first, ".") {
		return "std"
	}
	return importPath
}

func keys(imports map[string][]string) []string {
	var all []string
	for pkg := range imports {
		all = append(all, pkg)
	}
	slices.Sort(all)
	return all
}
