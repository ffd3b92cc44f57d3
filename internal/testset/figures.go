package testset

import (
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/longform-go/longform/internal/figure"
	"github.com/longform-go/longform/internal/testset/scores"
)

// palette has a colour for each of the first models; further ones begin again.
var palette = []color.NRGBA{
	figure.Blue, figure.Orange, {R: 44, G: 140, B: 84, A: 255}, {R: 128, G: 84, B: 160, A: 255}, {R: 190, G: 40, B: 70, A: 255}, {R: 110, G: 110, B: 110, A: 255},
}

func colour(model int) color.NRGBA { return palette[model%len(palette)] }

// newFigure has room for a legend above what is drawn.
func newFigure(x, y string) *plot.Plot {
	p := figure.New(" ")
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.Title.Padding, p.Legend.YOffs = 14*figure.Pixel, 36*figure.Pixel
	return p
}

// bars are one bar for each row, with an interval if there is one; nil is no bar.
type bars struct {
	name          string
	color         color.NRGBA
	values        []*scores.Figure
	width, offset vg.Length // offset is upwards from the middle of the row
}

// plotBars draws rows from top to bottom.
func plotBars(x string, rows []string, series []bars) *plot.Plot {
	p := newFigure(x, "")
	at := func(row int) float64 { return float64(len(rows) - 1 - row) }
	longest := 1.0
	for _, s := range series {
		values, whiskers := make(plotter.Values, len(rows)), []plotter.XYs{}
		for row, f := range s.values {
			if f == nil {
				continue
			}
			values[int(at(row))] = float64(f.Value)
			longest = max(longest, float64(f.High))
			if f.Low < f.High {
				whiskers = append(whiskers, plotter.XYs{{X: float64(f.Low), Y: at(row)}, {X: float64(f.High), Y: at(row)}})
			}
		}
		chart, err := plotter.NewBarChart(values, s.width)
		if err != nil {
			continue // without rows
		}
		chart.Horizontal, chart.Color, chart.LineStyle.Width, chart.Offset = true, s.color, 0, s.offset
		p.Add(chart)
		p.Legend.Add(s.name, chart)
		for _, w := range whiskers {
			for _, style := range []draw.LineStyle{{Color: color.White, Width: 4 * figure.Pixel}, {Color: figure.Ink, Width: 1.5 * figure.Pixel}} {
				p.Add(shifted{&plotter.Line{XYs: w, LineStyle: style}, s.offset}) // with a rim, which is seen on the bar
			}
		}
	}
	names := slices.Clone(rows)
	slices.Reverse(names)
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, 1.03*longest
	return p
}

// shifted draws higher up.
type shifted struct {
	plot.Plotter
	by vg.Length
}

func (s shifted) Plot(c draw.Canvas, p *plot.Plot) { s.Plotter.Plot(draw.Crop(c, 0, 0, s.by, s.by), p) }

// plotRanking shows this run's METEOR in front of the published one.
func (r *Report) plotRanking() *plot.Plot {
	published := bars{name: "published", color: figure.Pale, width: 20 * figure.Pixel}
	run := bars{name: "this run", color: figure.Blue, width: 10 * figure.Pixel}
	var names []string
	for _, m := range r.ranking() {
		names = append(names, m.model)
		run.values = append(run.values, m.run)
		published.values = append(published.values, m.published)
	}
	return plotBars(r.METEOR, names, []bars{published, run})
}

// plotSources shows the METEOR of each source, a bar for each model.
func (r *Report) plotSources() *plot.Plot {
	var names []string
	for _, g := range r.Models[0].Sources {
		names = append(names, name(g))
	}
	const width = 12 * figure.Pixel
	var series []bars
	for i, m := range r.Models {
		s := bars{name: m.Name, color: colour(i), width: width, offset: (vg.Length(len(r.Models)-1)/2 - vg.Length(i)) * (width + figure.Pixel)}
		for _, g := range m.Sources {
			f := g.Figures[scores.METEOR]
			s.values = append(s.values, &f)
		}
		series = append(series, s)
	}
	return plotBars(r.METEOR, names, series)
}

// plotDistribution shows how many texts have which METEOR.
func (r *Report) plotDistribution() *plot.Plot {
	const bins = 40.0
	p := newFigure(r.METEOR+" of a text", "share of texts, %")
	p.Add(figure.Grid())
	best := 0.0
	for i, scored := range r.scored {
		line := make(plotter.XYs, int(bins)+2)
		for bin := range line {
			line[bin].X = 100 * float64(bin) / bins
		}
		for _, s := range scored {
			line[int(s.meteor*bins)].Y += 100 / float64(len(scored))
			best = max(best, 100*s.meteor)
		}
		steps := &plotter.Line{XYs: line, StepStyle: plotter.PostStep, LineStyle: draw.LineStyle{Color: colour(i), Width: 2 * figure.Pixel}}
		p.Add(steps)
		p.Legend.Add(r.Models[i].Name, steps)
	}
	p.X.Min, p.X.Max, p.Y.Min = 0, math.Min(10*math.Floor(best/10+1), 100*(bins+1)/bins), 0
	return p
}

// dots is how many texts of a model are drawn at most, so that a page stays small.
const dots = 1000

// plotLengths shows how long texts are beside their references; on the line they are as long.
func (r *Report) plotLengths() *plot.Plot {
	p := newFigure("words of the reference", "words of the text")
	p.Add(figure.Grid())
	longest := 10.0
	for i, scored := range r.scored {
		var at plotter.XYs
		for k := 0; k < len(scored); k += 1 + (len(scored)-1)/dots {
			s := scored[k]
			x, y := math.Max(1, s.referenceWords), math.Max(1, s.words) // the axes are logarithmic
			at, longest = append(at, plotter.XY{X: x, Y: y}), max(longest, x, y)
		}
		c := colour(i)
		c.A = 140
		texts := &plotter.Scatter{XYs: at, GlyphStyle: draw.GlyphStyle{Color: c, Radius: 3 * figure.Pixel, Shape: draw.CircleGlyph{}}}
		p.Add(texts)
		p.Legend.Add(r.Models[i].Name, texts)
	}
	p.Add(&plotter.Line{XYs: plotter.XYs{{X: 1, Y: 1}, {X: longest, Y: longest}}, LineStyle: draw.LineStyle{Color: figure.Ink, Width: figure.Pixel}})
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Min, axis.Max = 0.9, 1.1*longest
		axis.Scale, axis.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	return p
}
