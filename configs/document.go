package configs

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// layer is what one source, the file or the command line, says: values of the
// types that the settings have, by dotted key, and where each was written.
type layer struct {
	keys     keys
	values   map[string]any
	where    map[string]string
	problems []string // one line each, in the order of the source
}

func newLayer(k keys) *layer {
	return &layer{keys: k, values: map[string]any{}, where: map[string]string{}}
}

func (l *layer) problem(where, format string, args ...any) {
	l.problems = append(l.problems, where+": "+fmt.Sprintf(format, args...))
}

// parseFile reads a YAML document whose name is used in messages.
func parseFile(k keys, name string, src []byte) *layer {
	l := newLayer(k)
	root, err := document(src)
	if err != nil {
		line, text := locate(src, err)
		l.problem(at(name, line), "%s", text)
		return l
	}
	if root != nil {
		l.section(name, "", root)
	}
	return l
}

func at(name string, line int) string { return fmt.Sprintf("%s:%d", name, line) }

type severalDocuments struct{ line int }

func (severalDocuments) Error() string {
	return "a second document starts here; a config is one document, so remove the --- line"
}

// document gives the root of the only document in src, nil when there is
// nothing in it.
func document(src []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(src))
	var doc, second yaml.Node
	if err := d.Decode(&doc); err == io.EOF {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if err := d.Decode(&second); err == nil {
		return nil, severalDocuments{second.Line}
	} else if err != io.EOF {
		return nil, err
	}
	root := follow(doc.Content[0])
	if isNull(root) {
		return nil, nil
	}
	return root, nil
}

// locate finds the line of a syntax error. The parser often reports where the
// surrounding block began, or is off by one, so this looks for the first line
// after the longest beginning that can be parsed.
func locate(src []byte, err error) (line int, text string) {
	if several, ok := err.(severalDocuments); ok {
		return several.line, several.Error()
	}
	text = strings.TrimPrefix(err.Error(), "yaml: ")
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
	}
	lines := bytes.SplitAfter(src, []byte("\n"))
	if len(lines) < 1000 { // each try parses the file again
		for line = len(lines); line > 1; line-- {
			root, err := document(bytes.Join(lines[:line-1], nil))
			if err == nil && (root == nil || root.Kind == yaml.MappingNode) {
				break
			}
		}
	}
	line = min(max(line, 1), len(lines))
	bad := string(lines[line-1])
	if indent := bad[:len(bad)-len(strings.TrimLeft(bad, " \t"))]; strings.Contains(indent, "\t") {
		return line, "a tab in the indentation; YAML takes only spaces there"
	}
	return line, "not valid YAML (" + text + "); check this line's indentation, colons and quotes"
}

// section walks a mapping. prefix is "" or ends in a dot.
func (l *layer) section(name, prefix string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		l.problem(at(name, n.Line), "%s is %s, want keys under it: %s", nameOf(prefix), describe(n),
			list(l.keys.in(strings.TrimSuffix(prefix, ".")), "and"))
		return
	}
	seen := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		k, v := n.Content[i], follow(n.Content[i+1])
		key, where := prefix+k.Value, at(name, k.Line)
		if first, ok := seen[key]; ok {
			l.problem(where, "duplicate key %s, first given on line %d; keep one", quote(key), first)
			continue
		}
		seen[key] = k.Line
		if strings.Contains(k.Value, ".") && slices.Contains(l.keys.all(), key) {
			l.problem(where, "key %s is dotted; in a file, write %s: under %s:", quote(k.Value), last(key), parent(key))
			continue
		}
		if slices.Contains(l.keys.sections, key) {
			if !isNull(v) { // a section whose keys are all commented out
				l.section(name, key+".", v)
			}
			continue
		}
		if s, ok := l.keys.lookup(key); ok {
			l.set(where, s, v)
		} else {
			l.problem(where, "%s", l.keys.unknown(key))
		}
	}
}

func nameOf(prefix string) string {
	if prefix == "" {
		return "the config"
	}
	return strings.TrimSuffix(prefix, ".")
}

// set converts one value. A wrong one becomes a problem.
func (l *layer) set(where string, s setting, n *yaml.Node) {
	v, ok := convert(n, s.kind)
	if !ok {
		l.problem(where, "%s is %s, want %s", s.key, describe(n), want(s))
		return
	}
	l.values[s.key], l.where[s.key] = v, where
}

// convert gives n as a value of type t. Text is taken as it stands, so a name
// such as 2024 needs no quotes; numbers and booleans must be what YAML says.
// null is a value only where there is a value "not set": lists and pointers.
func convert(n *yaml.Node, t reflect.Type) (any, bool) {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Pointer:
		if !isNull(n) {
			inner, ok := convert(n, t.Elem())
			if !ok {
				return nil, false
			}
			v.Set(reflect.New(t.Elem()))
			v.Elem().Set(reflect.ValueOf(inner))
		}
		return v.Interface(), true
	case reflect.Slice:
		items := []*yaml.Node{n}
		if isNull(n) {
			items = nil
		} else if n.Kind == yaml.SequenceNode {
			items = n.Content
		}
		for _, item := range items {
			element, ok := convert(follow(item), t.Elem())
			if !ok {
				return nil, false
			}
			v = reflect.Append(v, reflect.ValueOf(element))
		}
		return v.Interface(), true
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		return nil, false
	}
	tag, ok := n.ShortTag(), false
	switch t.Kind() {
	case reflect.String:
		v.SetString(n.Value)
		return v.Interface(), true
	case reflect.Bool:
		ok = tag == "!!bool"
	case reflect.Int, reflect.Uint64:
		ok = tag == "!!int"
	case reflect.Float64:
		ok = tag == "!!int" || tag == "!!float"
	}
	ok = ok && n.Decode(v.Addr().Interface()) == nil
	if t.Kind() == reflect.Float64 {
		ok = ok && !math.IsNaN(v.Float()) && !math.IsInf(v.Float(), 0)
	}
	return v.Interface(), ok
}

// want says what a setting takes, for the message about a wrong one.
func want(s setting) string {
	if s.oneOf != nil {
		return list(slices.DeleteFunc(slices.Clone(s.oneOf), func(v string) bool { return v == "" }), "or")
	}
	t, suffix := s.kind, ""
	switch t.Kind() {
	case reflect.Pointer:
		t, suffix = t.Elem(), " or null"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return "text or a list of it, such as [a, b]"
		}
		return "a list of whole numbers, such as [128, 256]"
	}
	switch t.Kind() {
	case reflect.String:
		return "text" + suffix
	case reflect.Bool:
		return "true or false" + suffix
	case reflect.Uint64:
		return "a whole number from 0" + suffix
	case reflect.Int:
		return "a whole number" + suffix
	}
	return "a number" + suffix
}

// describe shows what was written, briefly.
func describe(n *yaml.Node) string {
	switch {
	case isNull(n):
		return "empty"
	case n.Kind == yaml.MappingNode:
		return "a group of keys"
	case n.Kind == yaml.SequenceNode:
		var items []string
		for _, item := range n.Content {
			if follow(item).Kind != yaml.ScalarNode {
				return "a list" // of more than values; an alias may even hold itself
			}
			items = append(items, describe(follow(item)))
		}
		return shorten("the list [" + strings.Join(items, ", ") + "]")
	case n.ShortTag() == "!!str":
		return quote(n.Value)
	}
	return shorten(n.Value)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// follow replaces *name by what &name marks.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// quote keeps a value on one line, whatever is in it.
func quote(s string) string { return strconv.Quote(shorten(s)) }

func shorten(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}
