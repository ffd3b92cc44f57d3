package decoding

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// lastLogits maps hidden [batch, n, embed] to the float32 logits [batch, vocab] of the last.
func lastLogits(m models.Model, hidden *Node) *Node {
	return Squeeze(blocks.Logits(m.Head(SliceAxis(hidden, 1, AxisElem(-1)))), 1)
}

// chooser is the program that chooses tokens after a prompt: from rows, what is fixed, position, slot and logits to tokens and
// rows.
func (g *Generator) chooser(s size, f features, eos []int) program {
	type key struct {
		size
		features
		eos string
	}
	if f.ngram == 0 && !f.lookUp {
		s = size{rows: s.rows} // nothing else is asked of it
	}
	return program{key{s, f, fmt.Sprint(eos)}, func() (*device.Program, error) {
		changing, fixed := g.rowInputs(s, f), g.fixedInputs(s, f)
		inputs := append(append([]device.Input{}, changing...), fixed...)
		inputs = append(inputs,
			device.Input{Name: "position", Shape: shapes.Make(dtypes.Int32, s.rows)},
			device.Input{Name: "slot", Shape: shapes.Make(dtypes.Int32)},
			device.Input{Name: "logits", Shape: shapes.Make(dtypes.Float32, s.rows, g.parameters.Config.Vocabulary())})
		becomes := map[int]int{}
		for i := range changing {
			becomes[i] = f.told() + i
		}
		return g.device.Compile(fmt.Sprintf("first tokens of %d rows", s.rows), inputs, becomes, func(_ *Graph, in []*Node) []*Node {
			n := len(changing)
			r := rowsOf(in[:n], in[n:], f)
			in = in[n+len(fixed):]
			var newest *Node
			if f.ngram > 0 {
				newest = blocks.BeforeSlot(in[1], s.room)
			}
			told := r.choose(in[2], f, eos, newest, in[0])
			r.note(ExpandAxes(r.token, 1), in[0])
			return append(told, r.nodes()...)
		})
	}}
}

func stoppedInput(s size) device.Input {
	return device.Input{Name: "stopped", Shape: shapes.Make(dtypes.Bool, s.rows)}
}

var limitInput = device.Input{Name: "limit", Shape: shapes.Make(dtypes.Int32)}

// call is the most steps of a call, and how many tokens of a row, but for guesses, it can write.
func (g *Generator) call() int {
	if !g.device.Loops() {
		return 1
	}
	return maxCall
}

