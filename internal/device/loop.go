package device

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
)

// Scan runs body in a program once for each element of the first axis of rows, which is the same for all of them, and
// returns the last state. body gets what is fixed, the element of each of rows, and the state that the time before
// returned; it returns the next, of the same shapes. It can't use other nodes from outside of it.
//
// With XLA it is a loop, so that compiling takes no longer for many elements than for one, and neither does memory.
func Scan(fixed, rows, state []*graph.Node, body func(fixed, row, state []*graph.Node) []*graph.Node) []*graph.Node {
	g, n := rows[0].Graph(), rows[0].Shape().Dimensions[0]
	if n == 1 || !g.Backend().Capabilities().Operations[compute.OpTypeDynamicSlice] {
		// The Go backend has no dynamic slice, mixes up nodes inside of closures, and has nothing to compile twice.
		for i := range n {
			row := make([]*graph.Node, len(rows))
			for k, r := range rows {
				row[k] = graph.Squeeze(graph.Slice(r, graph.AxisElem(i)), 0)
			}
			state = body(fixed, row, state)
		}
		return state
	}
	f := len(fixed)
	last := While(slices.Concat(fixed, rows), append([]*graph.Node{graph.Const(g, int32(0))}, state...),
		func(_, now []*graph.Node) *graph.Node { return graph.LessThan(now[0], graph.Const(g, int32(n))) },
		func(fixed, now []*graph.Node) []*graph.Node {
			row := make([]*graph.Node, len(rows))
			for k, r := range fixed[f:] {
				row[k] = element(r, now[0])
			}
			return append([]*graph.Node{graph.Add(now[0], graph.Const(g, int32(1)))}, body(fixed[:f], row, now[1:])...)
		})
	return last[1:]
}

// Loops says whether programs can have While.
func (d *Device) Loops() bool { return d.backend.Capabilities().Operations[compute.OpTypeDynamicSlice] }

// While runs body in a program as long as more says so, and returns the last state. Both get what is fixed and the state
// that body returned before, of the same shapes; they can't use other nodes from outside of them. The Go backend can't do it
// (Loops).
func While(fixed, state []*graph.Node, more func(fixed, state []*graph.Node) *graph.Node, body func(fixed, state []*graph.Node) []*graph.Node) []*graph.Node {
	all := slices.Concat(fixed, state)
	g, f := all[0].Graph(), len(fixed)
	inside := func() (fixed, state []*graph.Node) {
		now := make([]*graph.Node, len(all))
		for k, outside := range all {
			now[k] = graph.Parameter(g, fmt.Sprintf("p%d", k), outside.Shape())
		}
		return now[:f:f], now[f:]
	}
	goOn := closure(g, func() []*graph.Node { return []*graph.Node{more(inside())} })
	again := closure(g, func() []*graph.Node {
		fixed, state := inside()
		return slices.Concat(fixed, body(fixed, state))
	})
	return graph.While(goOn, again, all...)[f:]
}

// element is x[i].
func element(x, i *graph.Node) *graph.Node {
	starts := []*graph.Node{i}
	sizes := slices.Clone(x.Shape().Dimensions)
	for range sizes[1:] {
		starts = append(starts, graph.ScalarZero(x.Graph(), i.DType()))
	}
	sizes[0] = 1
	return graph.Squeeze(graph.DynamicSlice(x, starts, sizes), 0)
}

// closure is graph.NewClosure, with constants and reduction functions of its own. gomlx and go-xla make these once for a
// whole program, though what is made inside of a closure can't be used outside, nor reductions the other way round.
func closure(g *graph.Graph, build func() []*graph.Node) *graph.Function {
	caches := cachesOf(g)
	for _, c := range caches {
		outside := reflect.ValueOf(c.Interface())
		c.Set(reflect.MakeMap(c.Type()))
		defer c.Set(outside)
	}
	return graph.NewClosure(g, func(*graph.Graph) []*graph.Node { return build() })
}

// cachesOf are the maps in g and in its backend's builder, by whatever name, that hold what was made already.
func cachesOf(g *graph.Graph) []reflect.Value {
	fields := func(of reflect.Value, names ...string) (found []reflect.Value) {
		for _, name := range names {
			f := of.FieldByName(name)
			if !f.IsValid() || f.Kind() != reflect.Map {
				panic(fmt.Sprintf("%s has no map %s; see closure in internal/device", of.Type(), name))
			}
			found = append(found, reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem())
		}
		return found
	}
	made := reflect.ValueOf(g).Elem()
	caches := fields(made, "scalars", "tensorConstants")
	builder := made.FieldByName("builder").Elem().Elem()
	if builder.Type().PkgPath() == "github.com/gomlx/go-xla/compute/xla" {
		caches = append(caches, fields(builder, "cacheReductions", "cacheArgMinMax", "cacheSelections")...)
	}
	return caches
}
