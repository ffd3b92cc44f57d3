package serving

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/longform-go/longform/internal/batching"
	"github.com/longform-go/longform/internal/decoding"
)

// apiError is what a client gets instead of an answer, in OpenAI's shape.
type apiError struct {
	status  int
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"` // the parameter that is wrong
	Code    *string `json:"code"`
}

func (e *apiError) Error() string { return e.Message }

// MarshalJSON wraps the error as OpenAI does.
func (e *apiError) MarshalJSON() ([]byte, error) {
	type plain apiError
	return json.Marshal(map[string]*plain{"error": (*plain)(e)})
}

// refuse is an error of the client's making, or, from status 500 on, of ours. An empty code is null.
func refuse(status int, code, format string, args ...any) *apiError {
	e := &apiError{status: status, Message: fmt.Sprintf(format, args...), Type: "invalid_request_error"}
	switch {
	case status == http.StatusTooManyRequests:
		e.Type = "rate_limit_error"
	case status >= 500:
		e.Type = "server_error"
	}
	if code != "" {
		e.Code = &code
	}
	return e
}

// wrong is the error of a parameter.
func wrong(param, format string, args ...any) *apiError {
	e := refuse(http.StatusBadRequest, "", format, args...)
	e.Param = &param
	return e
}

// statusClientGone is what is logged of a request whose client has left; nobody receives it.
const statusClientGone = 499

var (
	errShutdown = errors.New("the server is shutting down")
	errGone     = refuse(statusClientGone, "", "the client has gone")
)

// asAPIError turns what came of writing into what is said of it.
func asAPIError(err error) *apiError {
	var e *apiError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, batching.ErrFull):
		return refuse(http.StatusTooManyRequests, "queue_full", "too many texts are being written or waited for; try again later")
	case errors.Is(err, decoding.ErrPromptLogProbs):
		return wrong("echo", "echo with logprobs isn't supported: %v", err)
	case errors.Is(err, decoding.ErrMemory):
		return refuse(http.StatusBadRequest, "", "%v", err)
	case errors.Is(err, errShutdown):
		return refuse(http.StatusServiceUnavailable, "shutting_down", "%v", errShutdown)
	}
	return refuse(http.StatusInternalServerError, "", "the model failed to write; the server's log says why")
}

// send writes the error as the response.
func (e *apiError) send(w http.ResponseWriter) {
	if e.status == http.StatusTooManyRequests || e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if e.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	sendJSON(w, e.status, e)
}

func sendJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a client that has gone is not there to be told
}