// writer is the program that adds tokens: from parameters, what is fixed, which rows are stopped, the limit, rows and cache to
// what is told of the tokens, [rows, call, ...], rows and cache, and how many steps it took.
func (g *Generator) writer(s size, f features, eos []int) program {
	type key struct {
		size
		features
		eos  string
		more bool // than the first token
	}
	return program{key{s, f, fmt.Sprint(eos), true}, func() (*device.Program, error) {
		parameters, fixes := len(g.parameters.Inputs()), len(g.fixedInputs(s, f))
		inputs := append(g.parameters.Inputs(), g.fixedInputs(s, f)...)
		inputs = append(inputs, stoppedInput(s), limitInput)
		changing := len(inputs)
		inputs = append(inputs, g.rowInputs(s, f)...)
		changes := len(inputs) - changing
		for i, c := range g.cacheShapes(s) {
			inputs = append(inputs, device.Input{Name: fmt.Sprintf("cache%d", i), Shape: c})
		}
		becomes := map[int]int{}
		for i := range inputs[changing:] {
			becomes[changing+i] = f.told() + i
		}
		// fixed are parameters and what rows keep, state rows and cache.
		unpack := func(fixed, state []*Node) (models.Model, rows, models.Cache) {
			m := g.parameters.Model(fixed[:parameters])
			return m, rowsOf(state[:changes], fixed[parameters:parameters+fixes], f), models.CacheOf(g.parameters.Config, state[changes:])
		}
		// add writes one token a row.
		add := func(fixed, state []*Node) (told, next []*Node) {
			m, r, c := unpack(fixed, state)
			slot := c.Slot
			if r.history != nil {
				r.history = blocks.WriteSlot(r.history, ExpandAxes(r.token, 1), 1, slot)
			}
			hidden, c := m.Step(ExpandAxes(r.token, 1), c)
			told = r.choose(lastLogits(m, hidden), f, eos, slot, c.Position)
			for i := range told {
				told[i] = ExpandAxes(told[i], 1)
			}
			r.note(ExpandAxes(r.token, 1), c.Position)
			return told, append(r.nodes(), c.Nodes()...)
		}
		return g.device.Compile(fmt.Sprintf("write %dx%d", s.rows, s.room), inputs, becomes, func(graph *Graph, in []*Node) []*Node {
			unchanged, state := in[:parameters+fixes], append([]*Node{}, in[changing:]...)
			stopped, limit := in[changing-2], in[changing-1]
			state[doneInput] = LogicalOr(state[doneInput], stopped)
			if g.call() == 1 {
				told, next := add(unchanged, state)
				return append(append(told, next...), Const(graph, int32(1)))
			}
			now := []*Node{Const(graph, int32(0)), Const(graph, int32(0))} // steps, tokens, what is told of them, state
			for _, t := range f.tellings(s.rows, g.call()) {
				now = append(now, AddScalar(Zeros(graph, t), -1))
			}
			n := len(now)
			now = append(now, state...)
			after := func(now, told, next []*Node, more *Node) []*Node {
				all := []*Node{AddScalar(now[0], 1), Add(now[1], more)}
				for i, t := range told {
					all = append(all, blocks.WriteSlot(now[2+i], t, 1, now[1]))
				}
				return append(all, next...)
			}
			more := func(fixed, now []*Node) *Node {
				active := LogicalNot(now[n+doneInput])
				steps := LessThan(now[0], fixed[len(fixed)-1])
				tokens := LessThan(now[1], Scalar(now[0].Graph(), dtypes.Int32, g.call()))
				return LogicalAnd(LogicalAnd(steps, tokens), ReduceLogicalOr(active))
			}
			one := func(fixed, now []*Node) []*Node {
				told, next := add(fixed, now[n:])
				return after(now, told, next, ScalarOne(now[0].Graph(), dtypes.Int32))
			}
			fixed := append(append([]*Node{}, unchanged...), limit)
			if !f.lookUp {
				now = device.While(fixed, now, more, one)
				return append(now[2:], now[0])
			}
			found := func(fixed, now []*Node) *Node {
				_, r, c := unpack(fixed, now[n:])
				found, _ := r.lookUp(c)
				return found
			}
			// One by one until there are guesses, and then guesses until there are none. A loop of both would have loops in it, which
			// gomlx can't build.
			now = device.While(fixed, now,
				func(fixed, now []*Node) *Node { return LogicalAnd(more(fixed, now), LogicalNot(found(fixed, now))) }, one)
			now = device.While(fixed, now,
				func(fixed, now []*Node) *Node { return LogicalAnd(more(fixed, now), found(fixed, now)) },
				func(fixed, now []*Node) []*Node {
					m, r, c := unpack(fixed, now[n:])
					told, written, c := r.guess(m, c, f, eos)
					return after(now, []*Node{told}, append(r.nodes(), c.Nodes()...), written)
				})
			return append(now[2:], now[0])
		})
	}}
}

// told is how many arrays tell of the tokens that were chosen.
func (f features) told() int { return len(f.tellings(1, 1)) }

// tellings are the shapes of those arrays for a call: tokens, [rows, call, 1], and with their probabilities the likeliest after
// each, and the logarithms of all their probabilities.
func (f features) tellings(rows, call int) []shapes.Shape {
	if f.lookUp {
		call += guesses // which the last step may bring
	}
	if !f.logProbs {
		return []shapes.Shape{shapes.Make(dtypes.Int32, rows, call, 1)}
	}
	return []shapes.Shape{shapes.Make(dtypes.Int32, rows, call, 1+Alternatives), shapes.Make(dtypes.Float32, rows, call, 1+Alternatives)}
}
