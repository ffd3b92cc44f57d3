package configs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// enough is a recipe that lacks nothing.
const enough = `model:
  path: m
data:
  train: t.jsonl
run:
  dir: d
  steps: 10
`

func TestDefaultsFillTheRest(t *testing.T) {
	got, err := load("x.yaml", []byte(enough), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Model.Path = "m"
	want.Data.Train = []string{"t.jsonl"}
	want.Run.Dir, want.Run.Steps = "d", 10
	want.Run.MicroBatchSize = want.Run.BatchSize
	want.Data.MaxTargetLength = want.Data.MaxLength
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("a loaded config isn't valid: %v", err)
	}
}

func TestValues(t *testing.T) {
	tenth := 0.1
	tests := []struct {
		name      string
		add       string // to the end of the file
		overrides []string
		get       func(Config) any
		want      any
	}{
		{"exponent without a dot", "optim: {lr: 1e-4}", nil, func(c Config) any { return c.Optim.LR }, 1e-4},
		{"whole number for a float", "optim: {clip_norm: 2}", nil, func(c Config) any { return c.Optim.ClipNorm }, 2.0},
		{"underscores", "schedule: {warmup_steps: 0_5}", nil, func(c Config) any { return c.Schedule.WarmupSteps }, 5},
		{"largest seed", "", []string{"run.seed=18446744073709551615"}, func(c Config) any { return c.Run.Seed }, uint64(1<<64 - 1)},
		{"override wins over file", "optim: {lr: 1e-4}", []string{"optim.lr=3e-4"}, func(c Config) any { return c.Optim.LR }, 3e-4},
		{"the later override wins", "", []string{"optim.lr=1", "optim.lr=2"}, func(c Config) any { return c.Optim.LR }, 2.0},
		{"zero over a default that isn't", "optim: {weight_decay: 0}", nil, func(c Config) any { return c.Optim.WeightDecay }, 0.0},
		{"false over true", "", []string{"checkpoint.async=false"}, func(c Config) any { return c.Checkpoint.Async }, false},
		{"text that looks like a number", "", []string{"run.dir=0123"}, func(c Config) any { return c.Run.Dir }, "0123"},
		{"text with =", "", []string{"run.dir=a=b"}, func(c Config) any { return c.Run.Dir }, "a=b"},
		{"text with a colon", "", []string{"data.validation=akoksal/LongForm:validation"}, func(c Config) any { return c.Data.Validation }, []string{"akoksal/LongForm:validation"}},
		{"text with commas is one", "", []string{"data.train=a,b"}, func(c Config) any { return c.Data.Train }, []string{"a,b"}},
		{"list", "", []string{"data.train=[a, b]"}, func(c Config) any { return c.Data.Train }, []string{"a", "b"}},
		{"list of numbers", "", []string{"data.buckets=[64, 128]"}, func(c Config) any { return c.Data.Buckets }, []int{64, 128}},
		{"list emptied", "optim: {}", []string{"data.buckets=[1]", "data.buckets="}, func(c Config) any { return c.Data.Buckets }, []int(nil)},
		{"section with nothing in it", "optim:", nil, func(c Config) any { return c.Optim }, Default().Optim},
		{"anchor", "optim: {beta1: &b 0.5, beta2: *b}", nil, func(c Config) any { return c.Optim.Beta2 }, 0.5},
		{"dropout unset", "", nil, func(c Config) any { return c.Model.Dropout }, (*float64)(nil)},
		{"dropout", "", []string{"model.dropout=0.1"}, func(c Config) any { return c.Model.Dropout }, &tenth},
		{"dropout taken back", "", []string{"model.dropout=0.1", "model.dropout=null"}, func(c Config) any { return c.Model.Dropout }, (*float64)(nil)},
		{"tokenizer left to the model", "", nil, func(c Config) any { return c.Model.Tokenizer }, ""},
		{"tokenizer of another", "", []string{"model.tokenizer=o/n"}, func(c Config) any { return c.Model.Tokenizer }, "o/n"},
		{"eoi emptied", "", []string{"data.eoi=text", "data.eoi="}, func(c Config) any { return c.Data.EOI }, ""},
		{"micro batch follows batch", "", []string{"run.batch_size=6"}, func(c Config) any { return c.Run.MicroBatchSize }, 6},
		{"best without validation", "", nil, func(c Config) any { return c.Checkpoint.Best }, false},
		{"best with validation", "", []string{"data.validation=v"}, func(c Config) any { return c.Checkpoint.Best }, true},
		{"best refused", "", []string{"data.validation=v", "checkpoint.best=false"}, func(c Config) any { return c.Checkpoint.Best }, false},
		{"epochs replace the file's steps", "", []string{"run.epochs=3"}, func(c Config) any { return []int{c.Run.Steps, c.Run.Epochs} }, []int{0, 3}},
		{"lora off keeps its settings", "", []string{"model.lora.enabled=false", "model.lora.rank=4"}, func(c Config) any { return c.Model.LoRA.Rank }, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load("x.yaml", []byte(enough+tt.add), tt.overrides)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.get(c); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// Mistakes stand alone after enough's 7 lines, so what is added begins on line 8.
func TestMistakes(t *testing.T) {
	tests := []struct {
		name, add, want string
	}{
		{"unknown key", "optim:\n  kind: adamw\n  learning_rate: 1", `x.yaml:10: unknown key "optim.learning_rate"; did you mean "optim.lr"?`},
		{"misspelt", "optim:\n  weigth_decay: 1", `x.yaml:9: unknown key "optim.weigth_decay"; did you mean "optim.weight_decay"?`},
		{"wrong case", "optim:\n  LR: 1", `x.yaml:9: unknown key "optim.LR"; did you mean "optim.lr"?`},
		{"camel case", "checkpoint:\n  saveEvery: 1", `x.yaml:9: unknown key "checkpoint.saveEvery"; did you mean "checkpoint.every"?`},
		{"wrong section", "schedule:\n  lr: 1", `x.yaml:9: unknown key "schedule.lr"; did you mean "optim.lr"?`},
		{"no section", "batch_size: 1", `x.yaml:8: unknown key "batch_size"; did you mean "run.batch_size"?`},
		{"part of a name", "schedule:\n  warmup: 1", `x.yaml:9: unknown key "schedule.warmup"; did you mean "schedule.warmup_steps"?`},
		{"section in full", "optimizer:\n  lr: 1", `x.yaml:8: unknown key "optimizer"; did you mean "optim"?`},
		{"words before", "schedule:\n  num_warmup_steps: 1", `x.yaml:9: unknown key "schedule.num_warmup_steps"; did you mean "schedule.warmup_steps"?`},
		{"nothing like it", "checkpoint:\n  compression: 1", `x.yaml:9: unknown key "checkpoint.compression"; checkpoint has every, keep, best and async`},
		{"dotted", "optim.lr: 1", `x.yaml:8: key "optim.lr" is dotted; in a file, write lr: under optim:`},
		{"merge key", "optim: &o {lr: 1}\nschedule:\n  <<: *o", `x.yaml:10: unknown key "schedule.<<"; schedule has kind, warmup_steps and final_ratio`},
		{"duplicate", "optim:\n  lr: 1\n  lr: 2", `x.yaml:10: duplicate key "optim.lr", first given on line 9; keep one`},
		{"duplicate section", "run:\n  seed: 1", `x.yaml:8: duplicate key "run", first given on line 5; keep one`},

		{"text for a number", "optim:\n  lr: fast", `x.yaml:9: optim.lr is "fast", want a number`},
		{"quoted number", "optim:\n  lr: '1'", `x.yaml:9: optim.lr is "1", want a number`},
		{"infinite", "optim:\n  lr: .inf", `x.yaml:9: optim.lr is .inf, want a number`},
		{"fraction for whole", "schedule:\n  warmup_steps: 1.5", `x.yaml:9: schedule.warmup_steps is 1.5, want a whole number`},
		{"too large", "schedule:\n  warmup_steps: 9223372036854775808", `x.yaml:9: schedule.warmup_steps is 9223372036854775808, want a whole number`},
		{"yes for true", "checkpoint:\n  async: yes", `x.yaml:9: checkpoint.async is "yes", want true or false`},
		{"empty", "optim:\n  lr:", `x.yaml:9: optim.lr is empty, want a number`},
		{"list for text", "device:\n  backend: [cpu, go]", `x.yaml:9: device.backend is the list ["cpu", "go"], want auto, cuda, cpu or go`},
		{"list that holds itself", "device:\n  backend: &a [cpu, *a]", `x.yaml:9: device.backend is a list, want auto, cuda, cpu or go`},
		{"keys for a value", "optim:\n  lr:\n    peak: 1", `x.yaml:9: optim.lr is a group of keys, want a number`},
		{"value for a section", "optim: adamw", `x.yaml:8: optim is "adamw", want keys under it: kind, lr, beta1, beta2, eps, weight_decay, clip_norm, gradients and relative_step`},

		{"enum", "optim:\n  kind: adam", `x.yaml:9: optim.kind is "adam", want adamw, adamw8bit, adafactor or sgd`},
		{"optional enum", "schedule:\n  kind: ''", `x.yaml:9: schedule.kind is "", want constant, linear, cosine or inverse_sqrt`},
		{"negative", "optim:\n  lr: -1", `x.yaml:9: optim.lr is -1, want more than 0`},
		{"probability", "optim:\n  beta2: 1", `x.yaml:9: optim.beta2 is 1, want at least 0 and less than 1`},
		{"ratio", "schedule:\n  kind: linear\n  final_ratio: 1.5", `x.yaml:10: schedule.final_ratio is 1.5, want from 0 to 1`},
		{"ratio without effect", "schedule:\n  final_ratio: 0.1", `x.yaml:9: schedule.final_ratio has no effect on a constant schedule; remove it or choose another schedule.kind`},
		{"warm-up longer than the run", "schedule:\n  warmup_steps: 10", `x.yaml:9: schedule.warmup_steps is 10, want less than run.steps, 10`},
		{"relative step", "optim:\n  relative_step: true", `x.yaml:9: optim.relative_step is adafactor's; set optim.kind: adafactor or remove it`},
		{"keep", "checkpoint:\n  keep: 0", `x.yaml:9: checkpoint.keep is 0, want at least 1`},
		{"best of nothing", "checkpoint:\n  best: true", `x.yaml:9: checkpoint.best is true but there is nothing to evaluate on; add data.validation or set it to false`},
		{"MLflow without a scheme", "tracking:\n  mlflow: localhost:5000", `x.yaml:9: tracking.mlflow is "localhost:5000", want the address of an MLflow server, such as http://localhost:5000`},
		{"MLflow's directory", "tracking:\n  mlflow: ./mlruns", `x.yaml:9: tracking.mlflow is "./mlruns", want the address of an MLflow server, such as http://localhost:5000`},
		{"time that is none", "launch:\n  time: 24", `x.yaml:9: launch.time is "24", want a time of at least a second, such as 24h or 1h30m`},
		{"more GPUs than a run uses", "launch:\n  gpus: 8", `x.yaml:9: launch.gpus is 8, but a run uses one GPU; for several runs at once see parallel of train sweep`},
		{"notice too early", "launch:\n  time: 1m", `x.yaml: launch.notice is 2m, want less than launch.time, 1m`},
		{"ssh to nowhere", "launch:\n  on: ssh", `x.yaml: launch.hosts is missing; add hosts: NAME under launch:, or give launch.hosts=NAME on the command line`},
		{"Ray's other address", "launch:\n  on: ray\n  address: ray://head:10001", `x.yaml:10: launch.address is "ray://head:10001", want the address of Ray's dashboard, such as http://localhost:8265`},
		{"no image", "launch:\n  on: kubernetes\n  volume: runs:/data", `x.yaml: launch.image is missing; add image: NAME under launch:, a container image with train on its PATH`},
		{"volume without a claim", "launch:\n  on: kubernetes\n  image: train\n  volume: /data", `x.yaml:11: launch.volume is "/data", want CLAIM:/PATH, a PersistentVolumeClaim and where the container has it`},
		{"variable that begins with a digit", "launch:\n  env: [A1=1, 1A=1]", `x.yaml:9: launch.env has "1A=1", want NAME=value`},
		{"variable without a value", "launch:\n  env: [A=1, B]", `x.yaml:9: launch.env has "B", want NAME=value`},

		{"tab", "optim:\n\tlr: 1", `x.yaml:9: a tab in the indentation; YAML takes only spaces there`},
		{"tab among spaces", "optim:\n  lr: 1\n \tkind: sgd", `x.yaml:10: a tab in the indentation; YAML takes only spaces there`},
		{"indentation", "optim:\n    lr: 1\n  kind: sgd\ndevice: {}", `x.yaml:10: not valid YAML (did not find expected key); check this line's indentation, colons and quotes`},
		{"unclosed", "optim:\n  kind: \"adamw\n  lr: 1", `x.yaml:9: not valid YAML (found unexpected end of stream); check this line's indentation, colons and quotes`},
		{"two colons", "optim:\n  lr: kind: 1\n", `x.yaml:9: not valid YAML (mapping values are not allowed in this context); check this line's indentation, colons and quotes`},
		{"not UTF-8", "optim:\n  kind: \xff\n", `x.yaml:9: not valid YAML (invalid leading UTF-8 octet); check this line's indentation, colons and quotes`},
		{"two documents", "---\nrun: {}", `x.yaml:8: a second document starts here; a config is one document, so remove the --- line`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantError(t, enough+tt.add, nil, tt.want) })
	}
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	tests := []struct{ override, want string }{
		{"optim.learning_rate=1", `command line: unknown key "optim.learning_rate"; did you mean "optim.lr"?`},
		{"Optim.lr=1", `command line: unknown key "Optim.lr"; did you mean "optim.lr"?`},
		{"lora.rank=1", `command line: unknown key "lora.rank"; did you mean "model.lora.rank"?`},
		{"seed=1", `command line: unknown key "seed"; did you mean "run.seed"?`},
		{"zebra=1", `command line: unknown key "zebra"; the sections are model, data, optim, schedule, run, checkpoint, device, tracking and launch`},
		{"optim.lr", `command line: "optim.lr" is not an override; write key=value, such as optim.lr=1e-4`},
		{"=1", `command line: "=1" is not an override; write key=value, such as optim.lr=1e-4`},
		{"device={backend: cpu}", `command line: "device" is a section; give one of its keys, such as device.backend=...`},
		{"optim.lr=", `command line: optim.lr is empty, want a number`},
		{"optim.lr=fast", `command line: optim.lr is "fast", want a number`},
		{"run.seed=-1", `command line: run.seed is -1, want a whole number from 0`},
		{"data.buckets=[8, x]", `command line: data.buckets is the list [8, "x"], want a list of whole numbers, such as [128, 256]`},
		{"data.buckets=[8, 8]", `command line: data.buckets is [8 8], want lengths that rise from 1 to at most data.max_length, 1024`},
		{"run.dir=[a", `command line: the value of run.dir, "[a", is not a YAML value; quote it`},
		{"run.dir=a #b", `command line: the value of run.dir, "a #b", is not a YAML value; quote it`},
		{"run.dir=", `command line: run.dir is missing; add dir: DIR under run:, or give run.dir=DIR on the command line`},
		{"data.validation=[a, '']", `command line: data.validation has an empty entry; remove it`},
		{"run.micro_batch_size=3", `command line: run.micro_batch_size 3 doesn't divide run.batch_size 8; make batch_size a multiple of it`},
		{"run.batch_size=0", `command line: run.batch_size is 0, want at least 1`},
		{"run.steps=-1", `command line: run.steps is -1, want at least 0`},
		{"run.steps=0", `command line: the run's length is missing; add steps: N or epochs: N under run:, or give run.steps=N on the command line`},
		{"run.eval_every=5", `command line: run.eval_every is 5 but there is nothing to evaluate on; add data.validation or remove it`},
		{"model.lora.rank=4", `command line: model.lora.rank has no effect; add model.lora.enabled: true or remove it`},
		{"model.quantize=nf4", `command line: model.quantize is nf4, but 4-bit weights can't be trained; set model.lora.enabled: true to train adapters on them, or remove it`},
		{"model.quantize=int4", `command line: model.quantize is "int4", want none or nf4`},
		{"model.dropout=1", `command line: model.dropout is 1, want at least 0 and less than 1`},
	}
	for _, tt := range tests {
		t.Run(tt.override, func(t *testing.T) { wantError(t, enough, []string{tt.override}, tt.want) })
	}
}

func TestSeveralMistakesAreAllTold(t *testing.T) {
	wantError(t, "model:\n  pth: m\nrun:\n  seed: x\n", []string{"lr=x"}, strings.Join([]string{
		`x.yaml:2: unknown key "model.pth"; did you mean "model.path"?`,
		`x.yaml:4: run.seed is "x", want a whole number from 0`,
		`command line: unknown key "lr"; did you mean "optim.lr"?`,
	}, "\n"))
	wantError(t, "# nothing\n", nil, strings.Join([]string{
		`x.yaml: model.path is missing; add path: DIR_OR_HUB_NAME under model:, or give model.path=DIR_OR_HUB_NAME on the command line`,
		`x.yaml: data.train is missing; add train: FILE_OR_HUB_NAME under data:, or give data.train=FILE_OR_HUB_NAME on the command line`,
		`x.yaml: run.dir is missing; add dir: DIR under run:, or give run.dir=DIR on the command line`,
		`x.yaml: the run's length is missing; add steps: N or epochs: N under run:, or give run.steps=N on the command line`,
	}, "\n"))
	wantError(t, enough+"  epochs: 2", nil, `x.yaml:7: run.steps is 10 and run.epochs is 2; give one of them`)
}

func wantError(t *testing.T, src string, overrides []string, want string) {
	t.Helper()
	_, err := load("x.yaml", []byte(src), overrides)
	if err == nil {
		t.Fatalf("no error, want %s", want)
	}
	if err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestWhereRecipesComeFrom(t *testing.T) {
	t.Chdir(t.TempDir())
	if c, err := Load("demo", nil); err != nil || c.Model.Path != "demo" {
		t.Errorf("the built-in demo: %v, %v", c.Model, err)
	}
	// A directory of that name is no recipe and doesn't hide one.
	if err := os.Mkdir("demo", 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Load("demo", nil); err != nil {
		t.Errorf("the built-in demo beside a directory: %v", err)
	}
	if err := os.WriteFile("reference", []byte(enough), 0o666); err != nil {
		t.Fatal(err)
	}
	if c, err := Load("reference", nil); err != nil || c.Run.Dir != "d" {
		t.Errorf("a file comes before a built-in recipe: %v, %v", c.Run, err)
	}
	if err := os.WriteFile("large.yaml", make([]byte, maxBytes+1), 0o666); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                  "no config; give a file or one of the built-in recipes: demo, ",
		"configs/demo.yaml": "config configs/demo.yaml: no such file; give a file or one of the built-in recipes: demo, ",
		"../":               "config ../: a directory; give the YAML file itself",
		"large.yaml":        "config large.yaml: more than 1 MiB; give a YAML recipe",
	} {
		if _, err := Load(path, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Load(%q): %v, want %s", path, err, want)
		}
	}
	if _, err := Load("demo", []string{"run.steps=3"}); err == nil || !strings.HasPrefix(err.Error(), "built-in recipe demo:") {
		t.Errorf("a mistake in a built-in recipe: %v", err)
	}
}

// What a recipe needs is a figure that make recipes measures, or is said to be none or the user's own.
var needs = regexp.MustCompile(`(?m)^# Needs (no GPU|the GPU memory that train plan --target h100 says|\d+\.\d GB of GPU memory, as train plan --target h100 says\.$)`)

func TestRecipes(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"demo", "finetune", "longform-llama-13b", "longform-llama-7b", "longform-llama3-8b-lora", "longform-llama3-8b-qlora", "longform-opt-1.3b",
		"longform-opt-125m", "longform-opt-2.7b", "longform-opt-6.7b", "longform-t5-xl", "reference"}
	if got := Recipes(); !slices.Equal(got, want) || len(files) != len(want) {
		t.Errorf("recipes %v, files %v, want %v", got, files, want)
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, rest, _ := strings.Cut(string(src), "\n")
			command, ok := strings.CutPrefix(first, "# bin/train run -c configs/"+file)
			if !ok {
				t.Errorf("the first line is %q, not the command that runs this file", first)
			}
			if !needs.MatchString(rest) {
				t.Errorf("the recipe doesn't say what it needs: %s", needs)
			}
			// What the command gives besides the file is what the recipe lacks.
			if _, err := Load(file, strings.Fields(command)); err != nil {
				t.Error(err)
			}
			if command != "" {
				if _, err := Load(file, nil); err == nil {
					t.Error("the command gives more than it has to")
				}
			}
		})
	}
}

