package rundir

import (
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

// smoothFrom is the number of points that smoothing takes to be of use.
const smoothFrom = 20

// smooth is the mean of each point's neighbourhood, a fortieth of the
// series. It is centred: an exponential mean would show losses late.
func smooth(xys plotter.XYs) plotter.XYs {
	half := max(1, len(xys)/80)
	sums := make([]float64, len(xys)+1)
	for i, xy := range xys {
		sums[i+1] = sums[i] + xy.Y
	}
	smoothed := make(plotter.XYs, len(xys))
	for i, xy := range xys {
		from, to := max(0, i-half), min(len(xys), i+half+1)
		smoothed[i] = plotter.XY{X: xy.X, Y: (sums[to] - sums[from]) / float64(to-from)}
	}
	return smoothed
}

// thin leaves the lowest and the highest point of each column of pixels: the
// others couldn't be told apart and cost time.
func thin(xys plotter.XYs) plotter.XYs {
	each := (len(xys) + plotWidth - 1) / plotWidth
	if each <= 2 {
		return xys
	}
	var thinned plotter.XYs
	for from := 0; from < len(xys); from += each {
		column := xys[from:min(from+each, len(xys))]
		low, high := 0, 0
		for i, xy := range column {
			if xy.Y < column[low].Y {
				low = i
			}
			if xy.Y > column[high].Y {
				high = i
			}
		}
		thinned = append(thinned, column[min(low, high)])
		if low != high {
			thinned = append(thinned, column[max(low, high)])
		}
	}
	return thinned
}

// widen adds a margin to the range of an axis, which may be empty (infinite
// ends) or a single value.
func widen(low, high float64) (float64, float64) {
	if low > high {
		return 0, 1
	}
	margin := 0.05 * (high - low)
	if margin == 0 {
		margin = 0.1 * math.Abs(high)
	}
	if margin == 0 {
		margin = 1
	}
	return low - margin, high + margin
}

// ticks marks an axis at multiples of 1, 2 or 5 times a power of ten.
type ticks struct {
	want  float64 // the most intervals
	least float64 // the smallest interval
}

// Ticks implements plot.Ticker.
func (t ticks) Ticks(low, high float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/t.want)))
	for _, factor := range []float64{2, 2.5, 2} { // 1, 2, 5, 10
		if (high-low)/step <= t.want {
			break
		}
		step *= factor
	}
	step = max(step, t.least)
	var marks []plot.Tick
	for i := math.Ceil(low / step); i*step <= high; i++ {
		marks = append(marks, plot.Tick{Value: i * step, Label: tickLabel(i*step, step, high)})
	}
	return marks
}

// tickLabel writes a multiple of step on an axis that goes up to high.
func tickLabel(x, step, high float64) string {
	switch {
	case x == 0:
		return "0"
	case step >= 1:
		return Commas(int64(math.Round(x)))
	case high < 0.01:
		return strings.Replace(strconv.FormatFloat(x, 'e', 1, 64), "e-0", "e-", 1)
	}
	return strconv.FormatFloat(x, 'f', int(math.Ceil(-math.Log10(step)-1e-9)), 64)
}
