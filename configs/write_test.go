package configs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// anyConfig draws valid configs as Load returns them: what stands for
// something else is already resolved.
func anyConfig(t *rapid.T) Config {
	name := rapid.OneOf(rapid.StringN(1, 20, -1), rapid.StringMatching(`[\w./:-]{1,6}`),
		rapid.SampledFrom([]string{"null", "true", "~", "1e-4", "0x1", "2024-01-01", "a: b", "---", "\t\n", "\nA"}))
	names := func(least int, key string) []string {
		if list := rapid.SliceOfN(name, least, 3).Draw(t, key); len(list) > 0 {
			return list
		}
		return nil
	}
	oneOf := func(key string) string {
		s, _ := configKeys.lookup(key)
		return rapid.SampledFrom(s.oneOf).Draw(t, key)
	}
	probability := rapid.Float64Range(0, 0.999)
	positive := rapid.Float64Range(1e-300, 1e300)
	whole := rapid.IntRange(0, 1<<40)
	natural := rapid.IntRange(1, 1<<20)
	flag := rapid.Bool()

	var c Config
	c.Model = Model{
		Path: name.Draw(t, "model.path"), Tokenizer: rapid.OneOf(rapid.Just(""), name).Draw(t, "model.tokenizer"), Init: oneOf("model.init"), Precision: oneOf("model.precision"),
		GradientCheckpointing: oneOf("model.gradient_checkpointing"),
		LoRA: LoRA{flag.Draw(t, "lora"), natural.Draw(t, "rank"), positive.Draw(t, "alpha"),
			probability.Draw(t, "lora.dropout"), names(0, "targets")},
	}
	c.Model.Quantize = "none"
	if c.Model.LoRA.Enabled {
		c.Model.Quantize = oneOf("model.quantize")
	}
	if flag.Draw(t, "has dropout") {
		p := probability.Draw(t, "dropout")
		c.Model.Dropout = &p
	}
	if c.Model.Quantize = "none"; c.Model.LoRA.Enabled {
		c.Model.Quantize = oneOf("model.quantize")
	}
	c.Data = Data{
		Train: names(1, "train"), Validation: names(0, "validation"), EOI: oneOf("data.eoi"), Loss: oneOf("data.loss"),
		MaxLength: natural.Draw(t, "max_length"), MaxTargetLength: natural.Draw(t, "max_target_length"),
		Packing: oneOf("data.packing"), Order: oneOf("data.order"),
	}
	if flag.Draw(t, "has buckets") {
		c.Data.Buckets = []int{c.Data.MaxLength}
	}
	c.Optim = Optim{oneOf("optim.kind"), positive.Draw(t, "lr"), probability.Draw(t, "beta1"), probability.Draw(t, "beta2"),
		positive.Draw(t, "eps"), positive.Draw(t, "weight_decay"), positive.Draw(t, "clip_norm"), oneOf("optim.gradients"), false}
	c.Schedule = Schedule{oneOf("schedule.kind"), whole.Draw(t, "warmup_steps"), 0}
	if c.Schedule.Kind == "linear" {
		c.Schedule.FinalRatio = probability.Draw(t, "final_ratio")
	}
	micro := natural.Draw(t, "micro_batch_size")
	c.Run = Run{Dir: name.Draw(t, "run.dir"), Seed: rapid.Uint64().Draw(t, "seed"), LogEvery: natural.Draw(t, "log_every"),
		BatchSize: micro * natural.Draw(t, "accumulation"), MicroBatchSize: micro, OnNonfinite: oneOf("run.on_nonfinite")}
	if flag.Draw(t, "by epochs") {
		c.Run.Epochs = natural.Draw(t, "epochs")
	} else {
		c.Run.Steps = c.Schedule.WarmupSteps + natural.Draw(t, "steps")
	}
	c.Checkpoint = Checkpoint{whole.Draw(t, "every"), natural.Draw(t, "keep"), false, flag.Draw(t, "async")}
	c.Tracking = Tracking{flag.Draw(t, "tensorboard"), rapid.SampledFrom([]string{"", "http://localhost:5000", "https://a.b/c?d=e%20f"}).Draw(t, "mlflow"), flag.Draw(t, "wandb"), name.Draw(t, "experiment")}
	if len(c.Data.Validation) > 0 {
		c.Run.EvalEvery = whole.Draw(t, "eval_every")
		c.Checkpoint.Best = flag.Draw(t, "best")
	}
	c.Device.Backend = oneOf("device.backend")
	c.Launch = Launch{On: oneOf("launch.on"), GPUs: rapid.IntRange(0, 1).Draw(t, "gpus"), CPUs: whole.Draw(t, "cpus"), Memory: name.Draw(t, "memory"),
		Time: rapid.SampledFrom([]string{"", "24h", "1h30m"}).Draw(t, "time"), Notice: "90s", Partition: name.Draw(t, "partition"),
		Hosts: names(1, "hosts"), Address: rapid.SampledFrom([]string{"http://localhost:8265", "https://a.b:1"}).Draw(t, "address"),
		Image: name.Draw(t, "image"), Volume: rapid.SampledFrom([]string{"runs:/data", "a:/"}).Draw(t, "volume"), Namespace: name.Draw(t, "namespace"),
		Env: rapid.SampledFrom([][]string{nil, {"A=1", "B=x=y"}}).Draw(t, "env")}
	return c
}

