package blocks

import . "github.com/gomlx/gomlx/core/graph"

// Joint is the weights of projections of the same x, [out, in] each, which may lie below one another in one array. Then one
// product has them all, and reads them faster than several smaller ones do.
type Joint struct{ Weights []*Weight }

// Join makes a Joint of projections.
func Join(projections ...*Linear) {
	j := &Joint{}
	for _, l := range projections {
		l.Weight.Joint = j
		j.Weights = append(j.Weights, l.Weight)
	}
}

// Rows is the sum of the weights' out.
func (j *Joint) Rows() int {
	rows := 0
	for _, w := range j.Weights {
		rows += w.Shape[0]
	}
	return rows
}

// Bind sets the values of all weights, [Rows, in].
func (j *Joint) Bind(value *Node) {
	from := 0
	for _, w := range j.Weights {
		w.joined = value
		w.Bind(SliceAxis(value, 0, AxisRange(from, from+w.Shape[0])))
		from += w.Shape[0]
	}
}

// Together maps x [..., in] to what each projection of a Joint makes of it, [..., out].
func Together(x *Node, t *Training, projections ...*Linear) []*Node {
	all := make([]*Node, len(projections))
	joined := projections[0].Weight.joined
	if joined == nil {
		for i, l := range projections {
			all[i] = l.Forward(x, t)
		}
		return all
	}
	y := projectFew(x, joined, x.DType())
	from := 0
	for i, l := range projections {
		out := l.Weight.Shape[0]
		all[i] = l.adjust(SliceAxis(y, -1, AxisRange(from, from+out)), x, t)
		from += out
	}
	return all
}
