package journal

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// ErrLost is the error of who works on a trial that isn't theirs, because it is
// finished or another worker has it by now: stop the work, its result is of no use.
var ErrLost = errors.New("not this worker's trial")

// A Tx is a transaction: see Journal.Locked. What it did shows in its Trials at once.
type Tx struct {
	journal *Journal
	lines   [][]byte
}

// Trials returns all trials of the study, by number. What they point to is not
// to be changed.
func (tx *Tx) Trials() []Trial { return tx.journal.study.snapshot() }

// Create adds a trial that runs and that this worker has for as long as lease
// says. A parameter that isn't active is left out.
func (tx *Tx) Create(params []Param, system map[string]any, lease time.Duration) (number int, err error) {
	values, distributions := object{}, object{}
	for _, p := range params {
		if p.Distribution == nil {
			return 0, fmt.Errorf("parameter %s has no distribution", p.Name)
		}
		text, err := distributionJSON(p.Distribution)
		if err != nil {
			return 0, fmt.Errorf("parameter %s: %w", p.Name, err)
		}
		value, err := p.Distribution.internal(p.Value)
		if err != nil {
			return 0, fmt.Errorf("parameter %s: %w", p.Name, err)
		}
		values = append(values, field{p.Name, value})
		distributions = append(distributions, field{p.Name, text})
	}
	attrs := object{{leaseAttr, tx.lease(lease)}}
	for _, key := range slices.Sorted(maps.Keys(system)) {
		attrs = append(attrs, field{key, system[key]})
	}
	s := tx.journal.study
	err = tx.write(createTrial, object{
		{"study_id", s.id}, {"datetime_start", tx.now()}, {"state", Running}, {"value", nil}, {"values", nil},
		{"distributions", distributions}, {"params", values},
		{"user_attrs", object{}}, {"system_attrs", attrs}, {"intermediate_values", object{}},
	})
	return len(s.trials) - 1, err
}

// Claim takes a trial that waits, that was abandoned, or that this worker has
// already. It fails with ErrLost where another has it.
func (tx *Tx) Claim(number int, lease time.Duration) error {
	t, err := tx.trial(number)
	if err != nil {
		return err
	}
	switch {
	case t.State == Waiting:
		if err := tx.write(setState, object{
			{"trial_id", tx.id(number)}, {"state", Running}, {"values", nil}, {"datetime_start", tx.now()},
		}); err != nil {
			return err
		}
	case t.State == Running && (t.Lease.Worker == tx.journal.worker || t.Abandoned(tx.journal.now())):
	default:
		return tx.lost(t)
	}
	return tx.SetSystem(number, leaseAttr, tx.lease(lease))
}

// Renew says that this worker lives and works on the trial. Do it at a third of
// the lease's length.
func (tx *Tx) Renew(number int, lease time.Duration) error {
	if err := tx.mine(number); err != nil {
		return err
	}
	return tx.SetSystem(number, leaseAttr, tx.lease(lease))
}

// Report adds the metric after a step, NaN and infinities too. A second report
// of the step replaces the first.
func (tx *Tx) Report(number, step int, value float64) error {
	if err := tx.mine(number); err != nil {
		return err
	}
	return tx.write(setIntermediate, object{
		{"trial_id", tx.id(number)}, {"step", step}, {"intermediate_value", value},
	})
}

// Finish ends a trial. As in Optuna, a complete one has a value that isn't NaN,
// a failed one has none, and a pruned one may have its last.
func (tx *Tx) Finish(number int, state State, value *float64) error {
	if err := tx.mine(number); err != nil {
		return err
	}
	switch {
	case !state.Finished():
		return fmt.Errorf("trial %d can't finish as %s", number, state)
	case state == Complete && (value == nil || math.IsNaN(*value)):
		return fmt.Errorf("trial %d can't be complete without a value", number)
	case state == Fail && value != nil:
		return fmt.Errorf("trial %d can't fail with a value", number)
	}
	var values any
	if value != nil {
		values = []any{*value}
	}
	return tx.write(setState, object{
		{"trial_id", tx.id(number)}, {"state", state}, {"values", values}, {"datetime_complete", tx.now()},
	})
}

// SetUser gives a trial that isn't finished an attribute that people see.
func (tx *Tx) SetUser(number int, key string, value any) error {
	return tx.set(setUserAttr, "user_attr", number, key, value)
}

// SetSystem gives a trial that isn't finished an attribute for programs.
func (tx *Tx) SetSystem(number int, key string, value any) error {
	return tx.set(setSystemAttr, "system_attr", number, key, value)
}

func (tx *Tx) set(code int, name string, number int, key string, value any) error {
	t, err := tx.trial(number)
	if err != nil {
		return err
	}
	if t.State.Finished() {
		return tx.lost(t)
	}
	return tx.write(code, object{{"trial_id", tx.id(number)}, {name, object{{key, value}}}})
}

func (tx *Tx) createStudy() error {
	if tx.journal.study.id < 0 {
		err := tx.write(createStudy, object{
			{"study_name", tx.journal.name}, {"directions", []int{tx.journal.direction()}},
		})
		if err != nil {
			return err
		}
	}
	return tx.journal.check()
}

// write adds a line, and follows it as everyone will who reads it.
func (tx *Tx) write(code int, fields object) error {
	line, err := append(object{{"op_code", code}, {"worker_id", tx.journal.worker}}, fields...).json()
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	op, err := decode(line)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	tx.lines = append(tx.lines, line)
	return tx.journal.study.apply(op)
}

func (tx *Tx) trial(number int) (*Trial, error) {
	s := tx.journal.study
	if number < 0 || number >= len(s.trials) {
		return nil, fmt.Errorf("trial %d: the study %s has %d", number, s.name, len(s.trials))
	}
	return s.trials[number], nil
}

// mine fails unless this worker has the trial. A lease that ran out is still
// its worker's, as long as nobody else has taken the trial.
func (tx *Tx) mine(number int) error {
	t, err := tx.trial(number)
	if err != nil {
		return err
	}
	if t.State != Running || t.Lease.Worker != tx.journal.worker {
		return tx.lost(t)
	}
	return nil
}

func (tx *Tx) lost(t *Trial) error {
	if t.State == Running {
		return fmt.Errorf("%w: trial %d is worked on by %q", ErrLost, t.Number, t.Lease.Worker)
	}
	return fmt.Errorf("%w: trial %d is %s", ErrLost, t.Number, t.State)
}

func (tx *Tx) id(number int) int { return tx.journal.study.ids[number] }

func (tx *Tx) now() string { return tx.journal.now().UTC().Format(microseconds) }

func (tx *Tx) lease(length time.Duration) Lease {
	return Lease{Worker: tx.journal.worker, Until: tx.journal.now().Add(length).UTC().Truncate(time.Microsecond)}
}
