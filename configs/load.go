package configs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

const commandLine = "command line"

// Load reads the recipe at path, or the one of that bare name in the binary
// ("demo") when there is no such file, lays the overrides over it ("optim.lr=1e-4",
// the value in YAML; of two for one key the later holds), and fills the rest from
// [Default]. The result is valid. An error has one line for each mistake, with
// the file and line of it.
func Load(path string, overrides []string) (Config, error) {
	name, src, err := read(path)
	if err != nil {
		return Config{}, err
	}
	return load(name, src, overrides)
}

// A recipe is a page; anything much longer is another kind of file.
const maxBytes = 1 << 20

func read(path string) (name string, src []byte, err error) {
	if path == "" {
		return "", nil, fmt.Errorf("no config; give a file or one of the built-in recipes: %s", list(Recipes(), "or"))
	}
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		if src, builtIn := recipe(path); builtIn {
			return "built-in recipe " + path, src, nil
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, fmt.Errorf("config %s: no such file; give a file or one of the built-in recipes: %s", path, list(Recipes(), "or"))
	case err != nil:
		return "", nil, fmt.Errorf("config: %w", err)
	case info.IsDir():
		return "", nil, fmt.Errorf("config %s: a directory; give the YAML file itself", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", nil, fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	src, err = io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return "", nil, fmt.Errorf("config: %w", err)
	}
	if len(src) > maxBytes {
		return "", nil, fmt.Errorf("config %s: more than 1 MiB; give a YAML recipe", path)
	}
	return path, src, nil
}

// Parse reads a configuration that is in memory; errors call it name.
func Parse(name string, src []byte) (Config, error) { return load(name, src, nil) }

func load(name string, src []byte, overrides []string) (Config, error) {
	file, args := parseFile(configKeys, name, src), parseOverrides(configKeys, overrides)
	if problems := append(file.problems, args.problems...); len(problems) > 0 {
		return Config{}, oneEach(problems)
	}
	// A run's length given on the command line replaces the recipe's, in
	// whichever of the two units that was.
	for key, other := range map[string]string{"run.steps": "run.epochs", "run.epochs": "run.steps"} {
		n, _ := args.values[key].(int)
		if _, both := args.values[other]; n > 0 && !both {
			args.values[other] = 0
		}
	}
	c, err := layered(file, args)
	if err != nil {
		return Config{}, fmt.Errorf("config %s: %w", name, err)
	}

	given := func(key string) string { // where, or ""
		return cmp.Or(args.where[key], file.where[key])
	}
	if given("checkpoint.best") == "" {
		c.Checkpoint.Best = len(c.Data.Validation) > 0
	}
	if c.Run.MicroBatchSize == 0 {
		c.Run.MicroBatchSize = c.Run.BatchSize
	}
	if c.Data.MaxTargetLength == 0 {
		c.Data.MaxTargetLength = c.Data.MaxLength
	}

	problems := c.check()
	if i := slices.IndexFunc(configKeys.settings, func(s setting) bool {
		return strings.HasPrefix(s.key, "model.lora.") && given(s.key) != ""
	}); i >= 0 && given("model.lora.enabled") == "" {
		problems = append(problems, problem{configKeys.settings[i].key, configKeys.settings[i].key + " has no effect; add model.lora.enabled: true or remove it"})
	}
	if len(problems) == 0 {
		return c, nil
	}
	var lines []string
	for _, p := range problems {
		lines = append(lines, cmp.Or(given(p.key), name)+": "+p.text)
	}
	return Config{}, oneEach(lines)
}

// layered lets viper lay the command line over the file over the defaults.
func layered(file, args *layer) (Config, error) {
	v := viper.New()
	base := Default()
	for _, s := range configKeys.settings {
		v.SetDefault(s.key, s.of(base).Interface())
	}
	if err := v.MergeConfigMap(file.values); err != nil {
		return Config{}, err
	}
	for key, value := range args.values {
		v.Set(key, value)
	}
	var c Config
	err := v.UnmarshalExact(&c, func(d *mapstructure.DecoderConfig) {
		d.TagName = "yaml"
		// Values have the fields' types already; viper's hook would split
		// text at commas.
		d.DecodeHook, d.WeaklyTypedInput = nil, false
	})
	return c, err
}

func oneEach(lines []string) error { return errors.New(strings.Join(lines, "\n")) }

// parseOverrides reads key=value arguments.
func parseOverrides(k keys, overrides []string) *layer {
	l := newLayer(k)
	for _, o := range overrides {
		key, value, ok := strings.Cut(o, "=")
		if !ok || key == "" {
			l.problem(commandLine, "%s is not an override; write key=value, such as optim.lr=1e-4", quote(o))
			continue
		}
		s, ok := k.lookup(key)
		if !ok {
			if keys := k.in(key); len(keys) > 0 {
				l.problem(commandLine, "%s is a section; give one of its keys, such as %s.%s=...", quote(key), key, keys[len(keys)-1])
			} else {
				l.problem(commandLine, "%s", k.unknown(key))
			}
			continue
		}
		n, err := scalarOrList(value)
		if err != nil {
			l.problem(commandLine, "the value of %s, %s, is not a YAML value; quote it", key, quote(value))
			continue
		}
		if isNull(n) && value == "" && s.kind.Kind() == reflect.String {
			n.Tag = "!!str" // key= empties a text
		}
		l.set(commandLine, s, n)
	}
	return l
}

// scalarOrList parses an override's value. A comment would cut off a part of it
// unseen, so it is refused.
func scalarOrList(value string) (*yaml.Node, error) {
	n, err := document([]byte(value))
	if err != nil {
		return nil, err
	}
	if n == nil {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
	}
	if n.HeadComment+n.LineComment+n.FootComment != "" {
		return nil, errors.New("a comment")
	}
	return n, nil
}
