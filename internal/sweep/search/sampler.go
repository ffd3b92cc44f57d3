package search

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// A Trial is what samplers and pruners know of one. A trial that is neither done, pruned
// nor failed is running.
type Trial struct {
	Number       int
	Point        Point
	Value        float64 // of a done trial; lower is better, and NaN is worst
	Done         bool
	Pruned       bool
	Failed       bool
	Intermediate map[int]float64 // by step, on Value's scale
}

// A Sampler chooses points. The same number and history give the same point.
type Sampler interface {
	// Sample returns the point of the trial of that number; the history holds the other
	// trials in any order. ErrExhausted: there are no more points.
	Sample(number int, history []Trial) (Point, error)
}

// ErrExhausted says that every point of a grid has been given out.
var ErrExhausted = errors.New("every point of the grid has been given out")

type random struct {
	space Space
	seed  uint64
}

// NewRandom draws each parameter of a valid space uniformly from its range, with Log
// uniformly in the logarithm.
func NewRandom(space Space, seed uint64) Sampler { return random{space, seed} }

func (r random) Sample(number int, _ []Trial) (Point, error) {
	rng := source(r.seed, number)
	point := Point{}
	for _, p := range r.space {
		if p.active(point) {
			point[p.Name] = p.random(rng)
		}
	}
	return point, nil
}

func (p Parameter) random(rng *rand.Rand) any {
	if p.Kind == "choice" {
		return p.Values[rng.IntN(len(p.Values))]
	}
	low, high := p.bounds()
	return p.value(p.unscale(low + (high-low)*rng.Float64()))
}

// source gives each trial random numbers of its own.
func source(seed uint64, number int) *rand.Rand {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[0:], seed)
	binary.LittleEndian.PutUint64(key[8:], uint64(number))
	return rand.New(rand.NewChaCha8(key))
}

type grid struct{ space Space }

// NewGrid gives trial i point i of the grid that Space.Grid counts; the last parameter
// changes fastest.
func NewGrid(space Space) Sampler { return grid{space} }

func (g grid) Sample(number int, _ []Trial) (Point, error) {
	points, known := g.space.Grid()
	if !known {
		return nil, fmt.Errorf("a grid needs steps: give every float a step, or use a choice")
	}
	if number >= points {
		return nil, ErrExhausted
	}
	point := Point{}
	g.space.fill(point, "", nil, number)
	return point, nil
}

// Grid counts the points that a valid space has, at most math.MaxInt; known is false if
// a float has no step.
func (s Space) Grid() (points int, known bool) {
	for _, p := range s {
		if p.Kind == "float" && p.Step == 0 {
			return 0, false
		}
	}
	return s.below("", nil), true
}

// below counts the points of the parameters that depend directly or indirectly on a
// choice, given its value; with an empty name, on none.
func (s Space) below(name string, value any) int {
	points := 1
	for _, p := range s.dependents(name, value) {
		points = product(points, s.points(p))
	}
	return points
}

// points counts those of a parameter and of what depends on it.
func (s Space) points(p Parameter) int {
	if p.Kind != "choice" {
		return p.steps()
	}
	points := 0
	for _, v := range p.Values {
		if points += s.below(p.Name, v); points < 0 {
			return math.MaxInt
		}
	}
	return points
}

func (s Space) dependents(name string, value any) []Parameter {
	var found []Parameter
	for _, p := range s {
		if name == "" && p.When == "" || name != "" && p.When != "" && p.active(Point{name: value}) {
			found = append(found, p)
		}
	}
	return found
}

// fill sets the parameters that below counts to their point of that number.
func (s Space) fill(point Point, name string, value any, number int) {
	found := s.dependents(name, value)
	for i := len(found) - 1; i >= 0; i-- {
		p := found[i]
		points := s.points(p)
		digit := number % points
		number /= points
		if p.Kind != "choice" {
			point[p.Name] = p.value(min(p.Low+float64(digit)*p.step(), p.last()))
			continue
		}
		for _, v := range p.Values {
			below := s.below(p.Name, v)
			if digit < below {
				point[p.Name] = v
				s.fill(point, p.Name, v, digit)
				break
			}
			digit -= below
		}
	}
}

func product(a, b int) int {
	if b != 0 && a > math.MaxInt/b {
		return math.MaxInt
	}
	return a * b
}
