package decoding

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/models"
	"github.com/longform-go/longform/models/blocks"
)

// search looks for the most likely text after each prompt, with at most so many tokens a call.
func (g *Generator) search(prompts [][]int32, o Options, call int) ([]Text, error) {
	var rows [][]int32
	for _, p := range prompts {
		rows = append(rows, slices.Repeat([][]int32{p}, o.Beams.Number)...)
	}
	b, err := g.readAll(g.begin(rows, 0, o), g.batchSize(len(rows), longestOf(rows), o), o.features())
	if err != nil {
		return nil, err
	}
	defer b.close()
	program, err := g.compile(g.searcher(b, o, call))
	if err != nil {
		return nil, err
	}
	hypotheses := len(b.changing)
	if err := b.uploadHypotheses(o.Beams.Number); err != nil {
		return nil, err
	}
	for done := make([]byte, b.size.rows); slices.Contains(done, 0); {
		out, err := program.Run(slices.Concat(g.parameters.Values, b.fixed, b.changing, []*device.Buffer{b.logits}, b.cache))
		if err != nil {
			return nil, err
		}
		n := len(b.changing)
		b.changing, b.logits, b.cache = out[:n], out[n], out[n+1:]
		if err := b.changing[doneInput].Download(done); err != nil {
			return nil, err
		}
	}
	return b.found(b.changing[hypotheses+finishedIDs], b.changing[hypotheses+finishedLengths], o)
}

// doneInput is the place of done among rowInputs.
const doneInput = 2

// The hypotheses that are kept from token to token, in the order of hypothesesInputs.
const (
	runningScores = iota
	runningIDs
	finishedScores
	finishedIDs
	finishedLengths
)

// hypothesesInputs are what searches become from token to token besides rows.
func hypothesesInputs(s size, beams int) []device.Input {
	prompts := s.rows / beams
	scores, lengths := shapes.Make(dtypes.Float32, prompts, beams), shapes.Make(dtypes.Int32, prompts, beams)
	ids := shapes.Make(dtypes.Int32, prompts, beams, s.room)
	return []device.Input{
		runningScores: {Name: "running scores", Shape: scores}, runningIDs: {Name: "running ids", Shape: ids},
		finishedScores: {Name: "finished scores", Shape: scores}, finishedIDs: {Name: "finished ids", Shape: ids},
		finishedLengths: {Name: "finished lengths", Shape: lengths},
	}
}

// uploadHypotheses adds to the rows those before the first token. All beams of a prompt are the same then, so that only one
// counts.
func (b *batch) uploadHypotheses(beams int) error {
	running, finished := make([]float32, b.size.rows), make([]float32, b.size.rows)
	for i := range running {
		finished[i] = outOfIt
		if i%beams > 0 {
			running[i] = outOfIt
		}
	}
	none := make([]int32, b.size.rows*b.size.room)
	values := []any{runningScores: running, runningIDs: none, finishedScores: finished, finishedIDs: none, finishedLengths: none[:b.size.rows]}
	for i, in := range hypothesesInputs(b.size, beams) {
		if err := b.add(&b.changing, in, littleEndian(values[i])); err != nil {
			return err
		}
	}
	return nil
}

