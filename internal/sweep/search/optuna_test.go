package search

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
)

// recorded is testdata/optuna.json.
type recorded struct {
	Optuna string
	Runs   []struct {
		Function string
		Workers  int
		Best     []float64 // by seed
	}
	Scores []struct {
		Parameters []string
		Below      []int
		History    []recordedTrial
		Points     []Point
		Scores     []float64
	}
	Pruners []struct {
		Kind      string
		Arguments [2]int
		Events    []struct {
			Trial int
			Step  int
			Value number
			Prune bool
			State string // of a trial that ended
		}
	}
}

type recordedTrial struct {
	Number       int
	State        string
	Params       Point
	Value        float64
	Intermediate map[int]number
}

// A number may be the word nan or inf, which JSON has no number for.
type number float64

func (n *number) UnmarshalJSON(text []byte) error {
	var word string
	if json.Unmarshal(text, &word) != nil {
		word = string(text)
	}
	x, err := strconv.ParseFloat(word, 64)
	*n = number(x)
	return err
}

func (r recordedTrial) trial() Trial {
	t := Trial{Number: r.Number, Point: r.Params, Value: r.Value, Intermediate: map[int]float64{}}
	t.end(r.State)
	for step, value := range r.Intermediate {
		t.Intermediate[step] = float64(value)
	}
	return t
}

func (t *Trial) end(state string) {
	t.Done, t.Pruned, t.Failed = state == "COMPLETE", state == "PRUNED", state == "FAIL"
}

