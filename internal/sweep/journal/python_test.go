package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/testneeds"
)

// optuna runs testdata/optuna_study.py and returns what it prints.
func optuna(t *testing.T, args ...string) []byte {
	t.Helper()
	python := testneeds.Python(t, "optuna", "pandas")
	return testneeds.Output(t, exec.Command(python, append([]string{"-W", "ignore", filepath.Join("testdata", "optuna_study.py")}, args...)...))
}

// dumped is what Optuna makes of a study.
type dumped struct {
	Best     int
	Minimize bool
	States   []string // of its data frame, whose columns are next
	Columns  []string
	Trials   []struct {
		ID, Number    int
		State         State
		Params        map[string]any
		Distributions map[string]json.RawMessage
		Value         *string
		Intermediate  map[int]string
		User, System  map[string]json.RawMessage
		Start, End    *float64 // seconds since 1970
	}
}

func parseDump(t *testing.T, text []byte) dumped {
	t.Helper()
	var d dumped
	r := json.NewDecoder(bytes.NewReader(text))
	r.UseNumber()
	if err := r.Decode(&d); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return d
}

// trials turns Optuna's trials into ours.
func (d dumped) trials(t *testing.T) []Trial {
	t.Helper()
	parse := func(text string) float64 {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	at := func(seconds *float64) time.Time {
		if seconds == nil {
			return time.Time{}
		}
		return time.UnixMicro(int64(math.Round(*seconds * 1e6))).UTC()
	}
	var all []Trial
	for _, from := range d.Trials {
		trial := Trial{
			Number: from.Number, State: from.State, Params: map[string]Param{}, Intermediate: map[int]float64{},
			User: from.User, System: from.System, Start: at(from.Start), End: at(from.End),
		}
		for name, value := range from.Params {
			if n, ok := value.(json.Number); ok {
				value = number(n)
			}
			distribution, err := parseDistribution(string(from.Distributions[name]))
			if err != nil {
				t.Fatal(err)
			}
			trial.Params[name] = Param{name, value, distribution}
		}
		if from.Value != nil {
			v := parse(*from.Value)
			trial.Value = &v
		}
		for step, text := range from.Intermediate {
			trial.Intermediate[step] = parse(text)
		}
		if lease, ok := from.System[leaseAttr]; ok {
			if err := json.Unmarshal(lease, &trial.Lease); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, trial)
	}
	return all
}

func compact(t *testing.T, all []Trial) []Trial {
	t.Helper()
	for i := range all {
		for _, attrs := range []*map[string]json.RawMessage{&all[i].User, &all[i].System} {
			*attrs = maps.Clone(*attrs)
			for key, text := range *attrs {
				var value any
				if err := json.Unmarshal(text, &value); err != nil {
					t.Fatal(err)
				}
				(*attrs)[key], _ = json.Marshal(value)
			}
		}
	}
	return all
}

func equal(t *testing.T, ours, optunas []Trial) {
	t.Helper()
	ours, optunas = compact(t, ours), compact(t, optunas)
	if len(ours) != len(optunas) {
		t.Fatalf("we have %d trials, Optuna %d", len(ours), len(optunas))
	}
	for i := range ours {
		if !same(ours[i:i+1], optunas[i:i+1]) {
			t.Errorf("trial %d is\n%v\nand for Optuna\n%v", i, ours[i], optunas[i])
		}
	}
}

// TestOptunaReadsOurs: all states, parameters that only some trials have, values
// on the way, and everything else that a journal of ours holds.
func TestOptunaReadsOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	j := open(t, path, "worker")
	write(t, j)
	d := parseDump(t, optuna(t, "dump", path))
	equal(t, trials(t, j), d.trials(t))
	if d.Best != 1 || !d.Minimize {
		t.Errorf("the best trial is %d, minimized: %v", d.Best, d.Minimize)
	}
	if want := []string{"RUNNING", "COMPLETE", "PRUNED", "FAIL", "PRUNED", "COMPLETE"}; !reflect.DeepEqual(d.States, want) {
		t.Errorf("states %v, want %v", d.States, want)
	}
	if want := strings.Fields("number params_drop params_even params_kind params_layers params_lr state value"); !reflect.DeepEqual(d.Columns, want) {
		t.Errorf("columns %v, want %v", d.Columns, want)
	}
}

// TestWeReadOptunas: in a file with another study before, between and deleted.
func TestWeReadOptunas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.log")
	d := parseDump(t, optuna(t, "write", path))
	j := open(t, path, "worker")
	all := trials(t, j)
	equal(t, all, d.trials(t))
	if len(all) != 7 || d.Trials[0].ID == 0 {
		t.Fatalf("%d trials, the first with id %d", len(all), d.Trials[0].ID)
	}
	first := all[0].Params
	for name, want := range map[string]Distribution{"lr": rate, "drop": drop, "layers": layers, "even": even, "kind": choice} {
		if got := first[name].Distribution; !reflect.DeepEqual(got, want) {
			t.Errorf("%s is drawn from %v, want %v", name, got, want)
		}
	}
	// Ids and numbers differ here; ours go on where Optuna's ended.
	do(t, j, create(Param{"lr", 0.01, rate}), report(7, 1, 1), finish(7, Complete, -1))
	do(t, j, func(tx *Tx) error { return tx.Claim(5, time.Minute) }, finish(5, Fail))
	d = parseDump(t, optuna(t, "dump", path))
	equal(t, trials(t, j), d.trials(t))
	if d.Best != 7 {
		t.Errorf("the best trial is %d, want 7", d.Best)
	}
}

