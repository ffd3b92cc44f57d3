package rundir

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Size of the plots in pixels, and how many of those gonum takes for a point.
const (
	plotWidth     = 900
	plotHeight    = 500
	pixelsPerInch = 96
	pixel         = vg.Inch / pixelsPerInch
)

var (
	blue   = color.NRGBA{R: 31, G: 90, B: 166, A: 255}
	pale   = color.NRGBA{R: 158, G: 193, B: 232, A: 255}
	orange = color.NRGBA{R: 224, G: 114, B: 20, A: 255}
	red    = color.NRGBA{R: 200, G: 30, B: 45, A: 255}
	ink    = color.NRGBA{R: 60, G: 60, B: 60, A: 255}
	lines  = color.NRGBA{R: 228, G: 228, B: 228, A: 255}
)

// Plot draws the metrics log: plots/loss.png with the training loss as logged
// and smoothed, the validation loss, and the steps without a finite loss;
// plots/lr.png with the learning rate. A log without steps leaves no plots.
func (d Dir) Plot() error {
	steps, evals, err := ReadMetrics(d.Metrics())
	if err != nil || len(steps) == 0 {
		return err
	}
	if err := os.MkdirAll(d.Plots(), 0o755); err != nil {
		return fmt.Errorf("plots %s: %w", d.Plots(), cause(err))
	}
	for name, p := range map[string]*plot.Plot{"loss.png": plotLoss(steps, evals), "lr.png": plotRate(steps)} {
		path := filepath.Join(d.Plots(), name)
		if err := writePNG(path, p); err != nil {
			return fmt.Errorf("plot %s: %w", path, cause(err))
		}
	}
	return nil
}

func plotLoss(steps []Step, evals []Eval) *plot.Plot {
	p := newPlot("Loss", "nats per token")
	var train, broken, validation plotter.XYs
	for _, s := range steps {
		if finite(s.Loss) == nil {
			broken = append(broken, plotter.XY{X: float64(s.Step)})
		} else {
			train = append(train, plotter.XY{X: float64(s.Step), Y: float64(s.Loss)})
		}
	}
	for _, e := range evals {
		if finite(e.Loss) != nil {
			validation = append(validation, plotter.XY{X: float64(e.Step), Y: e.Loss})
		}
	}
	if len(train) >= smoothFrom {
		addLine(p, "training", thin(train), pale, 1)
		addLine(p, "training, smoothed", thin(smooth(smooth(train))), blue, 2)
	} else {
		addLine(p, "training", train, blue, 2)
		addDots(p, train, blue)
	}
	addLine(p, "validation", thin(validation), orange, 2)
	addDots(p, validation, orange)
	p.X.Min, p.X.Max = 0, float64(steps[len(steps)-1].Step)
	p.Y.Min, p.Y.Max = widen(p.Y.Min, p.Y.Max)
	if len(broken) > 0 {
		for i := range broken {
			broken[i].Y = p.Y.Min
		}
		marks := points(thin(broken), red, draw.PyramidGlyph{}, 5)
		p.Add(marks)
		p.Legend.Add("loss not finite", marks)
	}
	return p
}

func plotRate(steps []Step) *plot.Plot {
	p := newPlot("Learning rate", "")
	rate := make(plotter.XYs, len(steps))
	for i, s := range steps {
		rate[i] = plotter.XY{X: float64(s.Step), Y: s.LR}
	}
	addLine(p, "", thin(rate), blue, 2)
	addDots(p, rate, blue)
	p.X.Min, p.X.Max = 0, float64(steps[len(steps)-1].Step)
	_, p.Y.Max = widen(0, p.Y.Max)
	p.Y.Min = 0
	return p
}

// newPlot is an empty plot over steps, with a grid and sans-serif text.
func newPlot(title, unit string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = 10 * pixel
	p.X.Label.Text = "step"
	p.Y.Label.Text = unit
	p.X.Tick.Marker = ticks{want: 8, least: 1}
	p.Y.Tick.Marker = ticks{want: 7}
	p.Legend.Top = true
	p.Legend.Padding = 4 * pixel
	p.Legend.XOffs, p.Legend.YOffs = -10*pixel, -10*pixel
	p.Legend.ThumbnailWidth = 28 * pixel
	p.Title.TextStyle.Font = sans(18)
	p.Legend.TextStyle.Font = sans(14)
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font = sans(14)
		axis.Label.TextStyle.Color = ink
		axis.Label.Padding = 6 * pixel
		axis.Tick.Label.Font = sans(13)
		axis.Tick.Label.Color = ink
		axis.Tick.Length = 5 * pixel
		axis.Padding = 0
		axis.LineStyle = draw.LineStyle{Color: ink, Width: pixel}
		axis.Tick.LineStyle = axis.LineStyle
	}
	grid := draw.LineStyle{Color: lines, Width: pixel}
	p.Add(&plotter.Grid{Vertical: grid, Horizontal: grid})
	return p
}

func sans(pixels float64) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Length(pixels) * pixel}
}

// addLine adds a series; without a name it isn't in the legend.
func addLine(p *plot.Plot, name string, xys plotter.XYs, c color.Color, pixels float64) {
	if len(xys) == 0 {
		return
	}
	style := draw.LineStyle{Color: c, Width: vg.Length(pixels) * pixel}
	line := &plotter.Line{XYs: xys, LineStyle: style}
	// In pieces: the rasterizer's time grows with the square of how often one
	// stroke crosses a row of pixels.
	const piece = 50
	for i := 0; i < len(xys); i += piece {
		p.Add(&plotter.Line{XYs: xys[i:min(i+piece+1, len(xys))], LineStyle: style})
	}
	if name != "" {
		p.Legend.Add(name, line)
	}
}

// addDots marks the points of a series, as long as they are few.
func addDots(p *plot.Plot, xys plotter.XYs, c color.Color) {
	if len(xys) <= 50 {
		p.Add(points(xys, c, draw.CircleGlyph{}, 3))
	}
}

func points(xys plotter.XYs, c color.Color, shape draw.GlyphDrawer, pixels float64) *plotter.Scatter {
	return &plotter.Scatter{
		XYs:        xys,
		GlyphStyle: draw.GlyphStyle{Color: c, Radius: vg.Length(pixels) * pixel, Shape: shape},
	}
}

func writePNG(path string, p *plot.Plot) error {
	canvas := vgimg.NewWith(vgimg.UseWH(plotWidth*pixel, plotHeight*pixel), vgimg.UseDPI(pixelsPerInch))
	all := draw.New(canvas)
	p.Draw(draw.Crop(all, 12*pixel, -24*pixel, 10*pixel, -12*pixel))
	return replace(path, func(f *os.File) error {
		_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(f)
		return err
	})
}
