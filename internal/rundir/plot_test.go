package rundir

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"gonum.org/v1/plot/plotter"
)

// curve is the log of a plausible run; some of its losses are NaN.
func curve(t *testing.T, d Dir, n int) {
	t.Helper()
	m, err := OpenMetrics(d.Metrics(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	noise := rand.New(rand.NewPCG(1, 2))
	for i := 1; i <= n; i++ {
		x := float64(i) / float64(n)
		s := step(i)
		s.Loss = float32(1.6 + 3*math.Exp(-6*x) + 0.15*noise.NormFloat64())
		s.LR = 3e-4 * min(1, 10*x) * (0.55 + 0.45*math.Cos(math.Pi*x))
		if i%71 == 70 {
			s.Loss = float32(math.NaN())
		}
		if err := m.Step(s); err != nil {
			t.Fatal(err)
		}
		if i%max(1, n/10) == 0 {
			if err := m.Eval(Eval{Step: i, Loss: 1.8 + 2.8*math.Exp(-5*x)}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestPlot(t *testing.T) {
	for _, n := range []int{1, 2, 30, 10_000} {
		d := Dir(t.TempDir())
		curve(t, d, n)
		if err := d.Plot(); err != nil {
			t.Fatal(err)
		}
		colours := map[string][]color.NRGBA{"loss.png": {blue, orange}, "lr.png": {blue}}
		if n >= 70 {
			colours["loss.png"] = append(colours["loss.png"], red, pale)
		}
		for name, want := range colours {
			for _, c := range want {
				if pixels := count(t, filepath.Join(d.Plots(), name), c); pixels < 20 {
					t.Errorf("%d steps: %s has %d pixels of %v", n, name, pixels, c)
				}
			}
		}
	}
}

// count decodes a plot and counts the pixels of a colour.
func count(t *testing.T, path string, c color.NRGBA) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if size := img.Bounds().Size(); size.X != 900 || size.Y != 500 {
		t.Fatalf("%s: size %v", path, size)
	}
	rgba, ok := img.(*image.RGBA)
	if !ok {
		t.Fatalf("%s is a %T", path, img)
	}
	n := 0
	for i := 0; i < len(rgba.Pix); i += 4 {
		if rgba.Pix[i] == c.R && rgba.Pix[i+1] == c.G && rgba.Pix[i+2] == c.B {
			n++
		}
	}
	return n
}

func TestPlotOfNothing(t *testing.T) {
	d := Dir(t.TempDir())
	curve(t, d, 0)
	if err := d.Plot(); err != nil {
		t.Fatal(err)
	}
	if exists(d.Plots()) {
		t.Error("there are plots")
	}
}

func TestPlotOfNaN(t *testing.T) {
	d := Dir(t.TempDir())
	m, err := OpenMetrics(d.Metrics(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Step(Step{Step: 1, Loss: float32(math.NaN())}); err != nil {
		t.Fatal(err)
	}
	if err := d.Plot(); err != nil {
		t.Fatal(err)
	}
	if pixels := count(t, filepath.Join(d.Plots(), "loss.png"), red); pixels < 20 {
		t.Errorf("%d red pixels", pixels)
	}
}

func TestSmooth(t *testing.T) {
	straight := make(plotter.XYs, 200)
	for i := range straight {
		straight[i] = plotter.XY{X: float64(i), Y: 3 * float64(i)}
	}
	smoothed := smooth(straight)
	for i := 2; i < 198; i++ {
		if math.Abs(smoothed[i].Y-straight[i].Y) > 1e-9 {
			t.Fatalf("a straight line bends at %d: %v", i, smoothed[i])
		}
	}
	if smoothed[0].Y != 3 { // the mean of 0, 3 and 6
		t.Errorf("got %v at the end", smoothed[0])
	}
}

func TestThin(t *testing.T) {
	xys := make(plotter.XYs, 9000)
	for i := range xys {
		xys[i].X = float64(i)
	}
	xys[4321].Y, xys[7654].Y = 5, -5
	thinned := thin(xys)
	if len(thinned) > 2*plotWidth {
		t.Errorf("%d points", len(thinned))
	}
	var peaks []float64
	last := -1.0
	for _, xy := range thinned {
		if xy.X <= last {
			t.Fatalf("out of order at %v", xy.X)
		}
		last = xy.X
		if xy.Y != 0 {
			peaks = append(peaks, xy.X)
		}
	}
	if !reflect.DeepEqual(peaks, []float64{4321, 7654}) {
		t.Errorf("peaks at %v", peaks)
	}
}

func TestTicks(t *testing.T) {
	tests := []struct {
		ticks     ticks
		low, high float64
		want      []string
	}{
		{ticks{want: 8, least: 1}, 0, 1, []string{"0", "1"}},
		{ticks{want: 8, least: 1}, 0, 10, []string{"0", "2", "4", "6", "8", "10"}},
		{ticks{want: 8, least: 1}, 0, 12345, []string{"0", "2,000", "4,000", "6,000", "8,000", "10,000", "12,000"}},
		{ticks{want: 7}, 1.93, 4.2, []string{"2.0", "2.5", "3.0", "3.5", "4.0"}},
		{ticks{want: 7}, 0, 3.3e-4, []string{"0", "5.0e-5", "1.0e-4", "1.5e-4", "2.0e-4", "2.5e-4", "3.0e-4"}},
		{ticks{want: 7}, 0.4, 0.46, []string{"0.40", "0.41", "0.42", "0.43", "0.44", "0.45", "0.46"}},
	}
	for _, test := range tests {
		var got []string
		for _, mark := range test.ticks.Ticks(test.low, test.high) {
			got = append(got, mark.Label)
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%v to %v: got %q, want %q", test.low, test.high, got, test.want)
		}
	}
}
