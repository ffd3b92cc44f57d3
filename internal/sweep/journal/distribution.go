package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A Distribution is the set of values that a parameter is drawn from: Float, Int
// or Categorical. Optuna keeps a value in a form of its own, a number: an
// integer as float, a choice by its index.
type Distribution interface {
	// internal turns a value into Optuna's number; it fails outside the set.
	internal(value any) (float64, error)
	// external turns it back.
	external(number float64) (any, error)
	// compatible says whether Optuna lets a parameter have both in one study.
	compatible(other Distribution) bool
	// check fails where Optuna would, when it reads the distribution.
	check() error
	// encode is what Optuna names the distribution, and its attributes.
	encode() (name string, attributes object)
}

// Float is the numbers from Low to High, both included.
type Float struct {
	Low, High float64
	Step      float64 // only Low + a multiple of it; 0: any number between
	Log       bool    // drawn evenly by logarithm
}

// Int is the integers from Low to High, both included.
type Int struct {
	Low, High int64
	Step      int64 // only Low + a multiple of it; 0 is 1
	Log       bool  // drawn evenly by logarithm
}

// Categorical is one of Choices: nil, booleans, integers, floats or strings.
type Categorical struct{ Choices []any }

func (d Float) internal(value any) (float64, error) {
	v, ok := plain(value).(float64)
	if i, isInt := plain(value).(int64); isInt {
		v, ok = float64(i), true
	}
	if !ok || !(d.Low <= v && v <= d.High) {
		return 0, fmt.Errorf("%v is no number from %v to %v", value, d.Low, d.High)
	}
	return v, nil
}

func (d Float) external(number float64) (any, error) { return number, nil }

func (d Float) compatible(other Distribution) bool {
	o, ok := other.(Float)
	return ok && o.Log == d.Log
}

func (d Float) check() error {
	for _, v := range []float64{d.Low, d.High, d.Step} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("a bound or step is %v", v)
		}
	}
	return checkRange(d.Low, d.High, d.Step, d.Log, d.Log && d.Step != 0)
}

func (d Float) encode() (string, object) {
	var step any
	if d.Step != 0 {
		step = d.Step
	}
	return "FloatDistribution", object{{"step", step}, {"low", d.Low}, {"high", d.High}, {"log", d.Log}}
}

func (d Int) internal(value any) (float64, error) {
	v, ok := plain(value).(int64)
	if !ok || v < d.Low || v > d.High {
		return 0, fmt.Errorf("%v is no integer from %d to %d", value, d.Low, d.High)
	}
	return float64(v), nil
}

func (d Int) external(number float64) (any, error) { return int64(number), nil }

func (d Int) compatible(other Distribution) bool {
	o, ok := other.(Int)
	return ok && o.Log == d.Log
}

func (d Int) check() error { return checkRange(d.Low, d.High, d.Step, d.Log, d.Log && d.Step > 1) }

func (d Int) encode() (string, object) {
	return "IntDistribution", object{{"log", d.Log}, {"step", max(d.Step, 1)}, {"low", d.Low}, {"high", d.High}}
}

func checkRange[T int64 | float64](low, high, step T, log, logAndStep bool) error {
	switch {
	case low > high:
		return fmt.Errorf("low %v is above high %v", low, high)
	case step < 0:
		return fmt.Errorf("step %v is negative", step)
	case log && low <= 0:
		return fmt.Errorf("low %v has no logarithm", low)
	case logAndStep:
		return errors.New("it has a step and is logarithmic; take one")
	}
	return nil
}

func (d Categorical) internal(value any) (float64, error) {
	i := slices.IndexFunc(d.Choices, func(choice any) bool { return plain(choice) == plain(value) })
	if i < 0 {
		return 0, fmt.Errorf("%v is none of %v", value, d.Choices)
	}
	return float64(i), nil
}

func (d Categorical) external(number float64) (any, error) {
	if !(number >= 0 && int(number) < len(d.Choices)) {
		return nil, fmt.Errorf("choice %v of %d", number, len(d.Choices))
	}
	return d.Choices[int(number)], nil
}

func (d Categorical) compatible(other Distribution) bool {
	o, ok := other.(Categorical)
	return ok && slices.EqualFunc(d.Choices, o.Choices, func(a, b any) bool { return plain(a) == plain(b) })
}

func (d Categorical) check() error {
	if len(d.Choices) == 0 {
		return errors.New("it has no choices")
	}
	for _, c := range d.Choices {
		v, isFloat := plain(c).(float64)
		if plain(c) == (unknown{}) || isFloat && (math.IsNaN(v) || math.IsInf(v, 0)) {
			return fmt.Errorf("choice %v is no finite number, string, boolean or nil", c)
		}
	}
	return nil
}

func (d Categorical) encode() (string, object) {
	return "CategoricalDistribution", object{{"choices", d.Choices}}
}

// unknown stands for values that can't be choices.
type unknown struct{}

// plain makes values comparable, whatever size of number they came in.
func plain(value any) any {
	switch v := value.(type) {
	case int:
		return int64(v)
	case float32:
		return float64(v)
	case nil, bool, int64, float64, string:
		return v
	}
	return unknown{}
}

// distributionJSON is the JSON that Optuna puts, as a string, into a line.
func distributionJSON(d Distribution) (string, error) {
	if err := d.check(); err != nil {
		return "", err
	}
	name, attributes := d.encode()
	text, err := object{{"name", name}, {"attributes", attributes}}.json()
	return string(text), err
}

func parseDistribution(text string) (Distribution, error) {
	var d struct {
		Name       string          `json:"name"`
		Attributes json.RawMessage `json:"attributes"`
	}
	err := json.Unmarshal(quoteNonFinite([]byte(text)), &d)
	var parsed Distribution
	switch {
	case err != nil:
	case d.Name == "FloatDistribution":
		parsed, err = attributes[Float](d.Attributes)
	case d.Name == "IntDistribution":
		parsed, err = attributes[Int](d.Attributes)
	case d.Name == "CategoricalDistribution":
		var c Categorical
		c, err = attributes[Categorical](d.Attributes)
		for i, choice := range c.Choices {
			if n, ok := choice.(json.Number); ok {
				c.Choices[i] = number(n)
			}
		}
		parsed = c
	default:
		err = errors.New("it is of an unknown kind")
	}
	if err == nil {
		err = parsed.check()
	}
	if err != nil {
		return nil, fmt.Errorf("distribution %s: %w", text, err)
	}
	return parsed, nil
}

// attributes fills D's fields, which are named as Optuna's.
func attributes[D Distribution](text []byte) (d D, err error) {
	r := json.NewDecoder(bytes.NewReader(text))
	r.UseNumber()
	return d, r.Decode(&d)
}

// number is what Python makes of it: an integer where it is written as one.
func number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return i
	}
	f, err := n.Float64()
	if err != nil {
		return n.String()
	}
	return f
}
