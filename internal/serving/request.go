package serving

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/longform-go/longform/internal/spelling"
)

// ignored is a parameter that is accepted and changes nothing. With a tag only:"...", it has to have that value, or one of several
// with | between them: another one asks for what isn't offered.
type ignored json.RawMessage

// UnmarshalJSON keeps the value.
func (v *ignored) UnmarshalJSON(raw []byte) error {
	*v = ignored(bytes.Clone(raw))
	return nil
}

// read is the body of a request.
func (s *Server) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, refuse(http.StatusUnsupportedMediaType, "", "the body has to be JSON; send the header Content-Type: application/json")
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.config.MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, refuse(http.StatusRequestEntityTooLarge, "", "the body has more than %d bytes", large.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refuse(http.StatusRequestTimeout, "", "the body didn't come within %v", s.config.ReadTimeout)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return nil, errGone
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "", "the body couldn't be read: %v", err)
	}
	// From here on the client may be silent as long as it likes.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return raw, nil
}

// understand reads a body into the fields of a struct, of which check makes a job. As many requests do so at once as there are
// processors: prompts become tokens there, which takes its time where they are long.
func (s *Server) understand(ctx context.Context, body []byte, into any, check func() (job, error)) (job, error) {
	select {
	case s.understanding <- struct{}{}:
		defer func() { <-s.understanding }()
	case <-ctx.Done():
		return job{}, context.Cause(ctx)
	}
	if err := decode(body, into, ""); err != nil {
		return job{}, err
	}
	return check()
}

// decode reads a JSON object into the fields of a struct, the embedded ones too. It refuses what has no field, unless there is one
// for "*"; prefix stands before the names in errors.
func decode(raw []byte, into any, prefix string) error {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil || values == nil {
		if prefix != "" {
			return wrong(strings.TrimSuffix(prefix, "."), "%s must be an object", strings.TrimSuffix(prefix, "."))
		}
		if err == nil || isTypeError(err) {
			return refuse(http.StatusBadRequest, "", "the body must be a JSON object")
		}
		return refuse(http.StatusBadRequest, "", "the body isn't JSON: %v", err)
	}
	target := reflect.ValueOf(into).Elem()
	fields := map[string]reflect.StructField{}
	var known []string
	for _, f := range reflect.VisibleFields(target.Type()) {
		if name := f.Tag.Get("json"); name != "" {
			fields[name] = f
			known = append(known, name)
		}
	}
	var names []string
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		f, ok := fields[name]
		if _, others := fields["*"]; others && !ok {
			continue
		}
		if !ok {
			e := wrong(prefix+name, "unknown parameter %q", prefix+name)
			if near := spelling.Nearest(name, known); near != "" {
				e.Message += fmt.Sprintf("; did you mean %q?", near)
			}
			e.Code = new("unknown_parameter")
			return e
		}
		value := values[name]
		if only, limited := f.Tag.Lookup("only"); limited && !isOneOf(value, append(strings.Split(only, "|"), "null")...) {
			return wrong(prefix+name, "%s isn't supported; leave it out", prefix+name)
		}
		if err := json.Unmarshal(value, target.FieldByIndex(f.Index).Addr().Interface()); err != nil {
			var inside *apiError
			if errors.As(err, &inside) {
				return inside
			}
			return wrong(prefix+name, "%s must be %s", prefix+name, kindOf(f.Type))
		}
	}
	return nil
}

func isTypeError(err error) bool {
	var e *json.UnmarshalTypeError
	return errors.As(err, &e)
}

// isOneOf says whether a JSON value is written like one of others, but for spaces.
func isOneOf(value json.RawMessage, others ...string) bool {
	var b bytes.Buffer
	return json.Compact(&b, value) == nil && slices.Contains(others, b.String())
}

// described are types that say themselves what they may be.
type described interface{ describe() string }

// kindOf says what a parameter of type t has to be.
func kindOf(t reflect.Type) string {
	if d, ok := reflect.New(t).Interface().(described); ok {
		return d.describe()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "an integer"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}
