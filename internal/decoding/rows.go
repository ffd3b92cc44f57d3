package decoding

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/device"
)

// rows are what decoding knows of each text beside the cache, as nodes of a program.
type rows struct {
	token   *Node // [rows] int32, chosen last
	written *Node // [rows] int32, how many were chosen
	done    *Node // [rows] bool
	counts  *Node // [rows, vocab] int32, how often each token was chosen; with penalties only
	history *Node // [rows, room] int32, the tokens in the slots of the cache; with an n-gram limit only
	text    *Node // [1, room] int32, the tokens at their positions, the last included; with lookUp only
	match   *Node // [1] int32, how many of the last have to stand where guesses are taken from; with lookUp only
	// What stays as it is:
	settings *Node // [rows, settings] float32
	key      *Node // [rows] uint32
	seen     *Node // [rows, vocab] bool, tokens of the prompt; with penalties only
}

// setting is a column of the settings, [rows, 1].
func (r rows) setting(column int) *Node { return SliceAxis(r.settings, 1, AxisElem(column)) }

// rowInputs are what rows become from token to token: token, written, done, and what the features need.
func (g *Generator) rowInputs(s size, f features) []device.Input {
	in := []device.Input{
		{Name: "token", Shape: shapes.Make(dtypes.Int32, s.rows)},
		{Name: "written", Shape: shapes.Make(dtypes.Int32, s.rows)},
		{Name: "done", Shape: shapes.Make(dtypes.Bool, s.rows)},
	}
	if f.penalties {
		in = append(in, device.Input{Name: "counts", Shape: shapes.Make(dtypes.Int32, s.rows, g.parameters.Config.Vocabulary())})
	}
	if f.ngram > 0 {
		in = append(in, device.Input{Name: "history", Shape: shapes.Make(dtypes.Int32, s.rows, s.room)})
	}
	if f.lookUp {
		in = append(in, device.Input{Name: "text", Shape: shapes.Make(dtypes.Int32, s.rows, s.room)})
		in = append(in, device.Input{Name: "match", Shape: shapes.Make(dtypes.Int32, s.rows)})
	}
	return in
}

// fixedInputs are what rows keep: settings, key, and what the features need.
func (g *Generator) fixedInputs(s size, f features) []device.Input {
	in := []device.Input{
		{Name: "settings", Shape: shapes.Make(dtypes.Float32, s.rows, settings)},
		{Name: "key", Shape: shapes.Make(dtypes.Uint32, s.rows)},
	}
	if f.penalties {
		in = append(in, device.Input{Name: "seen", Shape: shapes.Make(dtypes.Bool, s.rows, g.parameters.Config.Vocabulary())})
	}
	return in
}

// rowsOf is what rowInputs and fixedInputs declare.
func rowsOf(changing, fixed []*Node, f features) rows {
	r := rows{token: changing[0], written: changing[1], done: changing[2], settings: fixed[0], key: fixed[1]}
	changing = changing[3:]
	if f.penalties {
		r.counts, changing, r.seen = changing[0], changing[1:], fixed[2]
	}
	if f.ngram > 0 {
		r.history = changing[0]
	}
	if f.lookUp {
		r.text, r.match = changing[0], changing[1]
	}
	return r
}

// nodes lists what rowInputs declares.
func (r rows) nodes() []*Node {
	nodes := []*Node{r.token, r.written, r.done}
	for _, n := range []*Node{r.counts, r.history, r.text, r.match} {
		if n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes
}
