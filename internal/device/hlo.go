package device

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// The part of XLA's HloModuleProto that tells which arrays a program copies. Its Go types are internal to go-xla, so
// the fields are read by number (xla/service/hlo.proto and xla/xla_data.proto).
type hloModule struct {
	entry        int64
	computations []*hloComputation
	aliases      []hloAlias
}

type hloAlias struct{ output, parameter int64 }

type hloComputation struct {
	name         string
	id, root     int64
	instructions []*hloInstruction
	byID         map[int64]*hloInstruction
}

type hloInstruction struct {
	name, opcode, target string // target of a custom call
	id, parameter        int64
	shape                hloShape
	operands, called     []int64
	contracted           []int64 // dimensions of a dot's first operand
	config               string  // JSON, of a custom call
}

type hloShape struct {
	element    uint64
	dimensions []int64
	layout     []int64 // dimensions from the fastest to the slowest
	tuple      []hloShape
}

// parseHLO reads an optimized program in one of the formats that plugins give it in.
func parseHLO(serialized []byte, format string) (*hloModule, error) {
	m := &hloModule{}
	read := m.field
	switch format {
	case "hlo":
	case "hlo_with_config":
		read = func(n protowire.Number, v value) error {
			if n == 1 {
				return v.message(m.field)
			}
			return nil
		}
	default:
		return nil, fmt.Errorf("the optimized program's format is %q, not hlo", format)
	}
	if err := (value{bytes: serialized}).message(read); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *hloModule) field(n protowire.Number, v value) error {
	switch n {
	case 3:
		c := &hloComputation{byID: map[int64]*hloInstruction{}}
		m.computations = append(m.computations, c)
		return v.message(c.field)
	case 6:
		m.entry = int64(v.number)
	case 8:
		return v.message(func(n protowire.Number, v value) error {
			if n != 1 {
				return nil
			}
			var alias hloAlias
			err := v.message(func(n protowire.Number, v value) error {
				switch n {
				case 1:
					if index := v.numbers(nil); len(index) > 0 {
						alias.output = index[0]
					}
				case 2:
					alias.parameter = int64(v.number)
				}
				return nil
			})
			m.aliases = append(m.aliases, alias)
			return err
		})
	}
	return nil
}

func (c *hloComputation) field(n protowire.Number, v value) error {
	switch n {
	case 1:
		c.name = string(v.bytes)
	case 2:
		i := &hloInstruction{}
		c.instructions = append(c.instructions, i)
		err := v.message(i.field)
		c.byID[i.id] = i
		return err
	case 5:
		c.id = int64(v.number)
	case 6:
		c.root = int64(v.number)
	}
	return nil
}

func (i *hloInstruction) field(n protowire.Number, v value) error {
	switch n {
	case 1:
		i.name = string(v.bytes)
	case 2:
		i.opcode = string(v.bytes)
	case 3:
		return v.message(i.shape.field)
	case 9:
		i.parameter = int64(v.number)
	case 28:
		i.target = string(v.bytes)
	case 30:
		return v.message(func(n protowire.Number, v value) error {
			if n == 1 {
				i.contracted = v.numbers(i.contracted)
			}
			return nil
		})
	case 35:
		i.id = int64(v.number)
	case 36:
		i.operands = v.numbers(i.operands)
	case 38:
		i.called = v.numbers(i.called)
	case 43:
		i.config = string(v.bytes)
	}
	return nil
}

func (s *hloShape) field(n protowire.Number, v value) error {
	switch n {
	case 2:
		s.element = v.number
	case 3:
		s.dimensions = v.numbers(s.dimensions)
	case 4:
		s.tuple = append(s.tuple, hloShape{})
		return v.message(s.tuple[len(s.tuple)-1].field)
	case 5:
		return v.message(func(n protowire.Number, v value) error {
			if n == 1 {
				s.layout = v.numbers(s.layout)
			}
			return nil
		})
	}
	return nil
}

// value is one field's content: a number, or the bytes of a string, a message or packed numbers.
type value struct {
	number uint64
	bytes  []byte
}

func (v value) message(field func(protowire.Number, value) error) error {
	for b := v.bytes; len(b) > 0; {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errors.New("the optimized program is not a protocol buffer")
		}
		b = b[n:]
		var inner value
		switch kind {
		case protowire.VarintType:
			inner.number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			inner.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return errors.New("the optimized program is not a protocol buffer")
		}
		b = b[n:]
		if err := field(number, inner); err != nil {
			return err
		}
	}
	return nil
}

// numbers appends a repeated number, packed or not.
func (v value) numbers(list []int64) []int64 {
	if v.bytes == nil {
		return append(list, int64(v.number))
	}
	for b := v.bytes; len(b) > 0; {
		x, n := protowire.ConsumeVarint(b)
		if n < 0 {
			break
		}
		list = append(list, int64(x))
		b = b[n:]
	}
	return list
}

