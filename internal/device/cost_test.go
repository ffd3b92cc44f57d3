package device

import "testing"

func TestCost(t *testing.T) {
	tests := []struct {
		name    string
		program func(t *testing.T) *Program
		flops   float64
		bytes   [2]float64 // at least and at most
	}{
		// Two products forward, two for the weights' gradients, one for the activations'.
		{"target", func(t *testing.T) *Program { return twoLayers(t, openTarget(t, "h100")) },
			5 * 2 * 1024 * 512 * 2048, [2]float64{16e6, 120e6}},
		{"cpu", func(t *testing.T) *Program { return twoLayers(t, open(t, CPU)) },
			5 * 2 * 1024 * 512 * 2048, [2]float64{16e6, 240e6}},
		// Two products forward and five backward, half of each, of [2, 4, 256, 256] scores with 64 numbers a head.
		{"attention", func(t *testing.T) *Program { return fusedAttention(t, openTarget(t, "h100"), 2, 256, 4, 64) },
			(2 + 5) * 2 * (2 * 4 * 256 * 256) * 64 / 2, [2]float64{10 * 2 * 256 * 4 * 64 * 2, 4e6}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			flops, bytes, err := test.program(t).Cost()
			if err != nil || flops != test.flops || bytes < test.bytes[0] || bytes > test.bytes[1] {
				t.Errorf("it costs %v operations and %v bytes, error %v; want %v and %v", flops, bytes, err, test.flops, test.bytes)
			}
		})
	}
	_, _, err := step(t, open(t, Go)).Cost()
	fails(t, err, "step")
}

// cuBLAS's calls tell in their configuration what they multiply.
func TestCostOfLibraries(t *testing.T) {
	array := func(dims ...int64) hloShape { return hloShape{element: 16, dimensions: dims} }
	x := &hloInstruction{id: 1, opcode: "parameter", shape: array(8, 64, 32)}
	y := &hloInstruction{id: 2, opcode: "parameter", shape: array(8, 32, 16)}
	workspace := hloShape{element: 6, dimensions: []int64{4096}}
	call := &hloInstruction{id: 3, opcode: "custom-call", target: "__cublas$gemm", operands: []int64{1, 2},
		shape: hloShape{element: hloTuple, tuple: []hloShape{array(8, 64, 16), workspace}},
		config: `{"gemm_backend_config":{"alpha_real":1,"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"],
			"rhs_contracting_dimensions":["1"],"lhs_batch_dimensions":["0"],"rhs_batch_dimensions":["0"]}}}`}
	c := &hloComputation{instructions: []*hloInstruction{x, y, call}, byID: map[int64]*hloInstruction{1: x, 2: y, 3: call}}
	cost := hloCost{module: &hloModule{}, flops: map[int64]float64{}}
	if n, want := cost.operations(c), 2.*8*64*16*32; n != want {
		t.Errorf("%v operations, want %v", n, want)
	}
	if n, want := cost.traffic(c), 2.*(8*64*32+8*32*16+8*64*16); n != want {
		t.Errorf("%v bytes, want %v", n, want)
	}
}

// Of a table of which rows are looked up only these are read, and of one that is updated only these are written.
func TestCostOfLookups(t *testing.T) {
	table := hloShape{element: 11, dimensions: []int64{1000, 8}}
	rows := hloShape{element: 11, dimensions: []int64{5, 8}}
	ids := hloShape{element: 4, dimensions: []int64{5}}
	const row, id = 5 * 8 * 4, 5 * 4
	tests := []struct {
		inside []*hloInstruction
		want   float64
	}{
		{[]*hloInstruction{
			{id: 1, opcode: "parameter", shape: table}, {id: 2, opcode: "parameter", shape: ids},
			{id: 3, opcode: "gather", shape: rows, operands: []int64{1, 2}},
		}, row + row + id},
		{[]*hloInstruction{
			{id: 1, opcode: "parameter", shape: table}, {id: 2, opcode: "parameter", shape: rows},
			{id: 3, opcode: "dynamic-update-slice", shape: table, operands: []int64{1, 2}},
		}, row + row},
		{[]*hloInstruction{
			{id: 1, opcode: "parameter", shape: table}, {id: 2, opcode: "bitcast", shape: table, operands: []int64{1}},
			{id: 3, opcode: "slice", shape: rows, operands: []int64{2}},
		}, row + row},
	}
	for _, test := range tests {
		fused := &hloComputation{id: 7, root: 3, instructions: test.inside, byID: map[int64]*hloInstruction{}}
		for _, i := range test.inside {
			fused.byID[i.id] = i
		}
		fusion := &hloInstruction{id: 1, opcode: "fusion", called: []int64{7}, shape: fused.byID[3].shape}
		c := &hloComputation{instructions: []*hloInstruction{fusion}}
		cost := hloCost{module: &hloModule{computations: []*hloComputation{fused}}}
		if n := cost.traffic(c); n != test.want {
			t.Errorf("a fused %s takes %v bytes, want %v", fused.byID[3].opcode, n, test.want)
		}
	}
}
