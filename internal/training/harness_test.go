package training

import (
	"context"
	"io"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/rundir"
)

// families are the models that tests train: tiny ones with random weights, see models/testdata.
var families = []string{"llama", "opt", "t5"}

// eachFamily runs test for all families on the Go backend, which has nothing to compile, and for one on XLA.
func eachFamily(t *testing.T, test func(t *testing.T, d *device.Device, family string)) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, family := range families {
			if d.Kind() == device.CPU && family != "llama" {
				continue
			}
			t.Run(family, func(t *testing.T) { test(t, d, family) })
		}
	})
}

func modelDir(family string) string { return filepath.Join("../../models/testdata", family+"-tiny") }

// config is the recipe of the reference trajectories, without its clipping by length, for a family's tiny model.
func config(t *testing.T, family string, overrides ...string) configs.Config {
	t.Helper()
	dir := modelDir(family)
	c, err := configs.Load("reference", append([]string{
		"model.path=" + dir, "data.train=" + filepath.Join(dir, "train.jsonl"), "run.dir=" + filepath.Join(t.TempDir(), "run"),
	}, overrides...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start begins a run until the test ends.
func start(t *testing.T, d *device.Device, c configs.Config) *Run {
	t.Helper()
	setup, err := Prepare(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(setup.Close)
	dir, err := rundir.Create(c.Run.Dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Start(setup, d, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// train trains to the end.
func train(t *testing.T, r *Run) rundir.Summary {
	t.Helper()
	summary, err := r.Train(context.Background(), rundir.NewDisplay(io.Discard, false, r.Total()))
	if err != nil {
		t.Fatal(err)
	}
	return summary
}

// losses are the logged losses and gradient norms of a run.
func losses(t *testing.T, r *Run) (losses, norms []float64) {
	t.Helper()
	steps, _, err := rundir.ReadMetrics(r.dir.Metrics())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		losses, norms = append(losses, float64(s.Loss)), append(norms, float64(s.GradNorm))
	}
	return losses, norms
}

// run takes one step and waits for it.
func (s *stepper) run(b data.Batch, micro int, rate float64, step int, seed uint64) (outcome, error) {
	shape := feed.ShapeOf(b).Cut(micro)
	in, err := s.upload(b, shape, rate, step, seed)
	if err != nil {
		return outcome{}, err
	}
	metrics, err := s.start(shape, in, true)
	if err != nil {
		return outcome{}, err
	}
	return fetch(metrics)
}

// state is what a step changes, on the host.
type state struct{ parameters, slots [][]byte }

func download(t *testing.T, s *stepper) state {
	t.Helper()
	return state{contents(t, s.parameters), contents(t, s.state)}
}

func contents(t *testing.T, buffers []*device.Buffer) [][]byte {
	t.Helper()
	all := make([][]byte, len(buffers))
	for i, b := range buffers {
		all[i] = make([]byte, b.Shape().ByteSize())
		if err := b.Download(all[i]); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// restoreTo puts a downloaded state back.
func (s *stepper) restoreTo(t *testing.T, to state) {
	t.Helper()
	for _, part := range []struct {
		buffers []*device.Buffer
		from    [][]byte
	}{{s.parameters, to.parameters}, {s.state, to.slots}} {
		for i, b := range part.buffers {
			shape := b.Shape()
			b.Free()
			var err error
			if part.buffers[i], err = s.device.Upload(shape, part.from[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// batch is the first n records in file order.
func batch(t *testing.T, r *Run, n int) data.Batch {
	t.Helper()
	l, err := r.setup.loader(r.setup.Train, n, r.setup.Config.Data)
	if err != nil {
		t.Fatal(err)
	}
	return l.Next()
}

func replaceOnce(t *testing.T, text, old, new string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q isn't once in %s", old, text)
	}
	return strings.Replace(text, old, new, 1)
}

// worst is the largest difference of two lists, relative to the larger of 1 and the values.
func worst(a, b []float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	most := 0.0
	for i := range a {
		diff := math.Abs(a[i]-b[i]) / max(1, math.Abs(a[i]))
		if math.IsNaN(diff) || diff > most {
			most = diff
		}
	}
	return most
}
