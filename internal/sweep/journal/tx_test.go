package journal

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLeases moves the clock. "worker" has trial 0 for a minute from the start.
func TestLeases(t *testing.T) {
	type step struct {
		after time.Duration // since the start
		who   string
		op    func(*Tx) error
		lost  bool
	}
	claim := func(tx *Tx) error { return tx.Claim(0, time.Minute) }
	renew := func(tx *Tx) error { return tx.Renew(0, time.Minute) }
	tests := []struct {
		name  string
		steps []step
	}{
		{"nobody takes what another has", []step{{59 * time.Second, "other", claim, true}}},
		{"nobody reports on what another has", []step{{0, "other", report(0, 1, 1), true}, {0, "other", finish(0, Fail), true}, {0, "other", renew, true}}},
		{"an abandoned trial is claimed", []step{{61 * time.Second, "other", claim, false}, {61 * time.Second, "other", report(0, 1, 1), false}}},
		{"renewed, it isn't abandoned", []step{{50 * time.Second, "worker", renew, false}, {100 * time.Second, "other", claim, true}, {111 * time.Second, "other", claim, false}}},
		{"who comes late has lost it", []step{
			{61 * time.Second, "other", claim, false}, {62 * time.Second, "worker", report(0, 1, 1), true},
			{62 * time.Second, "worker", renew, true}, {62 * time.Second, "worker", finish(0, Complete, 1), true},
		}},
		{"late, and nobody else came", []step{{time.Hour, "worker", report(0, 1, 1), false}, {time.Hour, "worker", finish(0, Complete, 1), false}}},
		{"claimed once", []step{{61 * time.Second, "other", claim, false}, {61 * time.Second, "worker", claim, true}}},
		{"claimed again by its worker", []step{{time.Second, "worker", claim, false}, {60 * time.Second, "other", claim, true}}},
		{"finished once", []step{
			{0, "worker", finish(0, Complete, 1), false}, {0, "worker", finish(0, Complete, 2), true},
			{0, "worker", report(0, 1, 1), true}, {time.Hour, "other", claim, true},
			{0, "worker", func(tx *Tx) error { return tx.SetUser(0, "note", 1) }, true},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.log")
			start := time.Now()
			clock := start
			workers := map[string]*Journal{"worker": open(t, path, "worker"), "other": open(t, path, "other")}
			for _, j := range workers {
				j.now = func() time.Time { return clock }
			}
			do(t, workers["worker"], create())
			for i, s := range test.steps {
				clock = start.Add(s.after)
				err := workers[s.who].Locked(s.op)
				if errors.Is(err, ErrLost) != s.lost || !s.lost && err != nil {
					t.Fatalf("step %d: error %v, want lost to be %v", i, err, s.lost)
				}
			}
		})
	}
}

// TestWaiting claims what Optuna's enqueue_trial puts into the queue.
func TestWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	queued := `{"op_code":4,"worker_id":"w","study_id":0,"datetime_start":null,"state":4,"value":null,"values":null,"distributions":{},"params":{},"user_attrs":{},"system_attrs":{"fixed_params":{"lr":0.01}},"intermediate_values":{}}` + "\n"
	if err := os.WriteFile(path, []byte(studyLine+queued), 0o644); err != nil {
		t.Fatal(err)
	}
	j, other := open(t, path, "worker"), open(t, path, "other")
	claim := func(tx *Tx) error { return tx.Claim(0, time.Minute) }
	do(t, j, claim)
	if err := other.Locked(claim); !errors.Is(err, ErrLost) {
		t.Errorf("claimed twice: %v", err)
	}
	if got := trials(t, other)[0]; got.State != Running || got.Lease.Worker != "worker" || got.Start.IsZero() {
		t.Errorf("the claimed trial is %v", got)
	}
}

// TestOptunasOwnTrial: a running trial without a lease is an Optuna process's.
func TestOptunasOwnTrial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	if err := os.WriteFile(path, []byte(studyLine+trialLine), 0o644); err != nil {
		t.Fatal(err)
	}
	j := open(t, path, "worker")
	if err := j.Locked(func(tx *Tx) error { return tx.Claim(0, time.Minute) }); !errors.Is(err, ErrLost) {
		t.Errorf("claimed from Optuna: %v", err)
	}
}

// TestRefused: nothing gets into the file that Optuna can't read or would read
// as something else.
func TestRefused(t *testing.T) {
	value := func(value any, d Distribution) func(*Tx) error { return create(Param{"p", value, d}) }
	tests := []struct {
		name string
		op   func(*Tx) error
		want string
	}{
		{"complete without a value", finish(0, Complete), "without a value"},
		{"complete with NaN", finish(0, Complete, math.NaN()), "without a value"},
		{"failed with a value", finish(0, Fail, 1), "with a value"},
		{"finished as running", finish(0, Running), "can't finish as running"},
		{"no such trial", report(1, 1, 1), "trial 1: the study study has 1"},
		{"negative trial", report(-1, 1, 1), "trial -1"},
		{"attribute that isn't JSON", func(tx *Tx) error { return tx.SetUser(0, "note", func() {}) }, "unsupported type"},
		{"no distribution", value(1, nil), "parameter p has no distribution"},
		{"float beyond", value(1.5, Float{Low: 0, High: 1}), "1.5 is no number from 0 to 1"},
		{"NaN", value(math.NaN(), Float{Low: 0, High: 1}), "NaN is no number"},
		{"integer beyond", value(0, layers), "0 is no integer from 1 to 64"},
		{"float for an integer", value(2.0, layers), "2 is no integer"},
		{"no choice", value("x", choice), "x is none of"},
		{"list as choice", value(1, Categorical{Choices: []any{1, []int{2}}}), "choice [2] is no"},
		{"no choices", value(1, Categorical{}), "has no choices"},
		{"logarithm of zero", value(1, Float{Low: 0, High: 1, Log: true}), "has no logarithm"},
		{"logarithm and step", value(1, Float{Low: 1, High: 2, Step: 1, Log: true}), "take one"},
		{"upside down", value(1, Int{Low: 2, High: 1}), "low 2 is above high 1"},
		{"infinite", value(1, Float{Low: 0, High: math.Inf(1)}), "is +Inf"},
	}
	path := filepath.Join(t.TempDir(), "journal.log")
	j := open(t, path, "worker")
	do(t, j, create())
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := j.Locked(test.op)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Errorf("it wrote %s", after[len(before):])
			}
		})
	}
}
