package search

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
)

// A parzen is a mixture of kernels over some parameters: one around each trial and one,
// the prior, over everything. A kernel is a product over the parameters.
type parzen struct {
	weights []float64 // sum to 1; the last is the prior's
	axes    []axis
}

// An axis is one parameter's factor of every kernel.
type axis interface {
	draw(rng *rand.Rand, kernel int) float64
	logDensity(x float64, kernel int) float64
}

// newParzen makes the estimator from those of the trials, oldest first, that have all of
// the parameters.
func newParzen(parameters []Parameter, trials []Trial) parzen {
	columns := make([][]float64, len(parameters))
	row := make([]float64, len(parameters))
	n := 0
	for _, t := range trials {
		if !coordinates(parameters, t.Point, row) {
			continue
		}
		n++
		for i, x := range row {
			columns[i] = append(columns[i], x)
		}
	}
	e := parzen{weights: weights(n)}
	for i, p := range parameters {
		if p.Kind == "choice" {
			e.axes = append(e.axes, newCategories(columns[i], len(p.Values)))
		} else {
			e.axes = append(e.axes, newGaussians(columns[i], p))
		}
	}
	return e
}

func coordinates(parameters []Parameter, point Point, row []float64) bool {
	for i, p := range parameters {
		value, ok := point[p.Name]
		if !ok {
			return false
		}
		if row[i], ok = p.coordinate(value); !ok {
			return false
		}
	}
	return true
}

// weights are those of n trials, oldest first, and of the prior. The oldest of more than
// evenWeights weighs 1/n, with a linear ramp from there.
func weights(n int) []float64 {
	w := make([]float64, n+1)
	sum := 0.0
	for i := range w {
		w[i] = 1
		if ramp := n - evenWeights; i < ramp {
			w[i] = 1 / float64(n)
			if ramp > 1 {
				w[i] += (1 - 1/float64(n)) * float64(i) / float64(ramp-1)
			}
		}
		sum += w[i]
	}
	for i := range w {
		w[i] /= sum
	}
	return w
}

// draw returns a coordinate for each parameter.
func (e parzen) draw(rng *rand.Rand) []float64 {
	kernel := pick(e.weights, rng)
	x := make([]float64, len(e.axes))
	for i, a := range e.axes {
		x[i] = a.draw(rng, kernel)
	}
	return x
}

func (e parzen) logDensity(x []float64) float64 {
	logs := make([]float64, len(e.weights))
	for kernel, weight := range e.weights {
		logs[kernel] = math.Log(weight)
		for i, a := range e.axes {
			logs[kernel] += a.logDensity(x[i], kernel)
		}
	}
	highest := slices.Max(logs) // finite: the prior is above zero everywhere
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l - highest)
	}
	return highest + math.Log(sum)
}

func pick(probabilities []float64, rng *rand.Rand) int {
	u := rng.Float64()
	for i, p := range probabilities {
		if u -= p; u < 0 {
			return i
		}
	}
	return len(probabilities) - 1
}

// gaussians are normal distributions cut off at the bounds of a float or int, and
// gathered into bins around the values where these have steps.
type gaussians struct {
	parameter  Parameter
	low, high  float64
	mean, sd   []float64
	mass       []float64 // within the bounds
	logDivisor []float64 // of a density at the mean, or of a bin's mass
}

// newGaussians centers kernels on the coordinates; the last is the prior. A kernel's
// standard deviation is the distance to the farther neighbour on either side (at the
// ends, to the only one), but at least a share of the range that shrinks with the number
// of kernels to a hundredth.
func newGaussians(coordinates []float64, p Parameter) gaussians {
	g := gaussians{parameter: p}
	g.low, g.high = p.bounds()
	n := len(coordinates)
	width := g.high - g.low
	for _, x := range coordinates {
		g.mean = append(g.mean, p.scale(x))
	}
	g.sd = make([]float64, n)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool { return g.mean[order[i]] < g.mean[order[j]] })
	least := width / min(100, float64(n+2))
	for i, k := range order {
		left, right := g.mean[k]-g.low, g.high-g.mean[k]
		if i > 0 {
			left = g.mean[k] - g.mean[order[i-1]]
		}
		if i < n-1 {
			right = g.mean[order[i+1]] - g.mean[k]
		}
		switch {
		case n > 1 && i == 0:
			left = right
		case n > 1 && i == n-1:
			right = left
		}
		g.sd[k] = min(max(left, right, least), width)
	}
	g.mean = append(g.mean, (g.low+g.high)/2)
	g.sd = append(g.sd, width)
	for k := range g.mean {
		g.mass = append(g.mass, mass((g.low-g.mean[k])/g.sd[k], (g.high-g.mean[k])/g.sd[k]))
		divisor := math.Log(g.mass[k])
		if p.step() == 0 {
			divisor += math.Log(g.sd[k] * math.Sqrt(2*math.Pi))
		}
		g.logDivisor = append(g.logDivisor, divisor)
	}
	return g
}

func (g gaussians) draw(rng *rand.Rand, kernel int) float64 {
	mean, sd := g.mean[kernel], g.sd[kernel]
	below := mass(math.Inf(-1), (g.low-mean)/sd)
	z := -math.Sqrt2 * math.Erfcinv(2*(below+rng.Float64()*g.mass[kernel]))
	return g.parameter.unscale(min(max(mean+sd*z, g.low), g.high))
}

func (g gaussians) logDensity(x float64, kernel int) float64 {
	mean, sd, half := g.mean[kernel], g.sd[kernel], g.parameter.step()/2
	if half != 0 {
		left, right := g.parameter.scale(x-half), g.parameter.scale(x+half)
		return math.Log(mass((left-mean)/sd, (right-mean)/sd)) - g.logDivisor[kernel]
	}
	z := (g.parameter.scale(x) - mean) / sd
	return -z*z/2 - g.logDivisor[kernel]
}

// mass is that of the standard normal distribution between a and b, precise in both
// tails.
func mass(a, b float64) float64 {
	if a > 0 {
		a, b = -b, -a
	}
	return (math.Erfc(-b/math.Sqrt2) - math.Erfc(-a/math.Sqrt2)) / 2
}

// categories hold a probability for each value of a choice: categories[kernel][index].
type categories [][]float64

// newCategories puts weight 1 on each observed index and shares 1/kernels of it out over
// all; the last kernel is the prior, which is uniform.
func newCategories(observed []float64, n int) categories {
	kernels := len(observed) + 1
	c := make(categories, kernels)
	share := 1 / float64(kernels)
	for k := range c {
		c[k] = make([]float64, n)
		for i := range c[k] {
			switch {
			case k == len(observed):
				c[k][i] = 1 / float64(n)
			case i == int(observed[k]):
				c[k][i] = (1 + share) / (1 + share*float64(n))
			default:
				c[k][i] = share / (1 + share*float64(n))
			}
		}
	}
	return c
}

func (c categories) draw(rng *rand.Rand, kernel int) float64 { return float64(pick(c[kernel], rng)) }

func (c categories) logDensity(x float64, kernel int) float64 {
	return math.Log(c[kernel][int(x)])
}
