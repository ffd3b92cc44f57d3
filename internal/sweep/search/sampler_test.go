package search

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// drawHistory makes trials of every state, a few of them from another space.
func drawHistory(t *rapid.T, space Space) []Trial {
	sampler := NewRandom(space, 1)
	var history []Trial
	for number := range rapid.IntRange(0, 60).Draw(t, "trials") {
		point, err := sampler.Sample(number, nil)
		if err != nil {
			t.Fatal(err)
		}
		trial := Trial{Number: number, Point: point, Intermediate: map[int]float64{}}
		trial.Value = rapid.SampledFrom([]float64{-1, 0, 0, 2.5, math.NaN(), math.Inf(1), math.Inf(-1)}).Draw(t, "value")
		trial.end(rapid.SampledFrom([]string{"COMPLETE", "COMPLETE", "PRUNED", "FAIL", "RUNNING"}).Draw(t, "state"))
		for step := range rapid.IntRange(0, 3).Draw(t, "reports") {
			trial.Intermediate[step] = rapid.SampledFrom([]float64{1, 2, math.NaN()}).Draw(t, "report")
		}
		if rapid.IntRange(0, 9).Draw(t, "strange") == 0 {
			trial.Point = Point{space[0].Name: 1e9, "gone": "x"}
		}
		history = append(history, trial)
	}
	return history
}

func TestPointsBelongToTheSpace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := drawSpace(t)
		history := drawHistory(t, space)
		for _, sampler := range []Sampler{NewTPE(space, 3), NewRandom(space, 3)} {
			point, err := sampler.Sample(len(history), history)
			if err == nil {
				err = check(space, point)
			}
			if err != nil {
				t.Fatalf("%T: %v", sampler, err)
			}
		}
		points, known := space.Grid()
		if !known {
			return
		}
		sampler := NewGrid(space)
		seen := map[string]bool{}
		for range 50 {
			number := rapid.IntRange(0, points-1).Draw(t, "number")
			point, err := sampler.Sample(number, nil)
			if err == nil {
				err = check(space, point)
			}
			if err != nil {
				t.Fatalf("grid point %d: %v", number, err)
			}
			seen[fmt.Sprint(point)] = true
		}
		if points > 1 && points < 5 {
			for number := range points {
				point, _ := sampler.Sample(number, nil)
				seen[fmt.Sprint(point)] = true
			}
			if len(seen) != points {
				t.Fatalf("%d different points of %d", len(seen), points)
			}
		}
	})
}

// TestSamplingIsRepeatable: a draw is a function of seed, number and history, whatever the
// order of the history, and whether it went through JSON.
func TestSamplingIsRepeatable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := drawSpace(t)
		history := drawHistory(t, space)
		number := rapid.IntRange(0, 80).Draw(t, "number") // perhaps in the history itself
		want, err := NewTPE(space, 9).Sample(number, history)
		if err != nil {
			t.Fatal(err)
		}
		shuffled := append([]Trial{}, history...)
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for i := range shuffled {
			text, err := json.Marshal(shuffled[i].Point)
			if err != nil {
				t.Fatal(err)
			}
			shuffled[i].Point = nil
			if err := json.Unmarshal(text, &shuffled[i].Point); err != nil {
				t.Fatal(err)
			}
		}
		got, err := NewTPE(space, 9).Sample(number, shuffled)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("sampled %v, then %v", want, got)
		}
	})
}

func TestSeedAndNumberMakeADifference(t *testing.T) {
	space := floats(1, 0, 1)
	seen := map[any]string{}
	for seed := range uint64(50) {
		for number := range 50 {
			point, err := NewRandom(space, seed).Sample(number, nil)
			if err != nil {
				t.Fatal(err)
			}
			where := fmt.Sprintf("seed %d, trial %d", seed, number)
			if other, ok := seen[point["x0"]]; ok {
				t.Fatalf("%s repeats %s", where, other)
			}
			seen[point["x0"]] = where
		}
	}
}

