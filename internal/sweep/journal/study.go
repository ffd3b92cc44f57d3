package journal

import (
	"encoding/json"
	"fmt"
	"maps"
)

// A study is what the operations so far amount to, for the study of one name. It
// follows Optuna's own replay in every case, or trials would change their numbers.
type study struct {
	name       string
	id         int   // among the file's studies; -1: there is none of the name
	directions []int // one an objective
	trials     []*Trial
	ids        []int // of trials, among all of the file

	others map[int]string          // studies that exist, this one too, by id
	next   int                     // study id
	all    []*Trial                // by trial id; nil: of another study
	parsed map[string]Distribution // by their JSON, which repeats in every trial
}

func newStudy(name string) *study {
	return &study{name: name, id: -1, others: map[int]string{}, parsed: map[string]Distribution{}}
}

func (s *study) snapshot() []Trial {
	all := make([]Trial, len(s.trials))
	for i, t := range s.trials {
		all[i] = t.snapshot()
	}
	return all
}

// apply follows one operation. What can't be, such as a value for a trial that is
// finished, is passed over: somebody lost a race. Errors are about lines that
// nobody could follow.
func (s *study) apply(op operation) error {
	switch *op.Code {
	case createStudy:
		s.create(op)
	case deleteStudy:
		delete(s.others, *op.Study)
		if *op.Study == s.id {
			s.id, s.directions, s.trials, s.ids = -1, nil, nil, nil
		}
	case createTrial:
		return s.createTrial(op)
	case setParam, setState, setIntermediate, setUserAttr, setSystemAttr:
		if *op.Trial < 0 || *op.Trial >= len(s.all) {
			return nil
		}
		if t := s.all[*op.Trial]; t != nil && !t.State.Finished() {
			return s.change(t, op)
		}
	}
	return nil
}

func (s *study) create(op operation) {
	for _, name := range s.others {
		if name == op.StudyName {
			return
		}
	}
	s.others[s.next] = op.StudyName
	if op.StudyName == s.name {
		s.id, s.directions = s.next, op.Directions
	}
	s.next++
}

func (s *study) createTrial(op operation) error {
	if _, ok := s.others[*op.Study]; !ok {
		return nil
	}
	if *op.Study != s.id {
		s.all = append(s.all, nil)
		return nil
	}
	t := &Trial{
		Number: len(s.trials), State: op.State, Start: op.Start.Time, End: op.Complete.Time,
		Params: map[string]Param{}, Intermediate: map[int]float64{},
		User: map[string]json.RawMessage{}, System: map[string]json.RawMessage{},
	}
	switch {
	case len(op.Values) > 0:
		t.Value = (*float64)(&op.Values[0])
	case op.Value != nil:
		t.Value = (*float64)(op.Value)
	}
	for step, value := range op.OnTheWay {
		t.Intermediate[step] = float64(value)
	}
	for name, value := range op.Params {
		if err := s.setParam(t, name, float64(value), op.Distributions[name]); err != nil {
			return err
		}
	}
	maps.Copy(t.User, op.UserAttrs)
	if err := t.setSystem(op.SystemAttrs); err != nil {
		return err
	}
	s.ids = append(s.ids, len(s.all))
	s.trials = append(s.trials, t)
	s.all = append(s.all, t)
	return nil
}

// change follows an operation on a trial that isn't finished.
func (s *study) change(t *Trial, op operation) error {
	switch *op.Code {
	case setParam:
		for _, other := range s.trials {
			if p, ok := other.Params[op.ParamName]; ok {
				d, err := s.distribution(op.Distribution)
				if err != nil {
					return err
				}
				if !p.Distribution.compatible(d) {
					return nil
				}
				break
			}
		}
		return s.setParam(t, op.ParamName, float64(op.ParamValue), op.Distribution)
	case setState:
		if op.State == Running && t.State == Running {
			return nil
		}
		if op.State == Running {
			t.Start = op.Start.Time
		}
		if op.State.Finished() {
			t.End = op.Complete.Time
		}
		t.State = op.State
		if len(op.Values) > 0 {
			t.Value = (*float64)(&op.Values[0])
		}
	case setIntermediate:
		t.Intermediate[op.Step] = float64(op.Intermediate)
	case setUserAttr:
		maps.Copy(t.User, op.UserAttr)
	case setSystemAttr:
		return t.setSystem(op.SystemAttr)
	}
	return nil
}

func (s *study) setParam(t *Trial, name string, internal float64, distribution string) error {
	d, err := s.distribution(distribution)
	if err != nil {
		return fmt.Errorf("parameter %s: %w", name, err)
	}
	value, err := d.external(internal)
	if err != nil {
		return fmt.Errorf("parameter %s: %w", name, err)
	}
	t.Params[name] = Param{Name: name, Value: value, Distribution: d}
	return nil
}

func (s *study) distribution(text string) (Distribution, error) {
	if d, ok := s.parsed[text]; ok {
		return d, nil
	}
	d, err := parseDistribution(text)
	if err == nil {
		s.parsed[text] = d
	}
	return d, err
}

func (t *Trial) setSystem(attrs map[string]json.RawMessage) error {
	maps.Copy(t.System, attrs)
	text, ok := attrs[leaseAttr]
	if !ok {
		return nil
	}
	t.Lease = Lease{}
	if err := json.Unmarshal(text, &t.Lease); err != nil {
		return fmt.Errorf("attribute %s: %w", leaseAttr, err)
	}
	return nil
}
