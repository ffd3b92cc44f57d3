// Package search decides which trial a sweep runs next and which one it stops early.
// Its samplers and pruners keep nothing between calls: what they need is in the
// history, so that any worker can ask at any time.
package search

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Parameter is one axis of the space.
type Parameter struct {
	Name string
	Kind string // float, int or choice

	// Both bounds are included. With Step, values are Low, Low+Step, ... up to High;
	// ints have a step of 1 if none is given. With Log, values are drawn evenly in
	// their logarithm; Log and Step exclude each other.
	Low, High float64
	Log       bool
	Step      float64

	Values []any // of a choice: null, booleans, numbers or strings

	// When makes the parameter conditional: it takes part only in points where the
	// choice of that name, further up in the space, takes part and is neither false,
	// null, zero nor empty; with "name=value", where it has that value.
	When string
}

// A Space lists the parameters of a sweep.
type Space []Parameter

// A Point holds the values of the parameters that take part: float64 for floats, int64
// for ints, one of Values for choices.
type Point map[string]any

// Validate says what is wrong with the first parameter that can't be sampled.
func (s Space) Validate() error {
	if len(s) == 0 {
		return fmt.Errorf("the search space has no parameters: list at least one")
	}
	for i, p := range s {
		if p.Name == "" {
			return fmt.Errorf("parameter %d has no name", i+1)
		}
		if s[:i].find(p.Name) >= 0 {
			return fmt.Errorf("parameter %s is listed twice: delete one", p.Name)
		}
		err := p.validate()
		if err == nil && p.When != "" {
			err = s.validateWhen(i)
		}
		if err != nil {
			return fmt.Errorf("parameter %s: %w", p.Name, err)
		}
	}
	return nil
}

func (p Parameter) validate() error {
	switch p.Kind {
	case "choice":
		if p.Low != 0 || p.High != 0 || p.Step != 0 || p.Log {
			return fmt.Errorf("low, high, step and log belong to floats and ints: a choice has values")
		}
		if len(p.Values) == 0 {
			return fmt.Errorf("a choice needs values")
		}
		for i, v := range p.Values {
			if _, ok := scalar(v); !ok {
				return fmt.Errorf("value %v is a %T: a choice takes null, booleans, numbers and strings", v, v)
			}
			if index(p.Values[:i], v) >= 0 {
				return fmt.Errorf("value %v is listed twice: delete one", v)
			}
		}
		return nil
	case "float", "int":
	default:
		return fmt.Errorf("unknown kind %q: use float, int or choice", p.Kind)
	}
	whole := func(x float64) bool { return x == math.Trunc(x) && math.Abs(x) <= 1<<53 }
	switch {
	case len(p.Values) > 0:
		return fmt.Errorf("values belong to a choice: a %s has low and high", p.Kind)
	case math.IsInf(p.Low, 0) || math.IsInf(p.High, 0) || math.IsNaN(p.Low) || math.IsNaN(p.High) || math.IsInf(p.High-p.Low, 0):
		return fmt.Errorf("low %v and high %v must be finite", p.Low, p.High)
	case p.Low > p.High:
		return fmt.Errorf("low %v is above high %v: swap them", p.Low, p.High)
	case p.Low == p.High && p.Kind == "float":
		return fmt.Errorf("low and high are both %v: set the key in the base config instead", p.Low)
	case p.Kind == "int" && !(whole(p.Low) && whole(p.High) && whole(p.Step)):
		return fmt.Errorf("low %v, high %v and step %v of an int must be whole numbers", p.Low, p.High, p.Step)
	case !(p.Step >= 0) || math.IsInf(p.Step, 0):
		return fmt.Errorf("step %v must be positive", p.Step)
	case p.Log && p.Step != 0:
		return fmt.Errorf("log and step exclude each other: delete one")
	case p.Log && p.Low <= 0:
		return fmt.Errorf("low %v must be above 0 with log", p.Low)
	case p.Step != 0 && p.steps() == 1 && p.High > p.Low:
		return fmt.Errorf("step %v is wider than low %v to high %v", p.Step, p.Low, p.High)
	}
	return nil
}

func (s Space) validateWhen(i int) error {
	name, value, valued := strings.Cut(s[i].When, "=")
	j := s.find(name)
	switch {
	case j < 0:
		return fmt.Errorf("when names %s, which is neither a parameter nor a key of the config", name)
	case j >= i:
		return fmt.Errorf("when names %s, which isn't listed further up: move it there", name)
	case s[j].Kind != "choice":
		return fmt.Errorf("when names %s, a %s: make it a choice", name, s[j].Kind)
	case !slices.ContainsFunc(s[j].Values, func(v any) bool { return holds(s[i].When, v) }):
		if valued {
			return fmt.Errorf("when asks for %s=%s, which isn't among its values %v", name, value, s[j].Values)
		}
		return fmt.Errorf("when names %s, whose values %v are all off", name, s[j].Values)
	}
	return nil
}

