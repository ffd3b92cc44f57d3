package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, path, worker string) *Journal {
	t.Helper()
	j, err := Open(path, "study", true, worker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func trials(t *testing.T, j *Journal) []Trial {
	t.Helper()
	all, err := j.Trials()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// do runs operations in one transaction; each has to succeed.
func do(t *testing.T, j *Journal, ops ...func(*Tx) error) {
	t.Helper()
	err := j.Locked(func(tx *Tx) error {
		for _, op := range ops {
			if err := op(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func create(params ...Param) func(*Tx) error {
	return func(tx *Tx) error {
		_, err := tx.Create(params, map[string]any{"attempt": 1}, time.Minute)
		return err
	}
}

func report(number, step int, value float64) func(*Tx) error {
	return func(tx *Tx) error { return tx.Report(number, step, value) }
}

func finish(number int, state State, values ...float64) func(*Tx) error {
	return func(tx *Tx) error {
		if len(values) == 0 {
			return tx.Finish(number, state, nil)
		}
		return tx.Finish(number, state, &values[0])
	}
}

var (
	rate   = Float{Low: 1e-5, High: 1e-1, Log: true}
	drop   = Float{Low: 0, High: 0.5, Step: 0.25}
	layers = Int{Low: 1, High: 64, Step: 1, Log: true}
	even   = Int{Low: 0, High: 10, Step: 2}
	choice = Categorical{Choices: []any{nil, true, int64(8), 2.0, `"é"`}}
)

// write makes a study of every kind of trial, parameter and transaction.
func write(t *testing.T, j *Journal) {
	t.Helper()
	do(t, j, create(Param{"lr", 0.001, rate}, Param{"drop", 0.25, drop}, Param{"layers", 12, layers}, Param{"even", 4, even}, Param{"kind", "\"é\"", choice}))
	do(t, j, report(0, 10, 2.5), report(0, 20, math.NaN()), report(0, 30, math.Inf(1)))
	do(t, j, func(tx *Tx) error { return tx.SetUser(0, "note", []any{1, "two", nil}) },
		func(tx *Tx) error { return tx.SetSystem(0, "run", map[string]any{"dir": "trials/0000"}) })
	do(t, j, create(Param{"lr", 1e-5, rate}, Param{"kind", nil, choice}), create(Param{"kind", 2.0, choice}))
	do(t, j, report(1, 10, 0.5), finish(1, Complete, 0.25))
	do(t, j, report(2, 10, 7), report(2, 10, 6), finish(2, Pruned, 6))
	do(t, j, create(Param{"kind", true, choice}), create(), create())
	do(t, j, finish(3, Fail), finish(4, Pruned), finish(5, Complete, math.Inf(1)))
	do(t, j, func(tx *Tx) error { return tx.Renew(0, time.Hour) })
}

// TestReadAgain has three readers of the same study: who wrote it, who followed
// while it was written, and who opens it then.
func TestReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	writer, follower := open(t, path, "writer"), open(t, path, "follower")
	write(t, writer)
	var within []Trial
	do(t, writer, create(Param{"kind", 8, choice}), report(6, 1, 1.5), func(tx *Tx) error { within = tx.Trials(); return nil })
	for name, got := range map[string][]Trial{
		"writer": trials(t, writer), "follower": trials(t, follower), "reader": trials(t, open(t, path, "reader")),
	} {
		if !same(got, within) {
			t.Errorf("%s reads\n%v\nthe transaction had\n%v", name, got, within)
		}
	}
	first := within[0]
	want := Trial{
		Number: 0, State: Running, Intermediate: map[int]float64{10: 2.5, 20: math.NaN(), 30: math.Inf(1)},
		Params: map[string]Param{
			"lr": {"lr", 0.001, rate}, "drop": {"drop", 0.25, drop}, "layers": {"layers", int64(12), layers},
			"even": {"even", int64(4), even}, "kind": {"kind", `"é"`, choice},
		},
		User: map[string]json.RawMessage{"note": json.RawMessage(`[1,"two",null]`)},
		System: map[string]json.RawMessage{
			"attempt": json.RawMessage(`1`), "run": json.RawMessage(`{"dir":"trials/0000"}`), leaseAttr: first.System[leaseAttr],
		},
		Start: first.Start, Lease: Lease{"writer", first.Lease.Until},
	}
	if !same([]Trial{first}, []Trial{want}) {
		t.Errorf("trial 0 is\n%v\nwant\n%v", first, want)
	}
	if d := time.Until(first.Lease.Until); d < 59*time.Minute || d > time.Hour {
		t.Errorf("renewed for an hour, the lease ends in %v", d)
	}
	if d := time.Since(first.Start); d < 0 || d > time.Minute {
		t.Errorf("the trial started %v ago", d)
	}
	var states []State
	for _, trial := range within {
		states = append(states, trial.State)
	}
	if want := []State{Running, Complete, Pruned, Fail, Pruned, Complete, Running}; !slices.Equal(states, want) {
		t.Errorf("states %v, want %v", states, want)
	}
	if v := within[2]; *v.Value != 6 || v.Intermediate[10] != 6 || v.End.IsZero() {
		t.Errorf("the pruned trial is %v", v)
	}
}

// same compares trials, where NaN is NaN.
func same(a, b []Trial) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	for _, trials := range [][]Trial{a, b} {
		for i := range trials {
			text := fmt.Sprint(trials[i].Intermediate) // in order of the keys
			trials[i].User = map[string]json.RawMessage{"user": []byte(fmt.Sprint(trials[i].User)), "on the way": []byte(text)}
			trials[i].Intermediate = nil
		}
	}
	return reflect.DeepEqual(a, b)
}

// TestPrefixes cuts the file anywhere, as a crash may. What was there after each
// transaction is what a reader finds, as far as it's whole.
func TestPrefixes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal.log")
	j := open(t, path, "worker")
	type stage struct {
		size   int
		trials []Trial
	}
	var stages []stage
	mark := func() {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		stages = append(stages, stage{int(info.Size()), trials(t, j)})
	}
	mark()
	for _, ops := range [][]func(*Tx) error{
		{create(Param{"lr", 0.001, rate})},
		{report(0, 1, 2), report(0, 2, 1), finish(0, Complete, 1)},
		{create(), create(), finish(1, Fail)},
	} {
		do(t, j, ops...)
		mark()
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := range text {
		if size%5 != 0 && !bytes.Contains(text[max(size-2, 0):size+1], []byte("\n")) {
			continue // around the ends of lines every byte, elsewhere some
		}
		torn := filepath.Join(dir, fmt.Sprint("torn", size))
		if err := os.WriteFile(torn, text[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		got := trials(t, open(t, torn, "reader"))
		want := stages[0]
		for _, s := range stages {
			if s.size <= size {
				want = s
			}
		}
		if !same(got, want.trials) {
			t.Fatalf("of %d bytes it reads\n%v\nwant\n%v", size, got, want.trials)
		}
		if left, _ := os.ReadFile(torn); size >= stages[0].size && !bytes.Equal(left, text[:want.size]) {
			t.Fatalf("of %d bytes %d are left, want %d", size, len(left), want.size)
		}
		os.Remove(torn)
	}
}

// TestTornWhileOpen lets one worker die while others have the file open.
func TestTornWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	j, other := open(t, path, "worker"), open(t, path, "other")
	do(t, j, create())
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fmt.Fprint(file, `{"op_code":7,"worker_id":"dead","trial_id":0,"step":1,"intermediate_value":1,"transaction_left":1}`+"\n"+`{"op_code":7,"wor`)
	if got := trials(t, other); len(got) != 1 || len(got[0].Intermediate) != 0 {
		t.Errorf("half a transaction is read: %v", got)
	}
	do(t, other, create())
	for _, j := range []*Journal{j, other, open(t, path, "reader")} {
		if got := trials(t, j); len(got) != 2 || len(got[0].Intermediate) != 0 {
			t.Errorf("after the cut it reads %v", got)
		}
	}
}

const (
	studyLine = `{"op_code":0,"worker_id":"w","study_name":"study","directions":[1]}` + "\n"
	trialLine = `{"op_code":4,"worker_id":"w","study_id":0,"datetime_start":"2026-01-02T03:04:05.678901+00:00"}` + "\n"
)

func TestDamage(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"torn line in the middle", studyLine + `{"op_code":4,"work` + "\n" + trialLine, ":2: a torn or foreign line"},
		{"torn line with another in it", studyLine + `{"op_code":4,"work` + trialLine, ":2: a torn or foreign line"},
		{"unknown operation", studyLine + trialLine + `{"op_code":11,"worker_id":"w"}` + "\n", ":3: op_code 11 is unknown"},
		{"no operation", studyLine + "{}\n", ":2: no op_code"},
		{"no trial", studyLine + `{"op_code":7,"worker_id":"w","step":1,"intermediate_value":1.0}` + "\n", ":2: op_code 7 without trial_id"},
		{"unknown state", studyLine + trialLine + `{"op_code":6,"worker_id":"w","trial_id":0,"state":5,"values":null}` + "\n", ":3: state 5 is unknown"},
		{"unknown distribution", studyLine + trialLine + `{"op_code":5,"worker_id":"w","trial_id":0,"param_name":"x","param_value_internal":1.0,"distribution":"{\"name\": \"Zipf\", \"attributes\": {}}"}` + "\n", ":3: parameter x: distribution"},
		{"inside a transaction", studyLine + strings.TrimSuffix(trialLine, "}\n") + `,"transaction_left":1}` + "\n" + `{"op_code":9,"worker_id":"w","trial_id":0,"system_attr":{"longform:lease":7}}` + "\n", ":3: attribute longform:lease"},
		{"something else", "name: t5-lr\nbase: longform-t5-xl.yaml\n", ":1: a torn or foreign line"},
		{"something else without lines", "PK\x03\x04", ":1: not a journal"},
		{"the other goal", strings.Replace(studyLine, "[1]", "[2]", 1), "has the other goal"},
		{"two goals", strings.Replace(studyLine, "[1]", "[1,2]", 1), "has 2 objectives"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.log")
			if err := os.WriteFile(path, []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path, "study", true, "worker")
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, test.want)
			}
			if left, _ := os.ReadFile(path); string(left) != test.text {
				t.Errorf("the file was changed to %q", left)
			}
		})
	}
}

// TestDamageWhileOpen: an error doesn't stay once the file is repaired.
func TestDamageWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	j := open(t, path, "worker")
	do(t, j, create())
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{string(good) + "torn\n", studyLine[:20]} {
		put(bad)
		if got, err := j.Trials(); err == nil {
			t.Errorf("of %q it reads %v", bad, got)
		}
		if err := j.Locked(create()); err == nil {
			t.Errorf("it appends to %q", bad)
		}
		put(string(good))
		if got := trials(t, j); len(got) != 1 {
			t.Errorf("repaired, it reads %v", got)
		}
	}
}

// TestDeletedStudy: who still works on it hears of it; who opens it begins anew.
func TestDeletedStudy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	j := open(t, path, "worker")
	do(t, j, create())
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fmt.Fprintln(file, `{"op_code":1,"worker_id":"w","study_id":0}`)
	if _, err := j.Trials(); err == nil || !strings.Contains(err.Error(), "deleted") {
		t.Errorf("error %v", err)
	}
	if err := j.Locked(create()); err == nil || !strings.Contains(err.Error(), "deleted") {
		t.Errorf("error %v", err)
	}
	again := open(t, path, "other")
	do(t, again, create(), finish(0, Complete, 1))
	if got := trials(t, again); len(got) != 1 || got[0].State != Complete {
		t.Errorf("the new study has %v", got)
	}
}

