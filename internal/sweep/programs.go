package sweep

import (
	"fmt"
	"slices"
	"strings"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/sweep/search"
)

// mostPrograms bounds how many programs a plan compiles.
const mostPrograms = 24

// Variants are combinations of settings of a sweep's parameters.
type Variants struct {
	Points [][]string // overrides of the base
	Left   int        // how many more there are
}

// Programs lists the programs that can differ in memory among a sweep's trials: each
// combination of the choices, and of the ends of the ranges, that change them. Numbers
// that a program is given, such as the learning rate, aren't among these; of those that
// change it by being zero or not, such as the norm to clip at, one value of each is.
func Programs(space search.Space) Variants {
	space = slices.Clone(space)
	for i, p := range space {
		needed := slices.ContainsFunc(space, func(q search.Parameter) bool {
			on, _, _ := strings.Cut(q.When, "=")
			return on == p.Name
		})
		if zeroOrNot(p.Name) && !needed {
			space[i] = choice(p)
			space[i].Values = firstOfEach(space[i].Values)
		}
	}
	return corners(space, shapes, mostPrograms)
}

// firstOfEach gives the first value of each kind: null, zero, and the rest.
func firstOfEach(values []any) []any {
	kind := func(v any) any {
		if v == nil {
			return nil
		}
		return v == 0.0
	}
	var first []any
	for _, v := range values {
		if !slices.ContainsFunc(first, func(w any) bool { return kind(w) == kind(v) }) {
			first = append(first, v)
		}
	}
	return first
}

// choice is a parameter as a choice: of its values, or of the ends of its range.
func choice(p search.Parameter) search.Parameter {
	switch p.Kind {
	case "float":
		p.Values = []any{p.Low, p.High}
	case "int":
		p.Values = []any{int64(p.Low), int64(p.High)}
	}
	return search.Parameter{Name: p.Name, Kind: "choice", Values: p.Values, When: p.When}
}

// corners lists combinations of choices and of the ends of ranges, at most so many, of
// the parameters that are asked for and of those that they depend on.
func corners(space search.Space, asked func(key string) bool, most int) Variants {
	var ends search.Space
	needed := map[string]bool{}
	for _, p := range slices.Backward(space) {
		if !asked(p.Name) && !needed[p.Name] {
			continue
		}
		if on, _, _ := strings.Cut(p.When, "="); on != "" {
			needed[on] = true
		}
		ends = append(search.Space{choice(p)}, ends...)
	}
	points, _ := ends.Grid() // of choices, so known
	v := Variants{}
	n := min(points, most)
	for i := range n {
		at := i
		if n > 1 {
			at = int(float64(i) / float64(n-1) * float64(points-1)) // spread, both ends included
		}
		point, err := search.NewGrid(ends).Sample(at, nil)
		if err != nil {
			break // a grid has its points
		}
		var settings []string
		for _, p := range ends {
			if value, active := point[p.Name]; active {
				settings = append(settings, configs.Override(p.Name, value))
			}
		}
		v.Points = append(v.Points, settings)
	}
	v.Left = points - len(v.Points)
	return v
}

// mostCorners bounds how many combinations Check reads.
const mostCorners = 512

// Check reads the recipes of all combinations of choices and ends of ranges, up to a
// bound. broken describes those that are no valid recipes: their trials will fail at once,
// and the others run. err refuses a value that is in no valid recipe at all.
func Check(c configs.Sweep, space search.Space) (broken []string, err error) {
	all := corners(space, func(string) bool { return true }, mostCorners)
	works, reasons := map[string]bool{}, map[string]string{}
	var settings []string // in the order of the space
	for _, point := range all.Points {
		_, err := configs.Load(c.Base, append(slices.Clone(point), configs.Override("run.dir", c.Dir)))
		if err != nil {
			broken = append(broken, strings.Join(point, " ")+": "+oneLine(err.Error()))
		}
		for _, setting := range point {
			if _, seen := works[setting]; !seen {
				settings = append(settings, setting)
			}
			works[setting] = works[setting] || err == nil
			if err != nil && reasons[setting] == "" {
				reasons[setting] = oneLine(err.Error())
			}
		}
	}
	if all.Left > 0 {
		return broken, nil // what wasn't tried may work
	}
	for _, setting := range settings {
		if !works[setting] {
			return broken, fmt.Errorf("no trial with %s could run (%s); take it out, change the base, or make what it needs a parameter", setting, reasons[setting])
		}
	}
	return broken, nil
}

// shapes says whether a key changes what the program of a step holds in memory.
func shapes(key string) bool {
	switch key {
	case "optim.kind", "optim.clip_norm", "optim.gradients", "optim.relative_step", "run.batch_size", "run.micro_batch_size",
		"data.max_length", "data.max_target_length", "data.packing", "data.eoi":
		return true
	}
	return strings.HasPrefix(key, "model.") && key != "model.lora.alpha"
}

// zeroOrNot says whether of a number that changes the program only this counts for its memory.
func zeroOrNot(key string) bool {
	return key == "optim.clip_norm" || key == "model.dropout" || key == "model.lora.dropout"
}

// Longest are the settings of the longest trials: the largest values of the parameters
// that say how long a run is.
func Longest(space search.Space) []string {
	var settings []string
	for _, p := range space {
		if p.Name != "run.steps" && p.Name != "run.epochs" {
			continue
		}
		largest := int64(0)
		for _, v := range choice(p).Values {
			if n, ok := v.(int64); ok {
				largest = max(largest, n)
			}
		}
		settings = append(settings, configs.Override(p.Name, largest))
	}
	return settings
}

// Count is how many trials a sweep will have: as many as it asks for, or as its grid has
// points.
func Count(c configs.Sweep, space search.Space) int {
	n, _ := sampler(c, space)
	return n
}
