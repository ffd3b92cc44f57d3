package configs

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Sweep is a search for the settings with which a run ends best: many runs,
// trials, of one recipe, each with other values for a few of its keys.
type Sweep struct {
	// Name is the study's name in the journal. Empty takes that of Dir.
	Name string `yaml:"name"`
	// Base is the recipe that all trials share: a path, relative to the sweep's
	// file, or the name of a built-in recipe. Required. LoadSweep puts here what
	// [Load] takes.
	Base string `yaml:"base"`
	// Dir is the sweep's own directory; each trial gets its run directory there.
	// Required.
	Dir string `yaml:"dir"`
	// Metric is what is searched for.
	Metric Metric `yaml:"metric"`
	// Method is tpe (Tree-structured Parzen Estimator: mostly near what went
	// well), random, or grid (each combination once).
	Method string `yaml:"method" oneof:"tpe|random|grid"`
	// Seed, with a trial's number, determines what is drawn for it.
	Seed uint64 `yaml:"seed"`
	// Trials is how many there are in all. A grid may leave it out: it has as
	// many as it has points.
	Trials int `yaml:"trials"`
	// Parallel is how many trials run at a time.
	Parallel int `yaml:"parallel"`
	// MaxFailures is the number of failed trials at which the sweep stops.
	MaxFailures int `yaml:"max_failures"`
	// EarlyStop ends trials that go badly before their last step.
	EarlyStop EarlyStop `yaml:"early_stop"`
	// Parameters are what differs between trials: a list, since they are keys
	// themselves.
	Parameters []Parameter `yaml:"parameters"`
	// Launch says where trials run, and with what: each of the workers gets what
	// a run would get, and runs one trial after the other.
	Launch Launch `yaml:"launch"`
}

// Metric is a number that every trial ends with.
type Metric struct {
	// Name is eval.loss, the best validation loss of the trial, or train.loss,
	// the mean of the last tenth of the training losses that it logged.
	Name string `yaml:"name" oneof:"eval.loss|train.loss"`
	// Goal is minimize or maximize.
	Goal string `yaml:"goal" oneof:"minimize|maximize"`
}

// EarlyStop compares a trial's metric on the way with that of the others.
type EarlyStop struct {
	// Kind is none, asha (asynchronous successive halving: of the trials that
	// come to a rung, one in Factor goes on) or median (those worse than the
	// median of the others at the same step end).
	Kind string `yaml:"kind" oneof:"none|asha|median"`
	// MinStep is the training step of asha's first rung.
	MinStep int `yaml:"min_step"`
	// Factor is how many times farther asha's next rung is.
	Factor int `yaml:"factor"`
	// StartupTrials is how many trials median lets finish before it ends any.
	StartupTrials int `yaml:"startup_trials"`
	// WarmupSteps is the training step up to which median ends none.
	WarmupSteps int `yaml:"warmup_steps"`
}

// Parameter is a key of the recipe whose value differs between trials.
type Parameter struct {
	// Name is the key, such as optim.lr. Required.
	Name string `yaml:"name"`
	// Kind is float or int (a number from Low to High) or choice (one of Values).
	Kind string `yaml:"kind" oneof:"float|int|choice"`
	// Low and High are the ends of a range, both included.
	Low  float64 `yaml:"low"`
	High float64 `yaml:"high"`
	// Log draws evenly between the ends' logarithms.
	Log bool `yaml:"log"`
	// Step is the distance of the values in a range; 0 is 1 for int, and any
	// distance for float.
	Step float64 `yaml:"step"`
	// Values are what a choice is from: bool, int64, float64, string or nil, as
	// the key takes them; a list stands here as its YAML.
	Values []any `yaml:"values"`
	// When names a key on which the parameter depends, "KEY" or "KEY=VALUE": it is
	// drawn where the key has that value, or is neither false, null, zero nor empty.
	When string `yaml:"when"`
}

// DefaultSweep is what a key of a sweep has that isn't given.
func DefaultSweep() Sweep {
	return Sweep{
		Metric:      Metric{Name: "eval.loss", Goal: "minimize"},
		Method:      "tpe",
		Seed:        42,
		Parallel:    1,
		MaxFailures: 3,
		EarlyStop:   EarlyStop{Kind: "none", MinStep: 1, Factor: 4, StartupTrials: 5},
		Launch:      Default().Launch,
	}
}

var sweepKeys = keysOf[Sweep]()

// LoadSweep reads a sweep's file, lays the overrides over it ("trials=10"), and
// fills the rest from [DefaultSweep]. The base is read too: the result is valid,
// and so are both ends of each parameter that depends on nothing, by themselves.
// Errors are as those of [Load].
func LoadSweep(path string, overrides []string) (Sweep, error) {
	src, err := readFile(path)
	if err != nil {
		return Sweep{}, err
	}
	file, lines := parseSweep(path, src)
	args := parseOverrides(sweepKeys, overrides)
	if args.values["parameters"] != nil {
		args.problem(commandLine, "parameters can only be given in the file")
	}
	if problems := append(file.problems, args.problems...); len(problems) > 0 {
		return Sweep{}, oneEach(problems)
	}
	s := DefaultSweep()
	for _, l := range []*layer{file, args} {
		for key, value := range l.values {
			known, _ := sweepKeys.lookup(key)
			reflect.ValueOf(&s).Elem().FieldByIndex(known.index).Set(reflect.ValueOf(value))
		}
	}
	s.Name = cmp.Or(s.Name, filepath.Base(s.Dir))
	if s.Base != "" {
		s.Base = baseOf(path, s.Base)
	}
	problems := s.check()
	if len(problems) == 0 {
		base, err := Load(s.Base, nil)
		if err != nil {
			return Sweep{}, fmt.Errorf("base: %w", err)
		}
		problems = s.checkWith(base)
	}
	var texts []string
	for _, p := range problems {
		where := cmp.Or(args.where[p.key], file.where[p.key], lines[p.key], path)
		texts = append(texts, where+": "+p.text)
	}
	if len(texts) > 0 {
		return Sweep{}, oneEach(texts)
	}
	return s, nil
}

func readFile(path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("no sweep given; give its file")
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("sweep %s: %w; give the sweep's YAML file", path, errors.Unwrap(err))
	}
	_, src, err := read(path)
	return src, err
}

// baseOf finds the base beside the sweep's file; one that isn't there may be a
// built-in recipe.
func baseOf(sweep, base string) string {
	path := base
	if !filepath.IsAbs(base) {
		path = filepath.Join(filepath.Dir(sweep), base)
	}
	name := strings.TrimSuffix(base, ".yaml")
	if _, builtIn := recipe(name); builtIn {
		if info, err := os.Stat(path); err != nil || info.IsDir() {
			return name
		}
	}
	return path
}

// BaseSource is the text of the base, to be kept with the sweep.
func (s Sweep) BaseSource() ([]byte, error) {
	_, src, err := read(s.Base)
	return src, err
}

// YAML writes every setting; [LoadSweep] reads it back. base is what it says of
// the base.
func (s Sweep) YAML(base string) []byte {
	s.Base = base
	var settings []setting
	for _, k := range sweepKeys.settings {
		if k.key != "parameters" {
			settings = append(settings, k)
		}
	}
	text := write(settings, s)
	if len(s.Parameters) > 0 {
		text = append(text, "parameters:\n"...)
	}
	for _, p := range s.Parameters {
		text = append(text, "  - {"+p.flow()+"}\n"...)
	}
	return text
}

// check says what is wrong with s by itself.
func (s Sweep) check() []problem {
	var found []problem
	report := func(key, format string, args ...any) {
		found = append(found, problem{key, fmt.Sprintf(format, args...)})
	}
	if s.Base == "" {
		report("base", "base is missing; add base: RECIPE, a file or one of the built-in recipes: %s", list(Recipes(), "or"))
	}
	if s.Dir == "" {
		report("dir", "dir is missing; add dir: DIR, or give dir=DIR on the command line")
	}
	for _, k := range sweepKeys.settings {
		if v := k.of(s); k.oneOf != nil && !slices.Contains(k.oneOf, v.String()) {
			report(k.key, "%s is %s, want %s", k.key, quote(v.String()), want(k))
		}
	}
	least := func(n int, key string, have int) {
		if have < n {
			report(key, "%s is %d, want at least %d", key, have, n)
		}
	}
	least(0, "trials", s.Trials)
	if s.Trials == 0 && s.Method != "grid" {
		report("trials", "the number of trials is missing; add trials: N")
	}
	least(1, "parallel", s.Parallel)
	least(1, "max_failures", s.MaxFailures)
	least(1, "early_stop.min_step", s.EarlyStop.MinStep)
	least(2, "early_stop.factor", s.EarlyStop.Factor)
	least(0, "early_stop.startup_trials", s.EarlyStop.StartupTrials)
	least(0, "early_stop.warmup_steps", s.EarlyStop.WarmupSteps)
	if len(s.Parameters) == 0 {
		report("parameters", "there are no parameters; add parameters: with a list of what to vary, such as - {name: optim.lr, kind: float, low: 1e-5, high: 1e-3, log: true}")
	}
	s.Launch.check(report)
	return append(found, s.checkParameters()...)
}

// checkWith says what is wrong with s on the recipe that it varies.
func (s Sweep) checkWith(base Config) []problem {
	var found []problem
	report := func(key, format string, args ...any) {
		found = append(found, problem{key, fmt.Sprintf(format, args...)})
	}
	varies := func(key string) bool {
		return slices.ContainsFunc(s.Parameters, func(p Parameter) bool { return p.Name == key })
	}
	if s.Metric.Name == "eval.loss" {
		if len(base.Data.Validation) == 0 {
			report("metric.name", "metric eval.loss needs a validation set; add data.validation to %s, or take train.loss", s.Base)
		} else if s.EarlyStop.Kind != "none" && base.Run.EvalEvery == 0 && !varies("run.eval_every") {
			report("early_stop.kind", "early_stop needs evaluations on the way; set run.eval_every in %s", s.Base)
		}
	}
	for i, p := range s.Parameters {
		if p.When != "" {
			continue // by itself, without what it depends on, it may be out of place
		}
		for _, value := range p.extremes() {
			_, err := Load(s.Base, []string{p.Name + "=" + value})
			if err == nil {
				continue
			}
			for line := range strings.SplitSeq(err.Error(), "\n") {
				text, about := strings.CutPrefix(line, commandLine+": ")
				joint := slices.ContainsFunc(s.Parameters, func(q Parameter) bool { return q.Name != p.Name && strings.Contains(text, q.Name) })
				if about && !joint && strings.HasPrefix(text, p.Name) {
					report(fmt.Sprintf("parameters.%d", i), "%s", text)
				}
			}
		}
	}
	return found
}

// parseSweep reads a sweep's document. The second result tells where each
// parameter was written, by "parameters.N".
func parseSweep(name string, src []byte) (*layer, map[string]string) {
	l, lines := newLayer(sweepKeys), map[string]string{}
	root, err := document(src)
	if err != nil {
		line, text := locate(src, err)
		l.problem(at(name, line), "%s", text)
		return l, lines
	}
	if root == nil {
		return l, lines
	}
	rest := *root
	rest.Content = nil
	if root.Kind == yaml.MappingNode {
		for i := 0; i < len(root.Content); i += 2 {
			key, value := root.Content[i], follow(root.Content[i+1])
			switch {
			case key.Value != "parameters":
				rest.Content = append(rest.Content, key, value)
			case l.where["parameters"] != "":
				l.problem(at(name, key.Line), "duplicate key %s, first given at %s; keep one", quote(key.Value), l.where["parameters"])
			default:
				l.where["parameters"] = at(name, key.Line)
				l.parameters(name, value, lines)
			}
		}
	}
	l.section(name, "", &rest)
	return l, lines
}