// TestSameReplay feeds both with operations as no program would write them: on
// trials that are finished or don't exist, in studies that come and go, with
// parameters that don't fit together. Whatever they amount to is the same.
func TestSameReplay(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	distribution := func() string {
		text, err := distributionJSON([]Distribution{rate, Float{Low: 0, High: 1}, even, choice, Categorical{Choices: []any{1, 2}}}[random.IntN(5)])
		if err != nil {
			t.Fatal(err)
		}
		return strconv.Quote(text)
	}
	var text strings.Builder
	line := func(code int, format string, args ...any) {
		fmt.Fprintf(&text, `{"op_code":%d,"worker_id":"w",%s}`+"\n", code, fmt.Sprintf(format, args...))
	}
	const at = `"2026-01-02T03:04:05.000006+00:00"`
	line(createStudy, `"study_name":"other","directions":[2]`)
	line(createStudy, `"study_name":"study","directions":[1]`)
	for i := range 3000 {
		trial := random.IntN(i/6 + 1)
		switch code := random.IntN(discardTrials + 1); {
		case code == createStudy:
			line(createStudy, `"study_name":%q,"directions":[1]`, pick("study", "other", "third"))
		case code == deleteStudy:
			line(code, `"study_id":%s`, pick("0", "2", "3", "4", "77"))
		case code == setStudyUserAttr:
			line(code, `"study_id":0,"user_attr":{"x":1}`)
		case code == setStudySystemAttr:
			line(code, `"study_id":0,"system_attr":{"x":1}`)
		case code == createTrial && random.IntN(3) == 0:
			line(code, `"study_id":%d,"datetime_start":%s,"state":%d,%s,"distributions":{"p":%s},"params":{"p":1.0},"user_attrs":{"a":%d},"system_attrs":{},"intermediate_values":{"1":NaN}`,
				random.IntN(3), pick(at, "null"), random.IntN(5), pick(`"value":1.5,"values":null`, `"value":null,"values":[2.5]`, `"value":null,"values":null`), distribution(), i)
		case code == createTrial:
			line(code, `"study_id":%d,"datetime_start":%s`, random.IntN(3), at)
		case code == setParam:
			line(code, `"trial_id":%d,"param_name":%q,"param_value_internal":1.0,"distribution":%s`, trial, pick("p", "q", "r"), distribution())
		case code == setState:
			line(code, `"trial_id":%d,"state":%d,"values":%s,"datetime_start":%s,"datetime_complete":%s`, trial, random.IntN(5), pick("null", "[3.5]", "[-Infinity]"), at, at)
		case code == setIntermediate:
			line(code, `"trial_id":%d,"step":%d,"intermediate_value":%s`, trial, random.IntN(3), pick("1", "1e-7", "NaN", "Infinity"))
		case code == setUserAttr:
			line(code, `"trial_id":%d,"user_attr":{%q:%d}`, trial, pick("a", "b"), i)
		case code == setSystemAttr:
			line(code, `"trial_id":%d,"system_attr":{%q:[%d]}`, trial, pick("a", "b"), i)
		case code == discardTrials:
			line(code, `"study_id":0,"trial_ids":[%d]`, trial)
		}
	}
	path := filepath.Join(t.TempDir(), "journal.log")
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	d := parseDump(t, optuna(t, "dump", path))
	equal(t, trials(t, open(t, path, "worker")), d.trials(t))
	if len(d.Trials) < 100 || d.Trials[99].ID == 99 {
		t.Errorf("only %d trials were compared, or no other study has any", len(d.Trials))
	}
}

// TestSideBySide has Optuna and two of ours add trials to one file.
func TestSideBySide(t *testing.T) {
	const optunas = 30
	path := filepath.Join(t.TempDir(), "journal.log")
	j := open(t, path, "worker 0")
	var (
		stop atomic.Bool
		wait sync.WaitGroup
		ours [2]int // trials
		errs [2]error
	)
	for worker := range ours {
		j := open(t, path, fmt.Sprint("worker ", worker+1))
		wait.Go(func() {
			for !stop.Load() && errs[worker] == nil {
				errs[worker] = one(j, ours[worker])
				ours[worker]++
			}
		})
	}
	defer wait.Wait()
	defer stop.Store(true) // if Optuna isn't there, too
	optuna(t, "add", path, fmt.Sprint(optunas))
	stop.Store(true)
	wait.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	all := trials(t, j)
	if want := optunas + ours[0] + ours[1]; len(all) != want {
		t.Errorf("%d trials, want %d", len(all), want)
	}
	count := map[string]int{}
	for _, trial := range all {
		if trial.State != Complete || len(trial.Intermediate) != 1 || string(trial.User["i"]) != fmt.Sprint(*trial.Value) {
			t.Errorf("there is %v", trial)
		}
		count[trial.Lease.Worker]++
	}
	if want := map[string]int{"": optunas, "worker 1": ours[0], "worker 2": ours[1]}; !maps.Equal(count, want) {
		t.Errorf("trials by worker %v, want %v", count, want)
	}
	equal(t, all, parseDump(t, optuna(t, "dump", path)).trials(t))
}

// one adds a trial in several transactions.
func one(j *Journal, i int) error {
	number := 0
	if err := j.Locked(func(tx *Tx) (err error) {
		number, err = tx.Create(nil, nil, time.Minute)
		return err
	}); err != nil {
		return err
	}
	time.Sleep(10 * time.Millisecond) // Optuna's lock has no queue
	return j.Locked(func(tx *Tx) error {
		return errors.Join(tx.SetUser(number, "i", i), tx.Report(number, 1, 1), finish(number, Complete, float64(i))(tx))
	})
}