// TestNothingOfAFailure: what a transaction did before it failed is undone.
func TestNothingOfAFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	j := open(t, path, "worker")
	do(t, j, create())
	before, want := trials(t, j), errors.New("changed my mind")
	err := j.Locked(func(tx *Tx) error {
		return errors.Join(create()(tx), finish(0, Complete, 1)(tx), want)
	})
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
	if got := trials(t, j); !same(got, before) {
		t.Errorf("after a failed transaction it has %v, want %v", got, before)
	}
	if got := trials(t, open(t, path, "reader")); !same(got, before) {
		t.Errorf("after a failed transaction the file has %v, want %v", got, before)
	}
}

// TestOnlyWhatIsNew makes what was read already unreadable.
func TestOnlyWhatIsNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	j, other := open(t, path, "worker"), open(t, path, "other")
	do(t, other, create())
	trials(t, j)
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte("!!!"), 0); err != nil {
		t.Fatal(err)
	}
	do(t, other, create())
	do(t, j, create())
	if got := trials(t, j); len(got) != 3 {
		t.Errorf("%d trials, want 3", len(got))
	}
}

// TestReturnedTrialsStay: what a caller holds isn't changed behind its back.
func TestReturnedTrialsStay(t *testing.T) {
	j := open(t, filepath.Join(t.TempDir(), "journal.log"), "worker")
	do(t, j, create(Param{"lr", 0.001, rate}), report(0, 1, 1))
	before := trials(t, j)
	text := fmt.Sprint(before)
	do(t, j, report(0, 2, 2), func(tx *Tx) error { return tx.SetUser(0, "note", 1) }, finish(0, Complete, 1))
	if got := fmt.Sprint(before); got != text {
		t.Errorf("a trial that was returned became\n%s\nit was\n%s", got, text)
	}
}
