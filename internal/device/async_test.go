package device

import (
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
)

const asyncSize = 192

// recurrence is x = x*w + mean(batch), with enough products in it to be still at work when Run returns.
func recurrence(t *testing.T, d *Device) *Program {
	t.Helper()
	s := float32s(asyncSize, asyncSize)
	p, err := d.Compile("recurrence", []Input{{"x", s}, {"w", s}, {"batch", float32s(64)}}, map[int]int{0: 0},
		func(g *graph.Graph, in []*graph.Node) []*graph.Node {
			x := in[0]
			for range 8 {
				x = graph.MatMul(x, in[1])
			}
			x = graph.Add(x, graph.ReduceAllMean(in[2]))
			return []*graph.Node{x, graph.ReduceAllSum(x)}
		})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// rotation moves every column one to the right: products with it are exact.
func rotation() []float32 {
	w := make([]float32, asyncSize*asyncSize)
	for i := range asyncSize {
		w[i*asyncSize+(i+1)%asyncSize] = 1
	}
	return w
}

// Programs run one after the other however far ahead they are started, while their inputs are freed, others are uploaded
// by another goroutine, outputs are dropped and the garbage collector is busy.
func TestRunAhead(t *testing.T) {
	each(t, func(t *testing.T, d *Device) {
		steps := 60
		if d.Kind() == Go {
			steps = 6
		}
		p := recurrence(t, d)
		defer p.Finalize()
		w := upload(t, d, rotation(), asyncSize, asyncSize)
		x, err := d.UploadFloat32(make([]float32, asyncSize*asyncSize), asyncSize, asyncSize)
		if err != nil {
			t.Fatal(err)
		}
		batches := make(chan *Buffer, 2)
		var group sync.WaitGroup
		group.Go(func() {
			defer close(batches)
			for i := range steps {
				host := slices.Repeat([]float32{float32(i + 1)}, 64)
				b, err := d.UploadFloat32(host, 64)
				clear(host)
				if err != nil {
					t.Error(err)
					return
				}
				batches <- b
				runtime.GC()
			}
		})
		var sums []*Buffer
		for batch := range batches {
			out, err := p.Run([]*Buffer{x, w, batch})
			if err != nil {
				t.Fatal(err)
			}
			batch.Free()
			x = out[0]
			if len(sums)%5 == 4 {
				out[1].Free() // while it may not be there yet
				out[1] = nil
			}
			sums = append(sums, out[1])
		}
		group.Wait()
		total := 0
		for i, sum := range sums {
			total += (i + 1) * asyncSize * asyncSize
			if sum == nil {
				continue
			}
			if got := values(t, sum); got[0] != float32(total) {
				t.Errorf("step %d gave %v, want %d", i+1, got[0], total)
			}
			sum.Free()
		}
		for _, v := range values(t, x) {
			if v != float32(steps*(steps+1)/2) {
				t.Fatalf("the state is %v, want %d", v, steps*(steps+1)/2)
			}
		}
		x.Free()
	})
}

// What a program still needs may go while it runs: its code, and the device.
func TestFreedWhileRunning(t *testing.T) {
	for range 5 {
		d, err := Open(CPU)
		if err != nil {
			open(t, CPU) // skips or fails
		}
		p := recurrence(t, d)
		w := upload(t, d, rotation(), asyncSize, asyncSize)
		x := upload(t, d, make([]float32, asyncSize*asyncSize), asyncSize, asyncSize)
		batch := upload(t, d, slices.Repeat([]float32{1}, 64), 64)
		for range 10 {
			out, err := p.Run([]*Buffer{x, w, batch})
			if err != nil {
				t.Fatal(err)
			}
			x = out[0]
			t.Cleanup(x.Free)
			t.Cleanup(out[1].Free)
		}
		p.Finalize()
		if got := values(t, x); got[0] != 10 {
			t.Errorf("the state is %v, want 10", got[0])
		}
		p = recurrence(t, d)
		if _, err := p.Run([]*Buffer{x, w, batch}); err != nil {
			t.Fatal(err)
		}
		d.Close()
	}
}
