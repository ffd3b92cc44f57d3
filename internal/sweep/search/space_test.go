package search

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestValidate(t *testing.T) {
	enabled := Parameter{Name: "on", Kind: "choice", Values: []any{true, false}}
	tests := []struct {
		name  string
		space Space
		want  string // a part of the error; empty: none
	}{
		{"all kinds", Space{enabled,
			{Name: "lr", Kind: "float", Low: 1e-5, High: 1e-1, Log: true},
			{Name: "dropout", Kind: "float", Low: 0, High: 0.3, Step: 0.1},
			{Name: "layers", Kind: "int", Low: 1, High: 64, Log: true},
			{Name: "rank", Kind: "choice", Values: []any{8, 16.5, "all", nil}, When: "on"},
			{Name: "alpha", Kind: "int", Low: 1, High: 1, When: "rank=8"}}, ""},
		{"empty", nil, "no parameters"},
		{"no name", Space{{Kind: "float"}}, "parameter 1 has no name"},
		{"twice", Space{enabled, enabled}, "on is listed twice"},
		{"kind", Space{{Name: "a", Kind: "double"}}, `unknown kind "double"`},
		{"bounds", Space{{Name: "a", Kind: "float", Low: 2, High: 1}}, "swap them"},
		{"no range", Space{{Name: "a", Kind: "float", Low: 2, High: 2}}, "base config"},
		{"infinite", Space{{Name: "a", Kind: "float", High: math.Inf(1)}}, "finite"},
		{"log of zero", Space{{Name: "a", Kind: "float", High: 1, Log: true}}, "above 0"},
		{"log and step", Space{{Name: "a", Kind: "int", Low: 1, High: 9, Step: 2, Log: true}}, "exclude"},
		{"negative step", Space{{Name: "a", Kind: "float", High: 1, Step: -1}}, "positive"},
		{"wide step", Space{{Name: "a", Kind: "float", High: 1, Step: 2}}, "wider"},
		{"half an int", Space{{Name: "a", Kind: "int", Low: 0.5, High: 3}}, "whole"},
		{"float with values", Space{{Name: "a", Kind: "float", High: 1, Values: []any{1}}}, "low and high"},
		{"choice with bounds", Space{{Name: "a", Kind: "choice", High: 1, Values: []any{1}}}, "a choice has values"},
		{"choice without values", Space{{Name: "a", Kind: "choice"}}, "needs values"},
		{"list as a value", Space{{Name: "a", Kind: "choice", Values: []any{[]any{1}}}}, "null, booleans"},
		{"equal values", Space{{Name: "a", Kind: "choice", Values: []any{1, 2, 1.0}}}, "value 1 is listed twice"},
		{"unknown condition", Space{{Name: "a", Kind: "int", High: 1, When: "b"}}, "neither a parameter nor a key"},
		{"condition below", Space{{Name: "a", Kind: "int", High: 1, When: "on"}, enabled}, "move it there"},
		{"condition on itself", Space{{Name: "a", Kind: "choice", Values: []any{true}, When: "a"}}, "move it there"},
		{"condition on a float", Space{{Name: "b", Kind: "float", High: 1}, {Name: "a", Kind: "int", High: 1, When: "b"}}, "make it a choice"},
		{"condition never met", Space{enabled, {Name: "a", Kind: "int", High: 1, When: "on=maybe"}}, "isn't among"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.space.Validate()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestBind(t *testing.T) {
	space := Space{
		{Name: "lr", Kind: "float", Low: 0, High: 1},
		{Name: "rank", Kind: "choice", Values: []any{8, 16}, When: "lora.enabled"},
		{Name: "alpha", Kind: "int", Low: 1, High: 9, When: "rank=16"},
		{Name: "beta", Kind: "float", Low: 0, High: 1, When: "optimizer=adamw"},
	}
	tests := []struct {
		name   string
		config map[string]any
		want   []string // name, condition
		valid  bool
	}{
		{"met", map[string]any{"lora.enabled": true, "optimizer": "adamw"}, []string{"lr ", "rank ", "alpha rank=16", "beta "}, true},
		{"not met", map[string]any{"lora.enabled": false, "optimizer": "adafactor"}, []string{"lr "}, true},
		{"unknown", map[string]any{"lora.enabled": true}, []string{"lr ", "rank ", "alpha rank=16", "beta optimizer=adamw"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bound := space.Bind(func(key string) (any, bool) { v, ok := test.config[key]; return v, ok })
			var got []string
			for _, p := range bound {
				got = append(got, p.Name+" "+p.When)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("parameters %q, want %q", got, test.want)
			}
			if err := bound.Validate(); (err == nil) != test.valid {
				t.Errorf("validation says %v", err)
			}
		})
	}
}

func TestHolds(t *testing.T) {
	tests := []struct {
		when  string
		value any
		want  bool
	}{
		{"a", true, true}, {"a", false, false}, {"a", nil, false}, {"a", 0, false}, {"a", int64(8), true},
		{"a", "", false}, {"a", "adamw", true},
		{"a=true", true, true}, {"a=true", false, false}, {"a=false", false, true}, {"a=null", nil, true},
		{"a=8", int64(8), true}, {"a=8", 8.0, true}, {"a=0.00001", 1e-5, true}, {"a=8", 16, false},
		{"a=x=y", "x=y", true}, {"a=adamw", "adam", false},
	}
	for _, test := range tests {
		if got := holds(test.when, test.value); got != test.want {
			t.Errorf("%q with %v: %v, want %v", test.when, test.value, got, test.want)
		}
	}
}

// TestGridEnumerates lists a conditional grid by hand.
func TestGridEnumerates(t *testing.T) {
	space := Space{
		{Name: "optimizer", Kind: "choice", Values: []any{"adamw", "sgd"}},
		{Name: "beta", Kind: "float", Low: 0.7, High: 1, Step: 0.1, When: "optimizer=adamw"},
		{Name: "nesterov", Kind: "choice", Values: []any{true, false}, When: "optimizer=sgd"},
		{Name: "momentum", Kind: "int", Low: 1, High: 6, Step: 2, When: "nesterov"},
		{Name: "warmup", Kind: "choice", Values: []any{0, nil}},
	}
	want := []string{
		"map[beta:0.7 optimizer:adamw warmup:0]", "map[beta:0.7 optimizer:adamw warmup:<nil>]",
		"map[beta:0.8 optimizer:adamw warmup:0]", "map[beta:0.8 optimizer:adamw warmup:<nil>]",
		"map[beta:0.9 optimizer:adamw warmup:0]", "map[beta:0.9 optimizer:adamw warmup:<nil>]",
		"map[beta:1 optimizer:adamw warmup:0]", "map[beta:1 optimizer:adamw warmup:<nil>]",
		"map[momentum:1 nesterov:true optimizer:sgd warmup:0]", "map[momentum:1 nesterov:true optimizer:sgd warmup:<nil>]",
		"map[momentum:3 nesterov:true optimizer:sgd warmup:0]", "map[momentum:3 nesterov:true optimizer:sgd warmup:<nil>]",
		"map[momentum:5 nesterov:true optimizer:sgd warmup:0]", "map[momentum:5 nesterov:true optimizer:sgd warmup:<nil>]",
		"map[nesterov:false optimizer:sgd warmup:0]", "map[nesterov:false optimizer:sgd warmup:<nil>]",
	}
	if err := space.Validate(); err != nil {
		t.Fatal(err)
	}
	if points, known := space.Grid(); points != len(want) || !known {
		t.Errorf("%d points (known: %v), want %d", points, known, len(want))
	}
	sampler := NewGrid(space)
	for i, w := range want {
		point, err := sampler.Sample(i, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, ok := point["beta"].(float64); ok {
			point["beta"] = math.Round(b*1e9) / 1e9
		}
		if got := fmt.Sprint(map[string]any(point)); got != w {
			t.Errorf("point %d is %s, want %s", i, got, w)
		}
	}
	if _, err := sampler.Sample(len(want), nil); err != ErrExhausted {
		t.Errorf("after the last point: %v", err)
	}
}

func TestGridOfContinuousFloatIsUnknown(t *testing.T) {
	space := Space{{Name: "lr", Kind: "float", Low: 0, High: 1}}
	if points, known := space.Grid(); points != 0 || known {
		t.Errorf("%d points, known: %v", points, known)
	}
	if _, err := NewGrid(space).Sample(0, nil); err == nil {
		t.Error("a continuous range was sampled as a grid")
	}
}

func TestGridDoesNotOverflow(t *testing.T) {
	var space Space
	for i := range 10 {
		space = append(space, Parameter{Name: fmt.Sprint(i), Kind: "int", Low: 1, High: 1e6})
	}
	if points, known := space.Grid(); points != math.MaxInt || !known {
		t.Errorf("%d points, known: %v", points, known)
	}
}

// drawSpace makes a valid space with every kind of parameter and chains of conditions.
func drawSpace(t *rapid.T) Space {
	var space Space
	var conditions []string
	for i := range rapid.IntRange(1, 8).Draw(t, "parameters") {
		p := Parameter{Name: fmt.Sprint("p", i)}
		if len(conditions) > 0 && rapid.Bool().Draw(t, "conditional") {
			p.When = rapid.SampledFrom(conditions).Draw(t, "when")
		}
		low := rapid.IntRange(-20, 20).Draw(t, "low")
		p.Low, p.High = float64(low), float64(low+rapid.IntRange(1, 40).Draw(t, "width"))
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			p = Parameter{Name: p.Name, When: p.When, Kind: "choice", Values: []any{"a", 2, false, nil, 0.5}}
			conditions = append(conditions, p.Name, p.Name+"=2", p.Name+"=false", p.Name+"=null")
		case 1:
			p.Kind = "float"
		case 2:
			p.Kind, p.Step = "float", rapid.SampledFrom([]float64{0.1, 0.25, 1}).Draw(t, "step")
		case 3:
			p.Kind, p.Step = "int", 1
		case 4:
			p.Kind = "int"
		case 5:
			p.Kind = rapid.SampledFrom([]string{"int", "float"}).Draw(t, "log of")
			p.Low, p.High, p.Log = 1, 1+p.High-p.Low, true
		}
		space = append(space, p)
	}
	if err := space.Validate(); err != nil {
		t.Fatal(err)
	}
	return space
}

// check says what keeps a point from being one of the space.
func check(space Space, point Point) error {
	n := 0
	for _, p := range space {
		value, has := point[p.Name]
		if has != p.active(point) {
			return fmt.Errorf("%s: present %v, should be %v", p.Name, has, !has)
		}
		if !has {
			continue
		}
		n++
		var x float64
		switch value := value.(type) {
		case float64:
			x = value
		case int64:
			x = float64(value)
		}
		kind := map[string]string{"float": "float64", "int": "int64"}[p.Kind]
		switch {
		case p.Kind == "choice":
			if !slices.ContainsFunc(p.Values, func(v any) bool { return reflect.DeepEqual(v, value) }) {
				return fmt.Errorf("%s: %v isn't among %v", p.Name, value, p.Values)
			}
		case fmt.Sprintf("%T", value) != kind:
			return fmt.Errorf("%s: a %T", p.Name, value)
		case x < p.Low || x > p.High:
			return fmt.Errorf("%s: %v isn't between %v and %v", p.Name, x, p.Low, p.High)
		case p.Step != 0 && math.Abs(math.Remainder(x-p.Low, p.Step)) > 1e-9:
			return fmt.Errorf("%s: %v isn't a multiple of %v from %v", p.Name, x, p.Step, p.Low)
		}
	}
	if n != len(point) {
		return fmt.Errorf("%v has values that the space doesn't", point)
	}
	return nil
}
