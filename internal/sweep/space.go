package sweep

import (
	"fmt"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/sweep/journal"
	"github.com/longform-go/longform/internal/sweep/search"
)

// Space is what a sweep draws from: its parameters, less those that depend by when on
// a setting that is off in the base and that the sweep doesn't vary.
func Space(c configs.Sweep) (search.Space, error) {
	base, err := configs.Load(c.Base, nil)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	var space search.Space
	for _, p := range c.Parameters {
		space = append(space, search.Parameter(p))
	}
	space = space.Bind(base.Value)
	if len(space) == 0 {
		return nil, fmt.Errorf("no parameter can take part: what they depend on by when is off in the base")
	}
	return space, space.Validate()
}

// sampler draws points of the space by the sweep's method. trials is how many there will
// be: as many as were asked for, or as a grid has points.
func sampler(c configs.Sweep, space search.Space) (trials int, s search.Sampler) {
	switch c.Method {
	case "grid":
		points, _ := space.Grid()
		if c.Trials > 0 {
			points = min(points, c.Trials)
		}
		return points, search.NewGrid(space)
	case "random":
		return c.Trials, search.NewRandom(space, c.Seed)
	}
	return c.Trials, search.NewTPE(space, c.Seed)
}

// params is a point as the journal keeps it.
func params(space search.Space, point search.Point) []journal.Param {
	var all []journal.Param
	for _, p := range space {
		value, active := point[p.Name]
		if !active {
			continue
		}
		var from journal.Distribution = journal.Categorical{Choices: p.Values}
		switch p.Kind {
		case "float":
			from = journal.Float{Low: p.Low, High: p.High, Step: p.Step, Log: p.Log}
		case "int":
			from = journal.Int{Low: int64(p.Low), High: int64(p.High), Step: int64(p.Step), Log: p.Log}
		}
		all = append(all, journal.Param{Name: p.Name, Value: value, Distribution: from})
	}
	return all
}

// Settings are a trial's values as overrides of the base, in the order of the space.
func (s *Study) Settings(t journal.Trial) []string {
	var settings []string
	for _, p := range s.Space {
		if value, active := t.Params[p.Name]; active {
			settings = append(settings, configs.Override(p.Name, value.Value))
		}
	}
	return settings
}

// recipe is the configuration of a trial's run.
func (s *Study) recipe(t journal.Trial) (configs.Config, error) {
	return configs.Load(s.Dir.base(), append(s.Settings(t), configs.Override("run.dir", s.Dir.Run(t.Number))))
}

// history is what the sampler and the pruner know of trials, in the journal's order, with
// values that are to be minimized.
func (s *Study) history(trials []journal.Trial) []search.Trial {
	all := make([]search.Trial, len(trials))
	for i, t := range trials {
		all[i] = s.known(t)
	}
	return all
}

func (s *Study) known(t journal.Trial) search.Trial {
	k := search.Trial{
		Number: t.Number, Point: search.Point{}, Intermediate: t.Intermediate,
		Done: t.State == journal.Complete, Pruned: t.State == journal.Pruned, Failed: t.State == journal.Fail,
	}
	for name, p := range t.Params {
		k.Point[name] = p.Value
	}
	if t.Value != nil {
		k.Value = s.sign * *t.Value
	}
	if s.sign < 0 {
		k.Intermediate = map[int]float64{}
		for step, value := range t.Intermediate {
			k.Intermediate[step] = -value
		}
	}
	return k
}
