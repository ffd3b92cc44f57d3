package device

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Cost returns what one run of the program takes: floating-point operations of matrix products, two for a product and
// its sum, and bytes that its kernels read and write in device memory. What else a program computes is bound by those
// bytes. A loop counts as often as it runs where the compiler knows that, and else once. It needs XLA.
//
// It is counted from the optimized program: XLA's own cost analysis takes calls of cuBLAS and cuDNN for nothing, and has
// no answer for a GPU that isn't here. Causal attention by cuDNN counts half of its products, which is what it computes.
func (p *Program) Cost() (flops, bytes float64, err error) {
	module, err := p.optimized()
	if err != nil {
		return 0, 0, err
	}
	entry := module.computation(module.entry)
	if entry == nil {
		return 0, 0, fmt.Errorf("cost of %s: the optimized program has no entry computation", p.name)
	}
	c := hloCost{module: module, flops: map[int64]float64{}}
	return c.operations(entry), c.traffic(entry), nil
}

type hloCost struct {
	module *hloModule
	flops  map[int64]float64 // by computation
}

// operations counts the floating-point operations of a computation and of what it calls.
func (c *hloCost) operations(computation *hloComputation) float64 {
	if n, ok := c.flops[computation.id]; ok {
		return n
	}
	n := 0.0
	for _, i := range computation.instructions {
		switch {
		case i.opcode == "dot":
			n += product(computation, i, i.contracted)
		case i.target == fewTarget:
			if x := computation.operand(i, 0); x != nil {
				n += product(computation, i, []int64{int64(len(x.shape.dimensions)) - 1})
			}
		case strings.HasPrefix(i.target, "__cublas$"):
			n += product(computation, i, i.library().Gemm.Dimensions.Contracting)
		case strings.HasPrefix(i.target, "__cudnn$fmha"):
			n += attention(computation, i)
		}
		for _, id := range i.called {
			if called := c.module.computation(id); called != nil {
				n += i.times() * c.operations(called)
			}
		}
	}
	c.flops[computation.id] = n
	return n
}

// product counts a matrix product: each element of the result sums over the contracted dimensions of the first operand.
func product(c *hloComputation, i *hloInstruction, contracted []int64) float64 {
	result := i.shape
	if len(result.tuple) > 0 {
		result = result.tuple[0]
	}
	n := 2 * result.elements()
	if first := c.operand(i, 0); first != nil {
		for _, d := range contracted {
			if int(d) < len(first.shape.dimensions) {
				n *= float64(first.shape.dimensions[d])
			}
		}
	}
	return n
}

// attention counts the products of cuDNN's fused attention: two forward, and five backward, of which one computes the
// scores anew. Each has as many multiplications as there are scores [batch, heads, seq, seq] times the head dimension.
func attention(c *hloComputation, i *hloInstruction) float64 {
	query := c.operand(i, 0)
	config := i.library().Attention
	scores := config.Scores.Dimensions
	if query == nil || len(scores) == 0 {
		return 0
	}
	n := 2 * 2 * query.shape.elements() * float64(scores[len(scores)-1])
	if strings.Contains(i.target, "Backward") {
		n *= 2.5
	}
	if strings.Contains(config.Mask, "CAUSAL") {
		n /= 2
	}
	return n
}

// traffic counts the bytes that the kernels of a computation read and write.
func (c *hloCost) traffic(computation *hloComputation) float64 {
	n := 0.0
	for _, i := range computation.instructions {
		switch i.opcode {
		case "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "optimization-barrier", "after-all":
		case "call", "while", "conditional", "async-start":
			for _, id := range i.called {
				if called := c.module.computation(id); called != nil {
					n += i.times() * c.traffic(called)
				}
			}
		case "fusion":
			n += c.fusion(computation, i)
		default:
			if strings.HasSuffix(i.opcode, "-done") || strings.HasSuffix(i.opcode, "-update") {
				continue // counted where it started
			}
			n += written(computation, i)
			for k := range i.operands {
				n += read(computation, i, k)
			}
		}
	}
	return n
}

