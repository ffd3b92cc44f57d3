package configs

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var parameterKeys = keysOf[Parameter]()

// parameters reads the list of a sweep's parameters.
func (l *layer) parameters(name string, n *yaml.Node, lines map[string]string) {
	if n.Kind != yaml.SequenceNode {
		l.problem(at(name, n.Line), "parameters is %s, want a list of them, such as - {name: optim.lr, kind: float, low: 1e-5, high: 1e-3, log: true}", describe(n))
		return
	}
	var list []Parameter
	for i, item := range n.Content {
		item = follow(item)
		lines[fmt.Sprintf("parameters.%d", i)] = at(name, item.Line)
		list = append(list, l.parameter(name, item))
	}
	l.values["parameters"] = list
}

func (l *layer) parameter(name string, n *yaml.Node) Parameter {
	var p Parameter
	where := at(name, n.Line)
	if n.Kind != yaml.MappingNode {
		l.problem(where, "a parameter is %s, want keys: %s", describe(n), list(parameterKeys.in(""), "and"))
		return p
	}
	one, rest := newLayer(parameterKeys), *n
	rest.Content = nil
	var values *yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		if key, value := n.Content[i], follow(n.Content[i+1]); key.Value == "values" && values == nil {
			values = value
		} else {
			rest.Content = append(rest.Content, key, value)
		}
	}
	one.section(name, "", &rest)
	l.problems = append(l.problems, one.problems...)
	if len(one.problems) > 0 {
		return p
	}
	for key, value := range one.values {
		known, _ := parameterKeys.lookup(key)
		reflect.ValueOf(&p).Elem().FieldByIndex(known.index).Set(reflect.ValueOf(value))
	}
	given := func(key string) bool { _, ok := one.values[key]; return ok }
	key, known := configKeys.lookup(p.Name)
	switch {
	case p.Name == "":
		l.problem(where, "a parameter has no name; add name: KEY, such as optim.lr")
	case slices.Contains(configKeys.sections, p.Name):
		l.problem(where, "%s is a section; name one of its keys: %s", p.Name, list(configKeys.in(p.Name), "or"))
	case !known:
		l.problem(where, "unknown parameter %s; %s", quote(p.Name), configKeys.hint(p.Name))
	case p.Name == "run.dir":
		l.problem(where, "run.dir can't be a parameter; each trial has its own")
	case p.Kind == "choice":
		for _, k := range []string{"low", "high", "log", "step"} {
			if given(k) {
				l.problem(where, "%s is a choice, which has values and no %s", p.Name, k)
			}
		}
		p.Values = l.choices(name, where, key, values)
	case p.Kind == "float" || p.Kind == "int":
		if values != nil {
			l.problem(where, "%s is of kind %s, which has low and high; for values, write kind: choice", p.Name, p.Kind)
		}
		if !given("low") || !given("high") {
			l.problem(where, "%s lacks low or high", p.Name)
		}
	}
	return p
}

// choices converts each value to what the key takes.
func (l *layer) choices(name, where string, key setting, n *yaml.Node) []any {
	if n == nil || n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		l.problem(where, "%s is a choice; add values: [...]", key.key)
		return nil
	}
	var values []any
	for _, item := range n.Content {
		item = follow(item)
		v, ok := convert(item, key.kind)
		if ok && key.oneOf != nil {
			ok = slices.Contains(key.oneOf, fmt.Sprint(v))
		}
		if !ok {
			l.problem(at(name, item.Line), "%s can't be %s, want %s", key.key, describe(item), want(key))
			continue
		}
		values = append(values, choice(reflect.ValueOf(v)))
	}
	for i, v := range values {
		if slices.Contains(values[:i], v) {
			l.problem(where, "%s has %v twice among its values", key.key, v)
		}
	}
	return values
}

// choice is a value as a [Parameter] holds it.
func choice(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return choice(v.Elem())
	case reflect.Int:
		return v.Int()
	case reflect.Uint64:
		if u := v.Uint(); u <= math.MaxInt64 {
			return int64(u)
		}
		return text(v)
	case reflect.Slice:
		return text(v)
	}
	return v.Interface()
}

// Override gives a parameter's value as [Load] takes it: key=value.
func Override(key string, value any) string { return key + "=" + asYAML(key, value) }

func asYAML(key string, value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case float64:
		if known, _ := configKeys.lookup(key); v == math.Trunc(v) && math.Abs(v) < 1<<63 && known.kind != nil && known.kind.Kind() != reflect.Float64 {
			return strconv.FormatInt(int64(v), 10)
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	case string:
		if known, _ := configKeys.lookup(key); known.kind != nil && known.kind.Kind() == reflect.String {
			return text(reflect.ValueOf(v))
		}
		return v // a list's YAML
	}
	return fmt.Sprint(value)
}

// extremes are the numbers at the ends of what p can be, as an override gives them.
func (p Parameter) extremes() []string {
	if p.Kind != "choice" {
		return []string{asYAML(p.Name, p.Low), asYAML(p.Name, p.High)}
	}
	var numbers []string
	for _, v := range p.Values {
		switch v.(type) {
		case int64, float64:
			numbers = append(numbers, asYAML(p.Name, v))
		}
	}
	return numbers
}

