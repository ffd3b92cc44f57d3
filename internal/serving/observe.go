package serving

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// ServeHTTP answers a request, and counts and logs it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := &note{id: requestID(r), client: addressOf(r), started: time.Now()}
	r = r.WithContext(context.WithValue(r.Context(), noteKey{}, n))
	out := &response{ResponseWriter: w, control: http.NewResponseController(w), timeout: s.config.WriteTimeout}
	defer s.observe(out, r, n)
	// Here and below, an error means that what is served has no deadlines, as a test's recorder.
	_ = out.control.SetReadDeadline(n.started.Add(s.config.ReadTimeout))
	h := out.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Request-Id", n.id)
	welcome := s.welcome(out, r)
	if welcome && r.Method == http.MethodOptions {
		out.WriteHeader(http.StatusNoContent)
		return
	}
	if err := s.allow(r, welcome); err != nil {
		s.answer(out, r, err)
		return
	}
	s.mux.ServeHTTP(out, r)
}

// observe ends a request: a panic becomes an error, and what came of it is told to those who watch.
func (s *Server) observe(out *response, r *http.Request, n *note) {
	if p := recover(); p != nil {
		s.config.Log.Error("panic", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		n.problem = fmt.Errorf("panic: %v", p)
		if out.status == 0 {
			asAPIError(n.problem).send(out)
		} else {
			// The response can't be told from a whole one but by a connection that breaks.
			defer panic(http.ErrAbortHandler)
		}
	}
	status := out.status
	if n.problem != nil {
		if r.Context().Err() != nil && asAPIError(n.problem).status == http.StatusInternalServerError {
			n.problem = errGone
		}
		status = asAPIError(n.problem).status // of what failed within a stream, too
	}
	path := r.Pattern[strings.IndexByte(r.Pattern, ' ')+1:] // without its method
	if path == "" || path == "/" {
		path = "other"
	}
	took := time.Since(n.started)
	s.metrics.observe(path, status, took, n)
	level := slog.LevelInfo
	line := []any{"id", n.id, "method", r.Method, "path", r.URL.Path, "status", status, "seconds", took.Seconds(), "client", n.client}
	if n.prompt > 0 {
		line = append(line, "prompt_tokens", n.prompt, "completion_tokens", n.tokens)
	}
	if n.tokens > 0 {
		line = append(line, "first_token_seconds", n.first.Sub(n.started).Seconds())
	}
	if n.problem != nil {
		line = append(line, "error", n.problem.Error())
		if status >= 500 {
			level = slog.LevelError
		}
	}
	s.config.Log.Log(context.Background(), level, "request", line...)
}

// note is what is logged and counted of a request's texts.
type note struct {
	id            string
	client        string // its address
	started       time.Time
	prompt        int
	tokens        int
	first, newest time.Time // when tokens came
	problem       error
}

// requestID is the name that the client gave a request, or a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return newID("req_")
	}
	return id
}

type noteKey struct{}

// noteOf is where to write down what happens to a request.
func noteOf(ctx context.Context) *note { return ctx.Value(noteKey{}).(*note) }

func (n *note) wrote(tokens int) {
	n.newest = time.Now()
	if n.tokens == 0 {
		n.first = n.newest
	}
	n.tokens += tokens
}

// response knows its status, and gives the client some time to take each write.
type response struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	status  int
}

// WriteHeader notes the status.
func (r *response) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	_ = r.control.SetWriteDeadline(time.Now().Add(r.timeout))
	return r.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }
