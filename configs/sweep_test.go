package configs

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// study is a sweep that lacks nothing; what is added to it begins on line 7.
const study = `name: s
base: base.yaml
dir: d
trials: 4
parameters:
  - {name: optim.lr, kind: float, low: 1e-5, high: 1e-3, log: true}
`

// loadStudy writes a sweep and its base, enough with an evaluation, and loads the sweep.
func loadStudy(t *testing.T, text string, overrides ...string) (Sweep, string, error) {
	t.Helper()
	dir := t.TempDir()
	base := strings.Replace(enough, "  train: t.jsonl\n", "  train: t.jsonl\n  validation: v.jsonl\n", 1)
	for name, content := range map[string]string{"sweep.yaml": text, "base.yaml": base} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := LoadSweep(filepath.Join(dir, "sweep.yaml"), overrides)
	return s, dir, err
}

func TestSweep(t *testing.T) {
	got, dir, err := loadStudy(t, `base: base.yaml
dir: runs/x
metric: {name: train.loss, goal: maximize}
method: random
seed: 7
trials: 40
early_stop: {kind: asha, min_step: 200}
launch: {on: slurm, gpus: 1, time: 4h, partition: gpu, env: [A=1]}
parameters:
  - {name: optim.lr, kind: float, low: 1e-5, high: 1e-3, log: true}
  - {name: run.seed, kind: int, low: 1, high: 9, step: 2}
  - {name: model.dropout, kind: choice, values: [null, 0, 0.1]}
  - {name: model.lora.enabled, kind: choice, values: [true, false]}
  - {name: model.lora.rank, kind: choice, values: [8, 16, 64], when: model.lora.enabled}
  - {name: model.lora.targets, kind: choice, values: [[q_proj], "v_proj", [q_proj, v_proj]]}
  - {name: optim.kind, kind: choice, values: [adamw, sgd]}
  - {name: optim.weight_decay, kind: choice, values: [0, 1e-2], when: optim.kind=adamw}
`, "parallel=2", "early_stop.factor=3")
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultSweep()
	want.Name, want.Base, want.Dir = "x", filepath.Join(dir, "base.yaml"), "runs/x"
	want.Metric = Metric{Name: "train.loss", Goal: "maximize"}
	want.Method, want.Seed, want.Trials, want.Parallel = "random", 7, 40, 2
	want.EarlyStop.Kind, want.EarlyStop.MinStep, want.EarlyStop.Factor = "asha", 200, 3
	want.Launch.On, want.Launch.GPUs, want.Launch.Time, want.Launch.Partition, want.Launch.Env = "slurm", 1, "4h", "gpu", []string{"A=1"}
	want.Parameters = []Parameter{
		{Name: "optim.lr", Kind: "float", Low: 1e-5, High: 1e-3, Log: true},
		{Name: "run.seed", Kind: "int", Low: 1, High: 9, Step: 2},
		{Name: "model.dropout", Kind: "choice", Values: []any{nil, 0.0, 0.1}},
		{Name: "model.lora.enabled", Kind: "choice", Values: []any{true, false}},
		{Name: "model.lora.rank", Kind: "choice", Values: []any{int64(8), int64(16), int64(64)}, When: "model.lora.enabled"},
		{Name: "model.lora.targets", Kind: "choice", Values: []any{"[q_proj]", "[v_proj]", "[q_proj, v_proj]"}},
		{Name: "optim.kind", Kind: "choice", Values: []any{"adamw", "sgd"}},
		{Name: "optim.weight_decay", Kind: "choice", Values: []any{0.0, 0.01}, When: "optim.kind=adamw"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}

	// What it writes is the same sweep.
	again := filepath.Join(dir, "again.yaml")
	if err := os.WriteFile(again, got.YAML("base.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	reread, err := LoadSweep(again, nil)
	if err != nil || !reflect.DeepEqual(reread, got) {
		t.Errorf("error %v, read back %+v\nfrom %s", err, reread, got.YAML("base.yaml"))
	}
	// Each value is one that the key takes as an override, and keeps.
	for _, p := range got.Parameters {
		for _, v := range p.Values {
			c, err := Load(got.Base, []string{Override(p.Name, v)})
			if p.Name == "model.lora.rank" || p.Name == "model.lora.targets" { // which need LoRA
				c, err = Load(got.Base, []string{"model.lora.enabled=true", Override(p.Name, v)})
			}
			if value, _ := c.Value(p.Name); err != nil || value != v {
				t.Errorf("%s: %v became %v, error %v", p.Name, v, value, err)
			}
		}
	}
}

func TestSweepMistakes(t *testing.T) {
	tests := []struct{ name, add, want string }{
		{"unknown parameter", "  - {name: optim.learning_rate, kind: float, low: 0, high: 1}", `sweep.yaml:7: unknown parameter "optim.learning_rate"; did you mean "optim.lr"?`},
		{"section", "  - {name: optim, kind: float, low: 0, high: 1}", `sweep.yaml:7: optim is a section; name one of its keys: kind, lr, beta1, beta2, eps, weight_decay, clip_norm, gradients or relative_step`},
		{"own directory", "  - {name: run.dir, kind: choice, values: [a, b]}", `sweep.yaml:7: run.dir can't be a parameter; each trial has its own`},
		{"no name", "  - {kind: float, low: 0, high: 1}", `sweep.yaml:7: a parameter has no name; add name: KEY, such as optim.lr`},
		{"not a parameter", "  - optim.eps", `sweep.yaml:7: a parameter is "optim.eps", want keys: name, kind, low, high, log, step, values and when`},
		{"unknown key in it", "  - {name: optim.eps, kind: float, lowest: 0, high: 1}", `sweep.yaml:7: unknown key "lowest"; did you mean "low"?`},
		{"kind", "  - {name: optim.eps, kind: real, low: 0, high: 1}", `sweep.yaml:7: optim.eps is of kind "real", want float, int or choice`},
		{"text as a number", "  - {name: optim.kind, kind: float, low: 0, high: 1}", `sweep.yaml:7: optim.kind can't be of kind float: it is adamw, adamw8bit, adafactor or sgd`},
		{"fraction of a whole number", "  - {name: run.batch_size, kind: float, low: 1, high: 8}", `sweep.yaml:7: run.batch_size can't be of kind float: it is a whole number`},
		{"fractions as ends", "  - {name: run.batch_size, kind: int, low: 1.5, high: 8}", `sweep.yaml:7: run.batch_size is of kind int, so low, high and step must be whole numbers`},
		{"no end", "  - {name: optim.eps, kind: float, low: 1}", `sweep.yaml:7: optim.eps lacks low or high`},
		{"ends exchanged", "  - {name: optim.eps, kind: float, low: 1, high: 0.1}", `sweep.yaml:7: optim.eps: low is 1 and high is 0.1; want low below high`},
		{"logarithm of zero", "  - {name: optim.weight_decay, kind: float, low: 0, high: 1, log: true}", `sweep.yaml:7: optim.weight_decay: low is 0, want more than 0 where log is true`},
		{"outside of the key", "  - {name: optim.beta1, kind: float, low: 0.5, high: 1}", `sweep.yaml:7: optim.beta1 is 1, want at least 0 and less than 1`},
		{"wrong values", "  - {name: optim.kind, kind: choice, values: [adam, sgd]}", `sweep.yaml:7: optim.kind can't be "adam", want adamw, adamw8bit, adafactor or sgd`},
		{"values of another type", "  - name: run.batch_size\n    kind: choice\n    values:\n      - 8\n      - many", `sweep.yaml:11: run.batch_size can't be "many", want a whole number`},
		{"no values", "  - {name: optim.kind, kind: choice}", `sweep.yaml:7: optim.kind is a choice; add values: [...]`},
		{"range of a choice", "  - {name: run.batch_size, kind: choice, values: [8], low: 1}", `sweep.yaml:7: run.batch_size is a choice, which has values and no low`},
		{"value twice", "  - {name: optim.clip_norm, kind: choice, values: [1, 1.0]}", `sweep.yaml:7: optim.clip_norm has 1 twice among its values`},
		{"parameter twice", "  - {name: optim.lr, kind: choice, values: [1]}", `sweep.yaml:7: optim.lr is a parameter twice; keep one`},
		{"unknown condition", "  - {name: model.lora.rank, kind: choice, values: [8], when: model.lora.enable}", `sweep.yaml:7: model.lora.rank: when names an unknown key "model.lora.enable"; did you mean "model.lora.enabled"?`},
		{"condition on a wrong value", "  - {name: optim.beta1, kind: choice, values: [0.8], when: optim.kind=adam}", `sweep.yaml:7: optim.beta1: when says that optim.kind is "adam", want adamw, adamw8bit, adafactor or sgd`},
		{"condition in another spelling", "  - {name: optim.beta1, kind: choice, values: [0.8], when: checkpoint.async=True}", `sweep.yaml:7: optim.beta1: when is "checkpoint.async=True"; write checkpoint.async=true`},
		{"condition on a range", "  - {name: optim.beta1, kind: choice, values: [0.8], when: optim.lr}", `sweep.yaml:7: optim.beta1: when names optim.lr, which isn't a choice`},
		{"condition on what follows", "  - {name: optim.beta1, kind: choice, values: [0.8], when: optim.kind}\n  - {name: optim.kind, kind: choice, values: [adamw]}", `sweep.yaml:7: optim.beta1: when names optim.kind; list that one before it`},
		{"grid of a range", "method: grid", `sweep.yaml:6: optim.lr has no end of values; for a grid, give step, or kind: choice`},
		{"unknown key", "paralel: 8", `sweep.yaml:7: unknown key "paralel"; did you mean "parallel"?`},
		{"nothing like it", "budget: 8", `sweep.yaml:7: unknown key "budget"; the keys are name, base, dir, method, seed, trials, parallel, max_failures, parameters, metric, early_stop and launch`},
		{"wrong type", "parallel: many", `sweep.yaml:7: parallel is "many", want a whole number`},
		{"method", "method: bayes", `sweep.yaml:7: method is "bayes", want tpe, random or grid`},
		{"factor", "early_stop: {kind: asha, factor: 1}", `sweep.yaml:7: early_stop.factor is 1, want at least 2`},
		{"launcher", "launch: {on: moon}", `sweep.yaml:7: launch.on is "moon", want local, `},
		{"no hosts", "launch: {on: ssh}", `sweep.yaml: launch.hosts is missing`},
		{"time limit", "launch: {on: slurm, time: soon}", `sweep.yaml:7: launch.time is "soon", want a time`},
		{"early stop without evaluations", "early_stop: {kind: median}", `sweep.yaml:7: early_stop needs evaluations on the way; set run.eval_every in `},
		{"parameters twice", "parameters: []", `sweep.yaml:7: duplicate key "parameters"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, dir, err := loadStudy(t, study+test.add+"\n")
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), dir+"/", ""); !strings.HasPrefix(got, test.want) || strings.Contains(got, "\n") {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestSweepCondition: a parameter may depend on what the base leaves out.
func TestSweepCondition(t *testing.T) {
	if _, _, err := loadStudy(t, study+"  - {name: model.lora.rank, kind: choice, values: [8, 16, 64], when: model.lora.enabled}\n"); err != nil {
		t.Error(err)
	}
}

func TestSweepNeeds(t *testing.T) {
	tests := []struct{ text, want string }{
		{"base: base.yaml\ndir: d\ntrials: 1", "there are no parameters; add parameters: with a list"},
		{strings.Replace(study, "dir: d\n", "", 1), "dir is missing"},
		{strings.Replace(study, "trials: 4\n", "", 1), "the number of trials is missing"},
		{strings.Replace(study, "base: base.yaml\n", "", 1), "base is missing; add base: RECIPE"},
		{strings.Replace(study, "base.yaml", "none.yaml", 1), "base: config "},
		{strings.Replace(study, "base.yaml", "opt", 1), "base: config "},
		{strings.Replace(study, "base.yaml", "reference", 1), "base: built-in recipe reference: model.path is missing"},
	}
	for _, test := range tests {
		_, _, err := loadStudy(t, test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want %q", err, test.want)
		}
	}
}

// TestSweepBase: the base is looked for beside the sweep's file, wherever that is, and what isn't there is a built-in
// recipe, with and without .yaml.
func TestSweepBase(t *testing.T) {
	dir := t.TempDir()
	recipe := strings.Replace(enough, "  train: t.jsonl\n", "  train: t.jsonl\n  validation: v.jsonl\n", 1)
	for _, name := range []string{"above.yaml", "sweeps/beside.yaml", "sweeps/below/b.yaml", "sweeps/demo.yaml/a directory"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(recipe), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sweep := filepath.Join(dir, "sweeps", "sweep.yaml")
	t.Chdir(dir) // where none of the relative names is right but the built-in ones
	for base, want := range map[string]string{
		"beside.yaml":                    filepath.Join(dir, "sweeps/beside.yaml"),
		"../above.yaml":                  filepath.Join(dir, "above.yaml"),
		"below/b.yaml":                   filepath.Join(dir, "sweeps/below/b.yaml"),
		filepath.Join(dir, "above.yaml"): filepath.Join(dir, "above.yaml"),
		"demo":                           "demo",
		"demo.yaml":                      "demo", // a directory of that name is no recipe
	} {
		if err := os.WriteFile(sweep, []byte(strings.Replace(study, "base.yaml", base, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{sweep, "sweeps/sweep.yaml"} {
			s, err := LoadSweep(path, nil)
			if got, _ := filepath.Abs(s.Base); err != nil || s.Base != want && got != want {
				t.Errorf("%s of %s: base %q, error %v; want %q", base, path, s.Base, err, want)
			}
		}
	}
	// A file beside the sweep comes before a built-in recipe of its name.
	own := filepath.Join(dir, "sweeps", "longform-t5-xl.yaml")
	if err := os.WriteFile(own, []byte(recipe), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sweep, []byte(strings.Replace(study, "base.yaml", "longform-t5-xl.yaml", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := LoadSweep(sweep, nil); err != nil || s.Base != own {
		t.Errorf("base %q, error %v; want %q", s.Base, err, own)
	}
}

// TestSweepRecipes: the sweeps beside the recipes can be started as their first line says.
func TestSweepRecipes(t *testing.T) {
	files, err := filepath.Glob("sweeps/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sweeps; %v", err)
	}
	for _, file := range files {
		if _, err := LoadSweep(file, nil); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if first, _, _ := strings.Cut(string(text), "\n"); first != "# bin/train sweep -c configs/"+file {
			t.Errorf("%s begins with %q", file, first)
		}
	}
}