// Bind settles the conditions on what isn't a parameter but a key of the config:
// parameters that can't take part are left out, the others lose their condition. The
// config tells a key's value and whether it knows the key; conditions on names that it
// doesn't know stay, for Validate to object to.
func (s Space) Bind(config func(key string) (value any, known bool)) Space {
	var bound Space
	gone := map[string]bool{}
	for _, p := range s {
		if name, _, _ := strings.Cut(p.When, "="); p.When != "" && s.find(name) < 0 {
			if value, known := config(name); known {
				if !holds(p.When, value) {
					gone[p.Name] = true
					continue
				}
				p.When = ""
			}
		} else if gone[name] {
			gone[p.Name] = true
			continue
		}
		bound = append(bound, p)
	}
	return bound
}

func (s Space) find(name string) int {
	return slices.IndexFunc(s, func(p Parameter) bool { return p.Name == name })
}

// active says whether the parameter takes part in a point that holds those above it.
func (p Parameter) active(point Point) bool {
	if p.When == "" {
		return true
	}
	name, _, _ := strings.Cut(p.When, "=")
	value, ok := point[name]
	return ok && holds(p.When, value)
}

// holds says whether a condition is met where the parameter or key that it names has
// that value.
func holds(when string, value any) bool {
	_, want, valued := strings.Cut(when, "=")
	got, _ := scalar(value)
	if !valued {
		return got != nil && got != false && got != 0.0 && got != ""
	}
	switch got := got.(type) {
	case nil:
		return want == "null"
	case float64:
		x, err := strconv.ParseFloat(want, 64)
		return err == nil && x == got
	default:
		return fmt.Sprint(got) == want
	}
}

// groups are the parameters that always take part, together, and each conditional one by
// itself, in the order of the space.
func (s Space) groups() [][]Parameter {
	var always []Parameter
	var conditional [][]Parameter
	for _, p := range s {
		if p.When == "" {
			always = append(always, p)
		} else {
			conditional = append(conditional, []Parameter{p})
		}
	}
	return append([][]Parameter{always}, conditional...)
}

// scalar brings the types that decoders have for one value down to nil, bool, float64
// and string.
func scalar(v any) (any, bool) {
	switch v := v.(type) {
	case nil, bool, string, float64:
		return v, true
	case float32:
		return float64(v), true
	case int:
		return float64(v), true
	case int32:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	}
	return nil, false
}

// index finds a value, whatever decoder it came through.
func index(values []any, v any) int {
	want, ok := scalar(v)
	if !ok {
		return -1
	}
	return slices.IndexFunc(values, func(v any) bool { got, _ := scalar(v); return got == want })
}

// A coordinate is a parameter's value as a number: that of a float or an int as it is,
// the index of a choice.
func (p Parameter) coordinate(value any) (float64, bool) {
	if p.Kind == "choice" {
		i := index(p.Values, value)
		return float64(i), i >= 0
	}
	number, _ := scalar(value)
	x, ok := number.(float64)
	return x, ok && p.Low <= x && x <= p.High
}

func (p Parameter) value(coordinate float64) any {
	switch p.Kind {
	case "choice":
		return p.Values[int(coordinate)]
	case "int":
		return int64(coordinate)
	}
	return coordinate
}

// step is 0 for continuous values.
func (p Parameter) step() float64 {
	if p.Kind == "int" && p.Step == 0 {
		return 1
	}
	return p.Step
}

// last is the highest value that steps from Low reach.
func (p Parameter) last() float64 {
	if p.step() == 0 {
		return p.High
	}
	return min(p.Low+float64(p.steps()-1)*p.step(), p.High)
}

// steps counts the values from Low to High; 1e-9 forgives that 0.3 is less than 3*0.1.
func (p Parameter) steps() int { return int(min((p.High-p.Low)/p.step()+1e-9, 1<<53)) + 1 }

// scale takes a coordinate of a float or int to where it is sampled.
func (p Parameter) scale(x float64) float64 {
	if p.Log {
		return math.Log(x)
	}
	return x
}

// bounds is what is sampled, scaled; every value that steps reach has half a step on
// either side, so that they are equally likely.
func (p Parameter) bounds() (low, high float64) {
	return p.scale(p.Low - p.step()/2), p.scale(p.last() + p.step()/2)
}

// unscale takes what was sampled to the nearest coordinate.
func (p Parameter) unscale(x float64) float64 {
	if p.Log {
		x = math.Exp(x)
	}
	if step := p.step(); step != 0 {
		x = p.Low + math.RoundToEven((x-p.Low)/step)*step
	}
	return min(max(x, p.Low), p.last())
}
