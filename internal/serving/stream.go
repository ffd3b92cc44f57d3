package serving

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// events sends server-sent events (WHATWG HTML, 9.2), as OpenAI's streams have them. The response begins with the first one,
// or when it has been waited for for long, so that what fails before can have a status of its own.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func newEvents(w http.ResponseWriter) *events {
	return &events{w: w, control: http.NewResponseController(w)}
}

// send fails when the client has gone, or takes nothing for too long.
func (e *events) send(v any) error {
	var b bytes.Buffer
	to := json.NewEncoder(&b)
	to.SetEscapeHTML(false)
	if err := to.Encode(v); err != nil {
		return err
	}
	return e.line(bytes.TrimSpace(b.Bytes()))
}

// wait sends a comment, which is of no meaning, lest somebody on the way takes the connection for dead.
func (e *events) wait() error { return e.write(": waiting\n\n") }

func (e *events) line(data []byte) error { return e.write("data: " + string(data) + "\n\n") }

func (e *events) write(text string) error {
	if !e.begun {
		e.begun = true
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no") // a proxy should pass them on at once
	}
	_, err := io.WriteString(e.w, text)
	if err == nil {
		err = e.control.Flush()
	}
	if err != nil {
		return errGone
	}
	return nil
}

// fail ends a stream with what went wrong. It returns err if the response can still be an error.
func (e *events) fail(err error) error {
	if e.begun {
		_ = e.send(asAPIError(err))
		return &sent{err}
	}
	return err
}

func (e *events) done() error { return e.line([]byte("[DONE]")) }

// sent is an error that the client was told within a stream.
type sent struct{ error }

func (s *sent) Unwrap() error { return s.error }

// newID names an answer.
func newID(prefix string) string { return prefix + rand.Text() }

func unixNow() int64 { return time.Now().Unix() }
