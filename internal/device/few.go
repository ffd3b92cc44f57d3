package device

// #include "seam.h"
import "C"

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// fewTarget is what XLA on the CPU calls the products of few.c by.
const fewTarget = C.FEW_TARGET

// fewRows is for how many rows those are faster than XLA's. Of a single one and a matrix XLA reads memory as fast.
const fewRows = 16

// products matches those of float32 over the last axes of x and of a matrix, and those of a batch of matrices over the last axis of
// the first and the first of the second: their operands, what is contracted, and their type with the shapes.
var products = regexp.MustCompile(`"stablehlo\.dot_general"\((%\w+, %\w+)\) \{` +
	`[^{}]*lhs_batching_dimensions = \[(0?)\],\s*rhs_batching_dimensions = \[(0?)\],` +
	`\s*lhs_contracting_dimensions = \[(\d+)\],\s*rhs_contracting_dimensions = \[1\]\s*>[^{}]*\}` +
	` : (\(tensor<((?:\d+x)+)f32>, tensor<((?:\d+x)+)f32>\) -> tensor<(?:\d+x)+f32>)`)

// callFew makes products of a few rows in a StableHLO program, y = x Wᵀ or a batch of y = x W, calls of few.c.
func callFew(program string) string {
	return products.ReplaceAllStringFunc(program, func(dot string) string {
		found := products.FindStringSubmatch(dot)
		operands, batched, contracted, shapes := found[1], found[2] == "0", found[4], found[5]
		x, w := dimensions(found[6]), dimensions(found[7])
		if found[2] != found[3] || contracted != strconv.Itoa(len(x)-1) {
			return dot
		}
		rows := 1
		for _, d := range x[:len(x)-1] {
			rows *= d
		}
		ours := !batched && len(w) == 2 && rows > 1
		if batched && len(x) == 3 && len(w) == 3 {
			rows, ours = x[1], true
		}
		if !ours || rows > fewRows {
			return dot
		}
		return fmt.Sprintf(`"stablehlo.custom_call"(%s) { call_target_name = %q, api_version = 4 : i32, backend_config = {} } : %s`,
			operands, fewTarget, shapes)
	})
}

// dimensions reads those of a type, as in 8x576x.
func dimensions(of string) []int {
	var all []int
	for d := range strings.SplitSeq(strings.TrimSuffix(of, "x"), "x") {
		n, _ := strconv.Atoi(d) // digits only
		all = append(all, n)
	}
	return all
}

// useVectors chooses the vectors that few.c computes with, AVX2 for 0 and AVX-512 for 1, and says whether the processor has them.
func useVectors(width int) bool { return C.few_use(C.enum_vectors(width)) != 0 }