// TestRandomIsUniform counts 20,000 draws in ranges whose probability is plain.
func TestRandomIsUniform(t *testing.T) {
	tests := []struct {
		parameter Parameter
		in        func(value any) bool
		want      float64
	}{
		{Parameter{Kind: "float", Low: -1, High: 3}, func(v any) bool { return v.(float64) < 0 }, 0.25},
		{Parameter{Kind: "float", Low: 1e-5, High: 1e-1, Log: true}, func(v any) bool { return v.(float64) < 1e-4 }, 0.25},
		{Parameter{Kind: "float", Low: 0, High: 0.45, Step: 0.1}, func(v any) bool { return v.(float64) == 0 }, 0.2},
		{Parameter{Kind: "float", Low: 0, High: 0.45, Step: 0.1}, func(v any) bool { return v.(float64) > 0.35 }, 0.2},
		{Parameter{Kind: "int", Low: 1, High: 4}, func(v any) bool { return v.(int64) == 4 }, 0.25},
		{Parameter{Kind: "int", Low: 2, High: 9, Step: 3}, func(v any) bool { return v.(int64) == 5 }, 1. / 3},
		{Parameter{Kind: "int", Low: 1, High: 8, Log: true}, func(v any) bool { return v.(int64) == 1 }, math.Log(1.5/0.5) / math.Log(8.5/0.5)},
		{Parameter{Kind: "choice", Values: []any{"a", "b"}}, func(v any) bool { return v == "b" }, 0.5},
	}
	const draws = 20000
	rng := source(1, 1)
	for _, test := range tests {
		n := 0
		for range draws {
			if test.in(test.parameter.random(rng)) {
				n++
			}
		}
		got := float64(n) / draws
		if sd := math.Sqrt(test.want * (1 - test.want) / draws); math.Abs(got-test.want) > 4*sd {
			t.Errorf("%+v: share %.4f, want %.4f", test.parameter, got, test.want)
		}
	}
}

// TestParzenDrawsItsDensity compares, bin by bin, how often values are drawn with the
// integral of the density, which Optuna's confirms.
func TestParzenDrawsItsDensity(t *testing.T) {
	const draws, bins = 40000, 10
	for _, p := range recordedSpace {
		var trials []Trial
		for number := range 30 {
			point, err := NewRandom(Space{p}, 4).Sample(number, nil)
			if err != nil {
				t.Fatal(err)
			}
			trials = append(trials, Trial{Number: number, Point: point})
		}
		e := newParzen([]Parameter{p}, trials[:3])
		if p.Name == "rank" {
			e = newParzen([]Parameter{p}, trials)
		}
		// Each value is a bin of its own, or the range is cut in ten.
		var values []float64
		probability := map[int]float64{}
		bin := func(x float64) int { return int(x) }
		switch {
		case p.Kind == "choice":
			values = []float64{0, 1, 2, 3}
		case p.step() != 0:
			bin = func(x float64) int { return int(math.Round((x - p.Low) / p.step())) }
			for i := range p.steps() {
				values = append(values, p.Low+float64(i)*p.step())
			}
		default:
			low, high := p.bounds()
			bin = func(x float64) int { return int((p.scale(x) - low) / (high - low) * bins) }
			const fine = 2000
			for i := range fine {
				x := p.unscale(low + (high-low)*(float64(i)+0.5)/fine)
				probability[bin(x)] += math.Exp(e.logDensity([]float64{x})) * (high - low) / fine
			}
		}
		for _, x := range values {
			probability[bin(x)] = math.Exp(e.logDensity([]float64{x}))
		}
		drawn := map[int]int{}
		rng := source(2, 2)
		for range draws {
			drawn[bin(e.draw(rng)[0])]++
		}
		total := 0.0
		for i, want := range probability {
			total += want
			got := float64(drawn[i]) / draws
			if sd := math.Sqrt(want * (1 - want) / draws); math.Abs(got-want) > 4*sd+1e-4 {
				t.Errorf("%s, bin %d: drawn %.4f, density %.4f", p.Name, i, got, want)
			}
		}
		if math.Abs(total-1) > 1e-3 {
			t.Errorf("%s: the density sums to %v", p.Name, total)
		}
	}
}

// TestTPEStartsAtRandom: ten finished trials have to be there, and failed and running ones
// don't count.
func TestTPEStartsAtRandom(t *testing.T) {
	space := floats(3, 0, 1)
	tpe, random := NewTPE(space, 5), NewRandom(space, 5)
	sample := func(s Sampler, number int, history []Trial) Point {
		point, err := s.Sample(number, history)
		if err != nil {
			t.Fatal(err)
		}
		return point
	}
	var history []Trial
	for number := range 28 {
		trial := Trial{Number: number, Point: sample(tpe, number, history), Value: float64(number)}
		if want := sample(random, number, nil); !reflect.DeepEqual(trial.Point, want) {
			t.Fatalf("trial %d isn't random", number)
		}
		trial.end([]string{"COMPLETE", "FAIL", "RUNNING"}[number%3])
		if number == 3 {
			trial.end("PRUNED")
		}
		history = append(history, trial)
	}
	if reflect.DeepEqual(sample(tpe, 28, history), sample(random, 28, nil)) {
		t.Error("trial 28 is random, with ten finished")
	}
}
