package tracking

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// MLflow's REST API, version 2.0, takes at most these in one log-batch, and 500
// characters of a parameter's value where the server is old.
const (
	maxMetrics = 1000
	maxParams  = 100
	maxValue   = 500
)

// server speaks MLflow's REST API.
type server struct {
	address               *url.URL
	client                *http.Client
	token, user, password string
}

// newServer is the client of the server at uri, with the credentials that
// MLflow's own client takes from the environment.
func newServer(uri string) *server {
	address, err := url.Parse(uri)
	if err != nil {
		panic(err) // configs has parsed it
	}
	return &server{
		address: address, client: &http.Client{Timeout: 10 * time.Second},
		token: os.Getenv("MLFLOW_TRACKING_TOKEN"), user: os.Getenv("MLFLOW_TRACKING_USERNAME"), password: os.Getenv("MLFLOW_TRACKING_PASSWORD"),
	}
}

func (s *server) String() string { return s.address.Redacted() }

// refusal is an error that trying again doesn't mend.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

// apiError is what the server says is wrong.
type apiError struct {
	Code    string `json:"error_code"`
	Message string `json:"message"`
}

func (e apiError) Error() string { return cmp.Or(e.Message, e.Code) }

func missing(err error) bool {
	var e apiError
	return errors.As(err, &e) && e.Code == "RESOURCE_DOES_NOT_EXIST"
}

// call sends a request, as a query or as a body, and reads the answer.
func (s *server) call(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	at := s.address.JoinPath("api/2.0/mlflow", path)
	at.RawQuery = query.Encode()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return refusal{err}
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(text))
	if err != nil {
		return refusal{err}
	}
	request.Header.Set("Content-Type", "application/json")
	switch {
	case s.token != "":
		request.Header.Set("Authorization", "Bearer "+s.token)
	case s.user != "":
		request.SetBasicAuth(s.user, s.password)
	}
	response, err := s.client.Do(request)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the address, which the caller's message has
		}
		return err
	}
	defer response.Body.Close()
	text, err = io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if code := response.StatusCode; code != http.StatusOK {
		failure := apiError{}
		if json.Unmarshal(text, &failure) != nil || failure.Code == "" {
			failure.Message = response.Status
		}
		if code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout {
			return failure
		}
		return refusal{failure}
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return refusal{fmt.Errorf("%s doesn't answer as an MLflow server does; check tracking.mlflow", at.Path)}
	}
	return nil
}

func (s *server) post(ctx context.Context, path string, body, answer any) error {
	return s.call(ctx, http.MethodPost, path, nil, body, answer)
}

// experiment is the id of the experiment of that name, which is created if need
// be.
func (s *server) experiment(ctx context.Context, name string) (id string, err error) {
	var found struct {
		Experiment struct {
			ID string `json:"experiment_id"`
		} `json:"experiment"`
	}
	get := func() error {
		return s.call(ctx, http.MethodGet, "experiments/get-by-name", url.Values{"experiment_name": {name}}, nil, &found)
	}
	if err = get(); missing(err) {
		var created struct {
			ID string `json:"experiment_id"`
		}
		if err = s.post(ctx, "experiments/create", map[string]string{"name": name}, &created); err == nil {
			return created.ID, nil
		}
		var e apiError
		if errors.As(err, &e) && e.Code == "RESOURCE_ALREADY_EXISTS" { // another run was faster
			err = get()
		}
	}
	return found.Experiment.ID, err
}

// create begins a run and gives its id.
func (s *server) create(ctx context.Context, experiment, name string) (id string, err error) {
	var answer struct{ Run existingRun }
	err = s.post(ctx, "runs/create", map[string]any{"experiment_id": experiment, "run_name": name, "start_time": time.Now().UnixMilli()}, &answer)
	return answer.Run.Info.ID, err
}

// existingRun is what is asked of a run: of each metric, the value of its last
// step.
type existingRun struct {
	Info struct {
		ID    string `json:"run_id"`
		Stage string `json:"lifecycle_stage"`
	}
	Data struct {
		Params  []struct{ Key string }
		Metrics []struct {
			Key  string
			Step whole
		}
	}
}

func (r existingRun) steps() map[string]int {
	steps := map[string]int{}
	for _, m := range r.Data.Metrics {
		steps[m.Key] = int(m.Step)
	}
	return steps
}

func (s *server) run(ctx context.Context, id string) (existingRun, error) {
	var answer struct{ Run existingRun }
	err := s.call(ctx, http.MethodGet, "runs/get", url.Values{"run_id": {id}}, nil, &answer)
	if err == nil && answer.Run.Info.Stage == "deleted" {
		err = refusal{apiError{Code: "RESOURCE_DOES_NOT_EXIST", Message: "run " + id + " is deleted"}}
	}
	return answer.Run, err
}

// update sets a run's status; a zero end leaves that of the run.
func (s *server) update(ctx context.Context, id, status string, end time.Time) error {
	body := map[string]any{"run_id": id, "status": status}
	if !end.IsZero() {
		body["end_time"] = end.UnixMilli()
	}
	return s.post(ctx, "runs/update", body, &struct{}{})
}

func (s *server) logMetrics(ctx context.Context, run string, metrics []metric) error {
	return s.post(ctx, "runs/log-batch", map[string]any{"run_id": run, "metrics": metrics}, &struct{}{})
}

func (s *server) logParams(ctx context.Context, run string, settings iter.Seq2[string, any]) error {
	type param struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	var params []param
	send := func() error {
		err := s.post(ctx, "runs/log-batch", map[string]any{"run_id": run, "params": params}, &struct{}{})
		params = nil
		return err
	}
	for key, value := range settings {
		text := []rune(settingText(value))
		params = append(params, param{key, string(text[:min(len(text), maxValue)])})
		if len(params) == maxParams {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if len(params) == 0 {
		return nil
	}
	return send()
}

// settingText is a setting as a person reads it.
func settingText(x any) string {
	switch x := x.(type) {
	case nil:
		return "null"
	case []string:
		return "[" + strings.Join(x, ", ") + "]"
	}
	return fmt.Sprint(x)
}

// number is a double in protobuf's JSON, which has words for what JSON lacks.
type number float64

// MarshalJSON implements [json.Marshaler].
func (n number) MarshalJSON() ([]byte, error) {
	text := numberText(float64(n))
	if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
		text = `"` + text + `"`
	}
	return []byte(text), nil
}

// whole is an int64 in protobuf's JSON: a number, or one in quotes.
type whole int64

// UnmarshalJSON implements [json.Unmarshaler].
func (w *whole) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(bytes.Trim(text, `"`), (*int64)(w))
}