// String says what p can be, for a person.
func (p Parameter) String() string {
	text := p.Name + "  "
	if p.Kind == "choice" {
		var values []string
		for _, v := range p.Values {
			values = append(values, asYAML(p.Name, v))
		}
		text += list(values, "or")
	} else {
		text += fmt.Sprintf("%s from %v to %v", p.Kind, p.Low, p.High)
		if p.Log {
			text += ", by its logarithm"
		}
		if p.Step != 0 {
			text += fmt.Sprintf(", in steps of %v", p.Step)
		}
	}
	if p.When != "" {
		text += ", when " + p.When
	}
	return text
}

// flow writes p as YAML's {key: value, ...} without the braces.
func (p Parameter) flow() string {
	parts := []string{"name: " + p.Name, "kind: " + p.Kind}
	if p.Kind == "choice" {
		var values []string
		for _, v := range p.Values {
			values = append(values, asYAML(p.Name, v))
		}
		parts = append(parts, "values: ["+strings.Join(values, ", ")+"]")
	} else {
		parts = append(parts, fmt.Sprintf("low: %v, high: %v", p.Low, p.High))
		if p.Log {
			parts = append(parts, "log: true")
		}
		if p.Step != 0 {
			parts = append(parts, fmt.Sprintf("step: %v", p.Step))
		}
	}
	if p.When != "" {
		parts = append(parts, "when: "+strconv.Quote(p.When))
	}
	return strings.Join(parts, ", ")
}

// Value is what c has at a key, in the types that [Parameter.Values] has.
func (c Config) Value(key string) (value any, known bool) {
	s, known := configKeys.lookup(key)
	if !known {
		return nil, false
	}
	return choice(s.of(c)), true
}

// checkParameters says what is wrong with the parameters by themselves.
func (s Sweep) checkParameters() []problem {
	var found []problem
	for i, p := range s.Parameters {
		report := func(format string, args ...any) {
			found = append(found, problem{fmt.Sprintf("parameters.%d", i), p.Name + fmt.Sprintf(format, args...)})
		}
		key, _ := configKeys.lookup(p.Name)
		kind := key.kind
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		whole := func(x float64) bool { return x == math.Trunc(x) && math.Abs(x) <= 1<<53 }
		switch p.Kind {
		case "float":
			if kind.Kind() != reflect.Float64 {
				report(" can't be of kind float: it is %s", want(key))
			}
		case "int":
			if k := kind.Kind(); k != reflect.Int && k != reflect.Uint64 && k != reflect.Float64 {
				report(" can't be of kind int: it is %s", want(key))
			} else if !whole(p.Low) || !whole(p.High) || !whole(p.Step) {
				report(" is of kind int, so low, high and step must be whole numbers")
			}
		case "choice":
		default:
			report(" is of kind %s, want %s", quote(p.Kind), "float, int or choice")
		}
		if p.Kind == "float" || p.Kind == "int" {
			switch {
			case p.Low >= p.High:
				report(": low is %v and high is %v; want low below high", p.Low, p.High)
			case p.Log && p.Low <= 0:
				report(": low is %v, want more than 0 where log is true", p.Low)
			case p.Log && p.Step != 0:
				report(" has both log and step; remove one")
			case p.Step < 0 || p.Step > (p.High-p.Low)*(1+1e-9): // 0.3-0.2 is less than 0.1
				report(": step is %v, want more than 0 and at most high-low", p.Step)
			case s.Method == "grid" && p.Kind == "float" && p.Step == 0:
				report(" has no end of values; for a grid, give step, or kind: choice")
			}
		}
		if slices.ContainsFunc(s.Parameters[:i], func(q Parameter) bool { return q.Name == p.Name }) {
			report(" is a parameter twice; keep one")
		}
		found = append(found, s.checkCondition(i, p)...)
	}
	return found
}

// checkCondition looks for the key that p depends on, and for its value.
func (s Sweep) checkCondition(i int, p Parameter) []problem {
	if p.When == "" {
		return nil
	}
	wrong := func(format string, args ...any) []problem {
		return []problem{{fmt.Sprintf("parameters.%d", i), p.Name + ": when " + fmt.Sprintf(format, args...)}}
	}
	on, value, valued := strings.Cut(p.When, "=")
	key, known := configKeys.lookup(on)
	if !known {
		return wrong("names an unknown key %s; %s", quote(on), configKeys.hint(on))
	}
	var is any
	if valued {
		n, err := scalarOrList(value)
		v, ok := any(nil), false
		if err == nil {
			v, ok = convert(n, key.kind)
		}
		if ok && key.oneOf != nil {
			ok = slices.Contains(key.oneOf, fmt.Sprint(v))
		}
		if !ok {
			return wrong("says that %s is %s, want %s", on, quote(value), want(key))
		}
		is = choice(reflect.ValueOf(v))
		// The condition is compared as text, or as a number: True isn't true.
		spelled := "null"
		if is != nil {
			spelled = fmt.Sprint(is)
		}
		number, _ := strconv.ParseFloat(spelled, 64)
		if x, err := strconv.ParseFloat(value, 64); value != spelled && (err != nil || x != number) {
			return wrong("is %s; write %s=%s", quote(p.When), on, spelled)
		}
	}
	at := slices.IndexFunc(s.Parameters, func(q Parameter) bool { return q.Name == on })
	switch {
	case at < 0: // the base says it
	case at >= i:
		return wrong("names %s; list that one before it", on)
	case s.Parameters[at].Kind != "choice":
		return wrong("names %s, which isn't a choice", on)
	case valued && !slices.Contains(s.Parameters[at].Values, is):
		return wrong("says that %s is %s, which isn't one of its values", on, value)
	}
	return nil
}