// fusion counts what one kernel of several instructions reads and writes; what is between them stays in registers.
func (c *hloCost) fusion(computation *hloComputation, i *hloInstruction) float64 {
	inside := c.module.computation(i.called[0])
	if inside == nil {
		return 0
	}
	n := 0.0
	results := []*hloInstruction{inside.byID[inside.root]}
	if root := results[0]; root != nil && root.opcode == "tuple" {
		results = nil
		for _, id := range root.operands {
			results = append(results, inside.source(id))
		}
	}
	for _, r := range results {
		if r != nil {
			n += written(inside, r)
		}
	}
	for _, parameter := range inside.instructions {
		if parameter.opcode == "parameter" {
			n += min(parameter.shape.total(), reads(inside, parameter))
		}
	}
	return n
}

// reads counts what the users of a parameter read of it, directly or through a bitcast.
func reads(c *hloComputation, from *hloInstruction) float64 {
	n := 0.0
	for _, user := range c.instructions {
		for k, id := range user.operands {
			switch {
			case id != from.id:
			case user.opcode == "bitcast":
				n += reads(c, user)
			default:
				n += read(c, user, k)
			}
		}
	}
	return n
}

// read counts the bytes that an instruction reads of its operand k.
func read(c *hloComputation, i *hloInstruction, k int) float64 {
	switch {
	case k == 0 && slices.Contains([]string{"slice", "dynamic-slice", "gather"}, i.opcode):
		return i.shape.total()
	case k == 0 && (i.opcode == "dynamic-update-slice" || i.opcode == "scatter"):
		return 0 // it stays where it is
	}
	if o := c.operand(i, k); o != nil {
		return o.shape.total()
	}
	return 0
}

// written counts the bytes that an instruction writes.
func written(c *hloComputation, i *hloInstruction) float64 {
	switch i.opcode {
	case "dynamic-update-slice":
		return read(c, i, 1)
	case "scatter":
		return 2 * read(c, i, len(i.operands)-1) // it adds to what is there
	case "copy-start":
		return float64(i.shape.bytes()) // of what it starts, the copy
	case "custom-call":
		if results := i.shape.tuple; len(results) > 0 && strings.HasPrefix(i.target, "__cu") {
			workspace := results[len(results)-1]
			return i.shape.total() - workspace.total()
		}
	}
	return i.shape.total()
}

func (c *hloComputation) operand(i *hloInstruction, k int) *hloInstruction {
	if k >= len(i.operands) {
		return nil
	}
	return c.byID[i.operands[k]]
}

func (s hloShape) elements() float64 {
	n := 1.0
	for _, d := range s.dimensions {
		n *= float64(d)
	}
	return n
}

// total is the bytes of all elements of a tuple, or of the array.
func (s hloShape) total() float64 {
	if s.element != hloTuple {
		return float64(s.bytes())
	}
	n := 0.0
	for _, e := range s.tuple {
		n += e.total()
	}
	return n
}

// libraryConfig is what XLA tells cuBLAS and cuDNN, in the parts that tell how much they compute.
type libraryConfig struct {
	Gemm struct {
		Dimensions struct {
			Contracting int64s `json:"lhs_contracting_dimensions"`
		} `json:"dot_dimension_numbers"`
	} `json:"gemm_backend_config"`
	Attention struct {
		Scores struct {
			Dimensions int64s `json:"dimensions"`
		} `json:"intermediate_tensor_shape"`
		Mask string `json:"mask_type"`
	} `json:"cudnn_fmha_backend_config"`
}

func (i *hloInstruction) library() libraryConfig {
	var config libraryConfig
	_ = json.Unmarshal([]byte(i.config), &config)
	return config
}

// times is how often an instruction calls its computations: a loop may do so more than once.
func (i *hloInstruction) times() float64 {
	var config struct {
		Loop struct {
			Times string `json:"n"`
		} `json:"known_trip_count"`
	}
	if i.opcode != "while" || json.Unmarshal([]byte(i.config), &config) != nil {
		return 1
	}
	n, err := strconv.ParseFloat(config.Loop.Times, 64)
	if err != nil {
		return 1
	}
	return n
}

// int64s are numbers as JSON has them in a protocol buffer: in quotes.
type int64s []int64

func (list *int64s) UnmarshalJSON(text []byte) error {
	var quoted []string
	if err := json.Unmarshal(text, &quoted); err != nil {
		return err
	}
	for _, q := range quoted {
		n, err := strconv.ParseInt(q, 10, 64)
		if err != nil {
			return err
		}
		*list = append(*list, n)
	}
	return nil
}
