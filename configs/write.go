package configs

import (
	"bytes"
	"fmt"
	"iter"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// YAML writes every setting of a valid config; [Load] reads it back to an equal
// one.
//
// It doesn't use the YAML package's encoder, whose block style for text with
// line breaks can't always be read back.
func (c Config) YAML() ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return write(configKeys.settings, c), nil
}

// write gives the settings of c, a line each.
func write(settings []setting, c any) []byte {
	var b bytes.Buffer
	section := ""
	for _, s := range settings {
		indent := strings.Repeat("  ", strings.Count(s.key, "."))
		if in := parent(s.key); in != section {
			section = in
			if section != "" {
				fmt.Fprintf(&b, "%s%s:\n", indent[2:], last(section))
			}
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, last(s.key), text(s.of(c)))
	}
	return b.Bytes()
}

// All yields every setting: its dotted key, and its value as a bool, a number, a
// string, a list of strings or of ints, or nil where there is none.
func (c Config) All() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for _, s := range configKeys.settings {
			v := s.of(c)
			if v.Kind() == reflect.Pointer {
				v = v.Elem()
			}
			var value any
			if v.IsValid() { // not the target of a nil pointer
				value = v.Interface()
			}
			if !yield(s.key, value) {
				return
			}
		}
	}
}

// Diff lists the settings in which a and b differ, each as "key: a's -> b's",
// with values as an override would give them.
func Diff(a, b Config) []string {
	var lines []string
	for _, s := range configKeys.settings {
		if from, to := text(s.of(a)), text(s.of(b)); from != to {
			lines = append(lines, s.key+": "+from+" -> "+to)
		}
	}
	return lines
}

// Names and paths of these characters mean themselves in YAML, unless they
// happen to be a number or a word such as null.
var plain = regexp.MustCompile(`^[A-Za-z0-9][\w./:-]*$`)

// text writes a setting's value as YAML on one line.
func text(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		s := v.String()
		if n, err := document([]byte(s)); plain.MatchString(s) && err == nil && n != nil && n.ShortTag() == "!!str" {
			return s
		}
		return strconv.Quote(s) // whose escapes are all YAML's too
	case reflect.Pointer:
		if v.IsNil() {
			return "null"
		}
		return text(v.Elem())
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = text(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}
