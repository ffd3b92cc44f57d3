package device

import (
	"fmt"
	"strings"
)

// aliasOutputs marks arguments of @main in a StableHLO program: argument i's memory becomes output becomes[i].
//
// Each argument says which output it becomes. Only saying that it may be reused (jax.buffer_donor) lets XLA pair
// arguments and outputs of one shape at random, and it then copies what it paired wrongly at every step.
func aliasOutputs(program string, arguments int, becomes map[int]int) (string, error) {
	const open = "func.func @main("
	start := strings.Index(program, open)
	if start < 0 {
		return "", fmt.Errorf("the StableHLO program has no @main to mark aliased arguments in")
	}
	start += len(open)
	ends, err := argumentEnds(program, start)
	if err != nil {
		return "", err
	}
	if len(ends) != arguments {
		return "", fmt.Errorf("@main of the StableHLO program has %d arguments, not %d", len(ends), arguments)
	}
	var b strings.Builder
	b.Grow(len(program) + 40*len(becomes))
	written := 0
	for i, end := range ends {
		output, ok := becomes[i]
		if !ok {
			continue
		}
		attribute := fmt.Sprintf("tf.aliasing_output = %d : i32}", output)
		argument := strings.TrimRight(program[written:end], " \n")
		if before, ok := strings.CutSuffix(argument, "}"); ok {
			argument = strings.TrimRight(before, " \n") + ", " + attribute
		} else {
			argument += " {" + attribute
		}
		b.WriteString(argument)
		written = end
	}
	b.WriteString(program[written:])
	return b.String(), nil
}

// argumentEnds returns where each argument of the list that starts at start ends: at its comma or at the list's
// closing parenthesis.
func argumentEnds(program string, start int) ([]int, error) {
	var ends []int
	depth, quoted := 0, false
	for i := start; i < len(program); i++ {
		c := program[i]
		switch {
		case quoted:
			if c == '\\' {
				i++
			}
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '(' || c == '<' || c == '[' || c == '{':
			depth++
		case c == ')' && depth == 0:
			if strings.TrimSpace(program[start:i]) == "" {
				return nil, nil
			}
			return append(ends, i), nil
		case c == '>' && program[i-1] == '-': // an arrow
		case c == ')' || c == '>' || c == ']' || c == '}':
			depth--
		case c == ',' && depth == 0:
			ends = append(ends, i)
		}
	}
	return nil, fmt.Errorf("the StableHLO program's @main has no end of its arguments")
}