func TestReferenceRecipe(t *testing.T) {
	c, err := Load("reference", []string{"model.path=m", "data.train=t", "run.dir=d"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("../models/testdata/llama-tiny/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var expected struct {
		AdamW struct {
			LR, Beta1, Beta2, Eps float64
			WeightDecay           float64 `json:"weight_decay"`
			ClipNorm              float64 `json:"clip_global_norm"`
			Batch, Steps          int
			Schedule              string
		}
	}
	if err := json.Unmarshal(raw, &expected); err != nil {
		t.Fatal(err)
	}
	e := expected.AdamW
	want := Optim{Kind: "adamw", LR: e.LR, Beta1: e.Beta1, Beta2: e.Beta2, Eps: e.Eps, WeightDecay: e.WeightDecay, ClipNorm: e.ClipNorm, Gradients: "float32"}
	if c.Optim != want || c.Schedule != (Schedule{Kind: e.Schedule}) {
		t.Errorf("optim %+v, schedule %+v, want %+v", c.Optim, c.Schedule, e)
	}
	if c.Run.Steps != e.Steps || c.Run.BatchSize != e.Batch || c.Run.MicroBatchSize != e.Batch || c.Run.LogEvery != 1 || c.Data.Order != "file" ||
		c.Data.Packing != "none" || c.Model.Precision != "float32" || c.Model.Dropout == nil || *c.Model.Dropout != 0 {
		t.Errorf("%+v", c)
	}
}