func (m *hloModule) computation(id int64) *hloComputation {
	i := slices.IndexFunc(m.computations, func(c *hloComputation) bool { return c.id == id })
	if i < 0 {
		return nil
	}
	return m.computations[i]
}

// aliasCopies counts the instructions of the entry computation that only copy an aliased parameter, or only copy into
// an aliased output, and the bytes that they copy. Copies that change the layout compute something and don't count.
func (m *hloModule) aliasCopies() (n int, bytes int64, err error) {
	entry := m.computation(m.entry)
	if entry == nil || entry.byID[entry.root] == nil {
		return 0, 0, errors.New("the optimized program has no entry computation")
	}
	outputs := map[int64]bool{} // ids of what lies in aliased outputs
	parameters := map[int64]bool{}
	root := entry.byID[entry.root]
	for _, a := range m.aliases {
		parameters[a.parameter] = true
		if root.opcode == "tuple" && int(a.output) < len(root.operands) {
			outputs[root.operands[a.output]] = true
		} else {
			outputs[root.id] = true
		}
	}
	for _, i := range entry.instructions {
		if !m.copies(entry, i) {
			continue
		}
		from := entry.source(i.operands[0])
		if outputs[i.id] || from != nil && from.opcode == "parameter" && parameters[from.parameter] {
			n++
			bytes += i.shape.bytes()
		}
	}
	return n, bytes, nil
}

// copies says whether i only copies its operand: by itself or as all that a called computation does.
func (m *hloModule) copies(c *hloComputation, i *hloInstruction) bool {
	switch i.opcode {
	case "copy", "copy-start":
		from := c.byID[i.operands[0]]
		to := i.shape
		if len(to.tuple) > 0 {
			to = to.tuple[0]
		}
		return from != nil && slices.Equal(from.shape.layout, to.layout)
	case "fusion", "call":
		if len(i.called) != 1 || len(i.operands) != 1 {
			return false
		}
		called := m.computation(i.called[0])
		if called == nil {
			return false
		}
		root := called.byID[called.root]
		if root == nil || !m.copies(called, root) {
			return false
		}
		from := called.source(root.operands[0])
		return from != nil && from.opcode == "parameter"
	}
	return false
}

// source follows an instruction back through what doesn't move data.
func (c *hloComputation) source(id int64) *hloInstruction {
	i := c.byID[id]
	for i != nil && (i.opcode == "bitcast" || i.opcode == "optimization-barrier") && len(i.operands) == 1 {
		i = c.byID[i.operands[0]]
	}
	return i
}

const hloTuple = 13

// Names and sizes in bits of XLA's element types, by PrimitiveType.
var hloElements = map[uint64]struct {
	name string
	bits int64
}{
	1: {"pred", 8}, 2: {"s8", 8}, 3: {"s16", 16}, 4: {"s32", 32}, 5: {"s64", 64}, 6: {"u8", 8}, 7: {"u16", 16},
	8: {"u32", 32}, 9: {"u64", 64}, 10: {"f16", 16}, 11: {"f32", 32}, 12: {"f64", 64}, 15: {"c64", 64},
	16: {"bf16", 16}, 18: {"c128", 128}, 19: {"f8e5m2", 8}, 20: {"f8e4m3fn", 8}, 21: {"s4", 4}, 22: {"u4", 4},
}

// bytes of an array; of a tuple, those of its first element, which is what a copy-start copies to.
func (s hloShape) bytes() int64 {
	if len(s.tuple) > 0 {
		return s.tuple[0].bytes()
	}
	size := hloElements[s.element].bits
	for _, d := range s.dimensions {
		size *= d
	}
	return (size + 7) / 8
}

func (s hloShape) String() string {
	if s.element == hloTuple {
		elements := make([]string, len(s.tuple))
		for i, e := range s.tuple {
			elements[i] = e.String()
		}
		return "(" + strings.Join(elements, ", ") + ")"
	}
	name := hloElements[s.element].name
	if name == "" {
		return fmt.Sprintf("type%d", s.element)
	}
	dimensions := make([]string, len(s.dimensions))
	for i, d := range s.dimensions {
		dimensions[i] = fmt.Sprint(d)
	}
	return name + "[" + strings.Join(dimensions, ",") + "]"
}

func (m *hloModule) String() string {
	var b strings.Builder
	for _, c := range m.computations {
		if c.id == m.entry {
			b.WriteString("ENTRY ")
		}
		fmt.Fprintf(&b, "%s {\n", c.name)
		for _, i := range c.instructions {
			line := "  "
			if i.id == c.root {
				line += "ROOT "
			}
			line += i.name + " = " + i.shape.String() + " " + i.opcode
			if i.target != "" {
				line += " " + i.target
			}
			operands := make([]string, len(i.operands))
			for k, id := range i.operands {
				if o := c.byID[id]; o != nil {
					operands[k] = o.name
				}
			}
			line += "(" + strings.Join(operands, ", ") + ")"
			for _, id := range i.called {
				if called := m.computation(id); called != nil {
					line += " calls " + called.name
				}
			}
			b.WriteString(line + "\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}
