package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The operations, by Optuna's numbers.
const (
	createStudy = iota
	deleteStudy
	setStudyUserAttr
	setStudySystemAttr
	createTrial
	setParam
	setState
	setIntermediate
	setUserAttr
	setSystemAttr
	discardTrials // another program's; Optuna passes over it
)

// An operation is a line of the journal. Which fields it has depends on the code.
type operation struct {
	Code   *int   `json:"op_code"`
	Worker string `json:"worker_id"`
	Left   int    `json:"transaction_left"` // lines that still follow in the same transaction; ours alone

	Study      *int   `json:"study_id"`
	StudyName  string `json:"study_name"`
	Directions []int  `json:"directions"`

	Trial    *int      `json:"trial_id"`
	State    State     `json:"state"`
	Value    *float    `json:"value"`
	Values   []float   `json:"values"`
	Start    timestamp `json:"datetime_start"`
	Complete timestamp `json:"datetime_complete"`

	Params        map[string]float  `json:"params"`
	Distributions map[string]string `json:"distributions"`
	ParamName     string            `json:"param_name"`
	ParamValue    float             `json:"param_value_internal"`
	Distribution  string            `json:"distribution"`

	Step         int           `json:"step"`
	Intermediate float         `json:"intermediate_value"`
	OnTheWay     map[int]float `json:"intermediate_values"`

	UserAttr    map[string]json.RawMessage `json:"user_attr"`
	UserAttrs   map[string]json.RawMessage `json:"user_attrs"`
	SystemAttr  map[string]json.RawMessage `json:"system_attr"`
	SystemAttrs map[string]json.RawMessage `json:"system_attrs"`
}

// decode reads a line.
func decode(line []byte) (operation, error) {
	var op operation
	if err := json.Unmarshal(quoteNonFinite(line), &op); err != nil {
		return op, fmt.Errorf("a torn or foreign line (%w): repair it, or restore the file from a copy", err)
	}
	switch {
	case op.Code == nil:
		return op, fmt.Errorf("no op_code: not a journal's line")
	case *op.Code < createStudy || *op.Code > discardTrials:
		return op, fmt.Errorf("op_code %d is unknown: a newer program wrote this journal", *op.Code)
	case op.Study == nil && (*op.Code == createTrial || *op.Code == deleteStudy):
		return op, fmt.Errorf("op_code %d without study_id", *op.Code)
	case op.Trial == nil && *op.Code >= setParam && *op.Code <= setSystemAttr:
		return op, fmt.Errorf("op_code %d without trial_id", *op.Code)
	case op.State < Running || op.State > Waiting:
		return op, fmt.Errorf("state %d is unknown", op.State)
	}
	return op, nil
}

// transaction joins lines; all but the last say how many are to follow.
func transaction(lines [][]byte) []byte {
	var text []byte
	for i, line := range lines {
		if left := len(lines) - 1 - i; left > 0 {
			line = fmt.Appendf(bytes.TrimSuffix(line, []byte("}")), `,"transaction_left":%d}`, left)
		}
		text = append(append(text, line...), '\n')
	}
	return text
}

// An object is a JSON object with its fields in order, and numbers as Python
// writes them: a float is told from an integer, and needn't be finite.
type object []field

type field struct {
	name  string
	value any // float64, []any, object, or what encoding/json writes
}

func (o object) json() ([]byte, error) { return appendJSON(nil, o) }

func appendJSON(to []byte, value any) (_ []byte, err error) {
	switch v := value.(type) {
	case object:
		to = append(to, '{')
		for i, f := range v {
			if i > 0 {
				to = append(to, ',')
			}
			name, err := json.Marshal(f.name)
			if err != nil {
				return nil, err
			}
			to = append(append(to, name...), ':')
			if to, err = appendJSON(to, f.value); err != nil {
				return nil, err
			}
		}
		return append(to, '}'), nil
	case []any:
		to = append(to, '[')
		for i, e := range v {
			if i > 0 {
				to = append(to, ',')
			}
			if to, err = appendJSON(to, e); err != nil {
				return nil, err
			}
		}
		return append(to, ']'), nil
	case float32:
		return appendJSON(to, float64(v))
	case float64:
		return appendFloat(to, v), nil
	}
	text, err := json.Marshal(value)
	return append(to, text...), err
}

func appendFloat(to []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(to, "NaN"...)
	case math.IsInf(v, 1):
		return append(to, "Infinity"...)
	case math.IsInf(v, -1):
		return append(to, "-Infinity"...)
	}
	text := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return append(to, text...)
}

// A float is a number that may be one of Python's that JSON doesn't have.
type float float64

func (f *float) UnmarshalJSON(text []byte) error {
	s := string(text)
	if s == "null" {
		return nil
	}
	if len(s) > 2 && s[0] == '"' {
		s = s[1 : len(s)-1]
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return fmt.Errorf("%s is no number", text)
	}
	*f = float(v)
	return nil
}

// quoteNonFinite puts Python's NaN, Infinity and -Infinity into quotes, so that
// Go reads the rest.
func quoteNonFinite(text []byte) []byte {
	if !bytes.Contains(text, []byte("NaN")) && !bytes.Contains(text, []byte("Infinity")) {
		return text
	}
	var out []byte
	inString := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case inString && c == '\\' && i+1 < len(text):
			out = append(out, c, text[i+1])
			i++
			continue
		case c == '"':
			inString = !inString
		case !inString && (c == 'N' || c == 'I' || c == '-'):
			if word := nonFinite(text[i:]); word != "" {
				out = strconv.AppendQuote(out, word)
				i += len(word) - 1
				continue
			}
		}
		out = append(out, c)
	}
	return out
}

func nonFinite(text []byte) string {
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(text, []byte(word)) {
			return word
		}
	}
	return ""
}

// microseconds is how Optuna writes times.
const microseconds = "2006-01-02T15:04:05.000000-07:00"

// A timestamp is a time as Optuna wrote it; one without a zone is local.
type timestamp struct{ time.Time }

func (t *timestamp) UnmarshalJSON(text []byte) error {
	var s *string
	if err := json.Unmarshal(text, &s); err != nil || s == nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, *s)
	if err != nil {
		at, err = time.ParseInLocation("2006-01-02T15:04:05", *s, time.Local)
	}
	t.Time = at.UTC()
	return err
}
