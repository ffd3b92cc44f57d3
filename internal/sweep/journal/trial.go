package journal

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// State is where a trial stands; the numbers are Optuna's.
type State int

// The states of a trial.
const (
	Running  State = iota
	Complete       // it has a value
	Pruned         // it was stopped early; it may have a value
	Fail           // it has none
	Waiting        // somebody asked for it, and nobody has started it
)

func (s State) String() string {
	if s < Running || s > Waiting {
		return fmt.Sprintf("state %d", int(s))
	}
	return [...]string{"running", "complete", "pruned", "failed", "waiting"}[s]
}

// Finished says whether the trial can't change any more.
func (s State) Finished() bool { return s == Complete || s == Pruned || s == Fail }

// A Trial is one point of the search space and what came of it.
type Trial struct {
	Number       int // counts from 0
	State        State
	Params       map[string]Param
	Value        *float64        // the metric; nil: there is none
	Intermediate map[int]float64 // the metric on the way, by training step; may be NaN or infinite
	User, System map[string]json.RawMessage
	Start, End   time.Time // UTC; zero: not yet
	Lease        Lease     // kept among the system attributes
}

// A Lease says who works on a running trial. Who doesn't renew it in time is
// taken for dead; so a lease is much longer than the clocks of the machines differ.
// The zero Lease is nobody's: Optuna's own trials have none.
type Lease struct {
	Worker string    `json:"worker"`
	Until  time.Time `json:"until"`
}

// leaseAttr is the system attribute that holds the lease.
const leaseAttr = "longform:lease"

// Abandoned says whether the trial was being worked on by one who must be dead
// by now, so that it can be claimed.
func (t Trial) Abandoned(now time.Time) bool {
	return t.State == Running && t.Lease.Worker != "" && now.After(t.Lease.Until)
}

// A Param is a parameter's value and what it was drawn from.
type Param struct {
	Name         string
	Value        any // float64 of a Float, int64 of an Int; of a Categorical, a choice: nil, bool, int64, float64 or string
	Distribution Distribution
}

// snapshot is a copy that later operations don't change. Finished trials never
// change, so their maps are shared.
func (t *Trial) snapshot() Trial {
	c := *t
	if !t.State.Finished() {
		c.Params, c.Intermediate = maps.Clone(t.Params), maps.Clone(t.Intermediate)
		c.User, c.System = maps.Clone(t.User), maps.Clone(t.System)
	}
	return c
}