// searcher is the program that adds tokens to all texts, until the searches are done: from parameters, what is fixed, rows with
// hypotheses, logits and cache to the last four.
func (g *Generator) searcher(b *batch, o Options, call int) program {
	type key struct {
		promptSize
		features
		eos       string
		beams     int
		early     EarlyStopping
		new, call int
	}
	// Tokens that are written take so many slots after the prompts. What comes before is the same for all beams of a prompt.
	written := min(roundUp(o.MaxNewTokens), b.size.room-1)
	k := key{promptSize{b.size, b.prompted}, b.f, fmt.Sprint(b.eos), o.Beams.Number, o.Beams.EarlyStopping, written, call}
	return program{k, func() (*device.Program, error) {
		inputs := append(g.parameters.Inputs(), g.fixedInputs(b.size, b.f)...)
		changing := len(inputs)
		inputs = append(inputs, g.rowInputs(b.size, b.f)...)
		inputs = append(inputs, hypothesesInputs(b.size, o.Beams.Number)...)
		inputs = append(inputs, device.Input{Name: "logits", Shape: shapes.Make(dtypes.Float32, b.size.rows, g.parameters.Config.Vocabulary())})
		for i, c := range g.cacheShapes(b.size) {
			inputs = append(inputs, device.Input{Name: fmt.Sprintf("cache%d", i), Shape: c})
		}
		becomes := map[int]int{}
		for i := range inputs[changing:] {
			becomes[changing+i] = i
		}
		next := func(fixed, state []*Node) []*Node { return g.searchOn(b, o.Beams, written, fixed, state) }
		return g.device.Compile(fmt.Sprintf("search %dx%d", b.size.rows, b.size.room), inputs, becomes, func(graph *Graph, in []*Node) []*Node {
			fixed, state := in[:changing], in[changing:]
			if call == 1 {
				return next(fixed, state)
			}
			return device.While(fixed, append([]*Node{Const(graph, int32(0))}, state...),
				func(_, now []*Node) *Node {
					active := LogicalNot(now[1+doneInput])
					return LogicalAnd(LessThan(now[0], Scalar(active.Graph(), dtypes.Int32, call)), ReduceLogicalOr(active))
				},
				func(fixed, now []*Node) []*Node {
					return append([]*Node{AddScalar(now[0], 1)}, next(fixed, now[1:])...)
				})[1:]
		})
	}}
}

// searchOn adds a token to each text, and reads it. The tokens that were added before are in so many slots after the prompts.
func (g *Generator) searchOn(b *batch, beams Beams, written int, fixed, state []*Node) []*Node {
	parameters := len(g.parameters.Inputs())
	m := g.parameters.Model(fixed[:parameters])
	s := search{rows: rowsOf(state, fixed[parameters:], b.f)}
	state = state[len(s.nodes()):]
	s.running = hypotheses{state[runningScores], state[runningIDs], Reshape(s.written, state[runningScores].Shape().Dimensions...)}
	s.finished = hypotheses{state[finishedScores], state[finishedIDs], state[finishedLengths]}
	state = state[finishedLengths+1:]
	s.logits = state[0]
	c := models.CacheOf(g.parameters.Config, state[1:])

	parents := s.advance(beams, b.f, b.eos, blocks.BeforeSlot(c.Slot, b.size.room), c.Position)
	for _, kv := range c.Self {
		kv.Follow(parents, b.prompted, written)
	}
	of := func(x *Node) *Node { return Gather(x, ExpandAxes(parents, 1)) }
	token := ExpandAxes(s.token, 1)
	if s.history != nil {
		s.history = blocks.WriteSlot(of(s.history), token, 1, c.Slot)
	}
	if s.counts != nil {
		s.counts = of(s.counts)
		vocab := Iota(token.Graph(), s.counts.Shape(), 1)
		s.counts = Add(s.counts, ConvertDType(Equal(vocab, over(s.token, vocab)), dtypes.Int32))
	}
	hidden, c := m.Step(token, c)
	return slices.Concat(s.nodes(), []*Node{
		runningScores: s.running.scores, runningIDs: s.running.ids,
		finishedScores: s.finished.scores, finishedIDs: s.finished.ids, finishedLengths: s.finished.lengths,
	}, []*Node{lastLogits(m, hidden)}, c.Nodes())
}

// found downloads the best text of each prompt.
func (b *batch) found(ids, lengths *device.Buffer, o Options) ([]Text, error) {
	all, err := ids.Int32s()
	if err != nil {
		return nil, err
	}
	ends, err := lengths.Int32s()
	if err != nil {
		return nil, err
	}
	var texts []Text
	for i := 0; i < b.size.rows; i += o.Beams.Number {
		t := Text{IDs: all[i*b.size.room:][:ends[i]], FinishReason: Length}
		if n := len(t.IDs); n > 0 && slices.Contains(o.EOS, int(t.IDs[n-1])) {
			t.FinishReason = Stop
		}
		texts = append(texts, t)
	}
	return texts, nil
}