func written(t *rapid.T, c Config) []byte {
	src, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestYAMLLoadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyConfig(t)
		src := written(t, want)
		got, err := load("config.yaml", src, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, src)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v\nfrom\n%s", got, want, src)
		}
	})
}

// What Diff says is exactly what has to be overridden to get from a to b.
func TestDiffLeadsFromOneToTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyConfig(t), anyConfig(t)
		var overrides []string
		for _, line := range Diff(a, b) {
			key, values, _ := strings.Cut(line, ": ")
			s, _ := configKeys.lookup(key)
			from, to := text(s.of(a)), text(s.of(b))
			if values != from+" -> "+to || strings.Contains(line, "\n") {
				t.Fatalf("line %q, from %s to %s", line, from, to)
			}
			overrides = append(overrides, key+"="+to)
		}
		got, err := load("config.yaml", written(t, a), overrides)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, b) {
			t.Fatalf("got %+v\nwant %+v", got, b)
		}
		if same := Diff(got, b); same != nil {
			t.Fatalf("equal configs differ in %v", same)
		}
	})
}

func TestDiff(t *testing.T) {
	a := Default()
	b := a
	zero := 0.0
	b.Model.Dropout, b.Data.Train, b.Optim.LR, b.Optim.Kind = &zero, []string{"a", "b c"}, 3e-4, "sgd"
	want := []string{
		`model.dropout: null -> 0`,
		`data.train: [] -> [a, "b c"]`,
		`optim.kind: adamw -> sgd`,
		`optim.lr: 1e-05 -> 0.0003`,
	}
	if got := Diff(a, b); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAll(t *testing.T) {
	c := Default()
	half := 0.5
	c.Model.Dropout, c.Data.Train, c.Run.Steps = &half, []string{"a"}, 7
	got := maps.Collect(c.All())
	for key, want := range map[string]any{
		"model.dropout": 0.5, "data.train": []string{"a"}, "run.steps": 7, "run.seed": uint64(42), "checkpoint.async": true, "optim.kind": "adamw",
	} {
		if !reflect.DeepEqual(got[key], want) {
			t.Errorf("%s: got %#v, want %#v", key, got[key], want)
		}
	}
	if value, there := maps.Collect(Default().All())["model.dropout"]; !there || value != nil {
		t.Errorf("no dropout: got %v, %v", value, there)
	}
}

// Whatever a file holds, Load answers with a config or with lines that name it.
func TestAnyTextIsAConfigOrAnError(t *testing.T) {
	pieces := rapid.SampledFrom([]string{"run:", "optim", ": ", "\n", "  ", "\t", "lr", "1", "[", "]", "{", "}", "&a ", "*a", "- ", "---\n",
		"\"", "'", "#", "null", "? ", "<<", "!!int ", "|", ">", "\xff", "\x00", ",", "model:\n  path: x\n"})
	rapid.Check(t, func(t *rapid.T) {
		src := strings.Join(rapid.SliceOfN(pieces, 0, 12).Draw(t, "pieces"), "")
		if _, err := load("x.yaml", []byte(src), nil); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "x.yaml:") {
					t.Fatalf("%q: %v", src, err)
				}
			}
		}
		parseOverrides(configKeys, []string{"run.dir=" + src, src})
	})
}

func TestEveryFieldIsDocumented(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if f, ok := n.(*ast.Field); ok && f.Tag != nil {
			fields++
			if f.Doc == nil && f.Comment == nil {
				t.Errorf("%s has no comment", f.Names[0])
			}
		}
		return true
	})
	if want := len(configKeys.settings) + len(configKeys.sections); fields != want {
		t.Errorf("found %d fields, want %d", fields, want)
	}
}
