package sweep

import (
	"reflect"
	"testing"

	"github.com/longform-go/longform/internal/sweep/search"
)

func ranged(name string, low, high float64) search.Parameter {
	return search.Parameter{Name: name, Kind: "float", Low: low, High: high}
}

func oneOf(name, when string, values ...any) search.Parameter {
	return search.Parameter{Name: name, Kind: "choice", Values: values, When: when}
}

// Numbers that a program is given are no programs of their own; what changes its shapes
// or its arithmetic is.
func TestPrograms(t *testing.T) {
	tests := []struct {
		name  string
		space search.Space
		want  [][]string
	}{
		{"the optimizer's numbers", search.Space{
			ranged("optim.lr", 1e-5, 1e-3), ranged("optim.weight_decay", 0, 0.1), ranged("optim.beta1", 0.8, 0.95), oneOf("optim.beta2", "", 0.95, 0.999),
			ranged("optim.eps", 1e-9, 1e-6), oneOf("schedule.kind", "", "linear", "cosine"), oneOf("run.seed", "", int64(1), int64(2)),
		}, [][]string{nil}},
		{"clipping at several norms", search.Space{ranged("optim.clip_norm", 0.5, 2)}, [][]string{{"optim.clip_norm=0.5"}}},
		{"clipping or not", search.Space{oneOf("optim.clip_norm", "", 0.5, 0.0, 1.0, 2.0)}, [][]string{{"optim.clip_norm=0.5"}, {"optim.clip_norm=0"}}},
		{"dropout", search.Space{oneOf("model.dropout", "", nil, 0.0, 0.1, 0.2), ranged("model.lora.alpha", 8, 32)},
			[][]string{{"model.dropout=null"}, {"model.dropout=0"}, {"model.dropout=0.1"}}},
		{"ends of a range", search.Space{{Name: "run.batch_size", Kind: "int", Low: 8, High: 64}}, [][]string{{"run.batch_size=8"}, {"run.batch_size=64"}}},
		{"the optimizer", search.Space{oneOf("optim.kind", "", "adamw", "sgd"), ranged("optim.lr", 1e-5, 1e-3)}, [][]string{{"optim.kind=adamw"}, {"optim.kind=sgd"}}},
		{"a condition", search.Space{oneOf("model.lora.enabled", "", true, false), oneOf("model.lora.rank", "model.lora.enabled", int64(4), int64(8))},
			[][]string{{"model.lora.enabled=true", "model.lora.rank=4"}, {"model.lora.enabled=true", "model.lora.rank=8"}, {"model.lora.enabled=false"}}},
		{"a condition on a norm", search.Space{oneOf("optim.clip_norm", "", 1.0, 2.0), oneOf("run.batch_size", "optim.clip_norm=2", int64(8))},
			[][]string{{"optim.clip_norm=1"}, {"optim.clip_norm=2", "run.batch_size=8"}}},
		{"a condition on a number", search.Space{oneOf("optim.lr", "", 1e-3, 1e-2), oneOf("run.batch_size", "optim.lr=0.01", int64(8))},
			[][]string{{"optim.lr=0.001"}, {"optim.lr=0.01", "run.batch_size=8"}}},
	}
	for _, test := range tests {
		if err := test.space.Validate(); err != nil {
			t.Fatal(err)
		}
		if got := Programs(test.space); !reflect.DeepEqual(got.Points, test.want) || got.Left != 0 {
			t.Errorf("%s: %q and %d more, want %q", test.name, got.Points, got.Left, test.want)
		}
	}
}

func TestLongest(t *testing.T) {
	space := search.Space{ranged("optim.lr", 1e-5, 1e-3), {Name: "run.steps", Kind: "int", Low: 100, High: 1000}}
	if got := Longest(space); !reflect.DeepEqual(got, []string{"run.steps=1000"}) {
		t.Errorf("range: %q", got)
	}
	if got := Longest(search.Space{oneOf("run.epochs", "", int64(3), int64(5), int64(1))}); !reflect.DeepEqual(got, []string{"run.epochs=5"}) {
		t.Errorf("choice: %q", got)
	}
	if got := Longest(space[:1]); got != nil {
		t.Errorf("none: %q", got)
	}
}