func readRecorded(t *testing.T) recorded {
	t.Helper()
	text, err := os.ReadFile("testdata/optuna.json")
	if err != nil {
		t.Fatal(err)
	}
	var r recorded
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// recordedSpace is DISTRIBUTIONS in make_optuna.py.
var recordedSpace = Space{
	{Name: "x", Kind: "float", Low: -2, High: 3},
	{Name: "lr", Kind: "float", Low: 1e-5, High: 1e-1, Log: true},
	{Name: "drop", Kind: "float", Low: 0, High: 0.5, Step: 0.1},
	{Name: "layers", Kind: "int", Low: 2, High: 30, Step: 4},
	{Name: "rank", Kind: "int", Low: 1, High: 64, Log: true},
	{Name: "choice", Kind: "choice", Values: []any{"a", "b", "c", "d"}},
}

// TestScoresEqualOptunas compares which trials are good, and the ratio of the densities.
func TestScoresEqualOptunas(t *testing.T) {
	for _, r := range readRecorded(t).Scores {
		var group Space
		for _, name := range r.Parameters {
			group = append(group, recordedSpace[recordedSpace.find(name)])
		}
		var history []Trial
		for _, trial := range r.History {
			history = append(history, trial.trial())
		}
		slices.Reverse(history) // their order doesn't matter
		good, others, _ := split(-1, history)
		var below []int
		for _, trial := range good {
			below = append(below, trial.Number)
		}
		if !slices.Equal(below, r.Below) {
			t.Errorf("%v: good trials %v, want %v", r.Parameters, below, r.Below)
			continue
		}
		l, g := newParzen(group, good), newParzen(group, others)
		for i, point := range r.Points {
			row := make([]float64, len(group))
			if !coordinates(group, point, row) {
				t.Fatalf("%v: %v isn't a point of the space", r.Parameters, point)
			}
			got, want := l.logDensity(row)-g.logDensity(row), r.Scores[i]
			if !(math.Abs(got-want) <= 1e-9*max(1, math.Abs(want))) {
				t.Errorf("%v after %d trials: score %v of %v, want %v", r.Parameters, len(history), got, point, want)
			}
		}
	}
}

func TestPrunersDecideAsOptunas(t *testing.T) {
	for _, r := range readRecorded(t).Pruners {
		pruner := NewMedian(r.Arguments[0], r.Arguments[1])
		if r.Kind == "asha" {
			pruner = NewASHA(r.Arguments[0], r.Arguments[1])
		}
		var history []Trial
		pruned := 0
		for _, event := range r.Events {
			for len(history) <= event.Trial {
				history = append(history, Trial{Number: len(history), Intermediate: map[int]float64{}})
			}
			trial := &history[event.Trial]
			if event.State != "" {
				trial.end(event.State)
				continue
			}
			trial.Intermediate[event.Step] = float64(event.Value)
			if got := pruner.Prune(event.Step, *trial, history); got != event.Prune {
				t.Errorf("%s %v: trial %d at step %d: pruned %v, want %v", r.Kind, r.Arguments, event.Trial, event.Step, got, event.Prune)
			}
			if event.Prune {
				pruned++
			}
		}
		if pruned < 5 {
			t.Errorf("%s %v: only %d trials pruned", r.Kind, r.Arguments, pruned)
		}
	}
}

// A function of make_optuna.py.
type function struct {
	space Space
	value func(Point) float64
}

func floats(n int, low, high float64) Space {
	var space Space
	for i := range n {
		space = append(space, Parameter{Name: "x" + strconv.Itoa(i), Kind: "float", Low: low, High: high})
	}
	return space
}

var functions = map[string]function{
	"sphere": {floats(5, -5, 10), func(p Point) float64 {
		sum := 0.0
		for _, x := range p {
			sum += x.(float64) * x.(float64)
		}
		return sum
	}},
	"branin": {Space{{Name: "x", Kind: "float", Low: -5, High: 10}, {Name: "y", Kind: "float", Low: 0, High: 15}}, func(p Point) float64 {
		x, y := p["x"].(float64), p["y"].(float64)
		a := y - 5.1/(4*math.Pi*math.Pi)*x*x + 5/math.Pi*x - 6
		return a*a + 10*(1-1/(8*math.Pi))*math.Cos(x) + 10
	}},
	"hartmann6": {floats(6, 0, 1), func(p Point) float64 {
		sum := 0.0
		for i, c := range []float64{1, 1.2, 3, 3.2} {
			exponent := 0.0
			for j := range 6 {
				d := p["x"+strconv.Itoa(j)].(float64) - hartmannP[i][j]/10000
				exponent += hartmannA[i][j] * d * d
			}
			sum -= c * math.Exp(-exponent)
		}
		return sum
	}},
	"conditional": {Space{
		{Name: "lr", Kind: "float", Low: 1e-6, High: 1e-1, Log: true},
		{Name: "layers", Kind: "int", Low: 1, High: 12},
		{Name: "optimizer", Kind: "choice", Values: []any{"sgd", "adamw", "adafactor"}},
		{Name: "momentum", Kind: "float", Low: 0, High: 0.95, Step: 0.05, When: "optimizer=sgd"},
		{Name: "rank", Kind: "int", Low: 1, High: 256, Log: true, When: "optimizer=adamw"},
		{Name: "decay", Kind: "float", Low: 1e-4, High: 1, Log: true, When: "optimizer=adamw"},
	}, func(p Point) float64 {
		square := func(x float64) float64 { return x * x }
		lr := math.Log10(p["lr"].(float64))
		value := 0.05 * square(float64(p["layers"].(int64))-7)
		switch p["optimizer"] {
		case "sgd":
			return value + square(lr+2) + 4*square(p["momentum"].(float64)-0.9) + 0.5
		case "adamw":
			return value + square(lr+4) + 0.1*square(math.Log2(float64(p["rank"].(int64)))-5) + 0.3*square(math.Log10(p["decay"].(float64))+2)
		}
		return value + square(lr+3) + 1
	}},
}

var hartmannA = [4][6]float64{{10, 3, 17, 3.5, 1.7, 8}, {0.05, 10, 17, 0.1, 8, 14}, {3, 3.5, 1.7, 10, 17, 8}, {17, 8, 0.05, 10, 0.1, 14}}

var hartmannP = [4][6]float64{
	{1312, 1696, 5569, 124, 8283, 5886}, {2329, 4135, 8307, 3736, 1004, 9991},
	{2348, 1451, 3522, 2883, 3047, 6650}, {4047, 8828, 8732, 5743, 1091, 381},
}

// best runs 100 trials; with several workers, a trial's value is known when all of them
// have one to run.
func best(t *testing.T, f function, sampler Sampler, workers int) float64 {
	t.Helper()
	lowest := math.Inf(1)
	var history []Trial
	for number := range 100 {
		if number >= workers {
			history[number-workers].Done = true
		}
		point, err := sampler.Sample(number, history)
		if err != nil {
			t.Fatal(err)
		}
		value := f.value(point)
		lowest = min(lowest, value)
		history = append(history, Trial{Number: number, Point: point, Value: value})
	}
	return lowest
}

// TestTPEIsAsGoodAsOptuna: the mean over 20 seeds of the best of 100 trials is below the
// upper end of the 95% interval (Student's t) of Optuna's. That of random sampling isn't.
func TestTPEIsAsGoodAsOptuna(t *testing.T) {
	const quantile = 2.093 // of t with 19 degrees of freedom
	for _, r := range readRecorded(t).Runs {
		f := functions[r.Function]
		if len(r.Best) != 20 || f.Validate() != nil {
			t.Fatalf("%s: %d seeds, %v", r.Function, len(r.Best), f.Validate())
		}
		var tpe, random []float64
		for seed := range uint64(len(r.Best)) {
			tpe = append(tpe, best(t, f, NewTPE(f.space, seed), r.Workers))
			random = append(random, best(t, f, NewRandom(f.space, seed), r.Workers))
		}
		want, sd := meanAndSD(r.Best)
		interval := quantile * sd / math.Sqrt(float64(len(r.Best)))
		got, _ := meanAndSD(tpe)
		without, _ := meanAndSD(random)
		t.Logf("%s, %d workers: mean %.4f, Optuna's %.4f ± %.4f, random %.4f", r.Function, r.Workers, got, want, interval, without)
		if !(got <= want+interval) {
			t.Errorf("%s, %d workers: mean %.4f, want at most Optuna's %.4f + %.4f", r.Function, r.Workers, got, want, interval)
		}
		if without <= want+interval {
			t.Errorf("%s, %d workers: random sampling is as good: the function tells nothing", r.Function, r.Workers)
		}
	}
}

func (f function) Validate() error { return f.space.Validate() }

func meanAndSD(values []float64) (mean, sd float64) {
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for _, v := range values {
		sd += (v - mean) * (v - mean) / float64(len(values)-1)
	}
	return mean, math.Sqrt(sd)
}
