package serving

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	handle := func(method, path string, h func(http.ResponseWriter, *http.Request) error) {
		serve := func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				s.answer(w, r, err)
			}
		}
		mux.HandleFunc(method+" "+path, serve)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", method)
			s.answer(w, r, refuse(http.StatusMethodNotAllowed, "", "%s is for %s, not %s", path, method, r.Method))
		})
	}
	handle("POST", "/v1/completions", s.protect(s.completions))
	handle("POST", "/v1/chat/completions", s.protect(s.chatCompletions))
	handle("GET", "/v1/models", s.models)
	handle("GET", "/v1/models/{id...}", s.model)
	handle("GET", "/healthz", s.health)
	handle("GET", "/health", s.health) // its name in vLLM and llama.cpp
	handle("GET", "/{$}", servePage)
	metrics := promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})
	handle("GET", "/metrics", func(w http.ResponseWriter, r *http.Request) error {
		metrics.ServeHTTP(w, r)
		return nil
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, refuse(http.StatusNotFound, "", "no %s here; there are /v1/completions, /v1/chat/completions and /v1/models", r.URL.Path))
	})
	return mux
}

// answer sends an error, unless the client was told within a stream, and notes it.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, err error) {
	noteOf(r.Context()).problem = err
	if _, told := err.(*sent); !told {
		asAPIError(err).send(w)
	}
}

// protect counts a request that writes once its body is there, and refuses it while the server ends.
func (s *Server) protect(h func(http.ResponseWriter, *http.Request, []byte) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := s.read(w, r)
		if err != nil {
			return err
		}
		if !s.begin() {
			w.Header().Set("Connection", "close")
			return errShutdown
		}
		defer s.end()
		return h(w, r, body)
	}
}

// welcome says whether a request for /v1 comes from a web page of elsewhere that may use the server, and tells the browser so.
func (s *Server) welcome(w http.ResponseWriter, r *http.Request) bool {
	if len(s.config.Origins) > 0 {
		w.Header().Set("Vary", "Origin")
	}
	origin := r.Header.Get("Origin")
	if origin == "" || !strings.HasPrefix(r.URL.Path, "/v1/") || !slices.Contains(s.config.Origins, origin) && !slices.Contains(s.config.Origins, "*") {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	h.Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
	h.Set("Access-Control-Expose-Headers", "Retry-After, X-Request-Id")
	return true
}

// allow is what every request has to pass: no web page of another site may use this server through its visitor's browser, if it isn't
// welcome, and /v1 asks for the key.
func (s *Server) allow(r *http.Request, welcome bool) error {
	if err := crossOrigin.Check(r); err != nil && !welcome {
		return refuse(http.StatusForbidden, "", "requests from pages of other sites aren't allowed; start the server with --allow-origin")
	}
	if s.config.APIKey == "" {
		// A site can give its own name this machine's address, but not make a browser call it by that address.
		if !isLocalName(r.Host) {
			return refuse(http.StatusForbidden, "", "this server is asked for by the name %q; call it localhost, by its address, or start it with an API key", r.Host)
		}
		return nil
	}
	if r.URL.Path != "/v1" && !strings.HasPrefix(r.URL.Path, "/v1/") {
		return nil
	}
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	got, want := sha256.Sum256([]byte(key)), sha256.Sum256([]byte(s.config.APIKey))
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return refuse(http.StatusUnauthorized, "invalid_api_key", "no API key, or a wrong one; send the header Authorization: Bearer KEY")
	}
	return nil
}

var crossOrigin = http.NewCrossOriginProtection()

// isLocalName says whether the host of a request is an address, or a name that nobody can own: localhost, and what containers call
// the machine that they run on.
func isLocalName(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	_, err := netip.ParseAddr(name)
	name = strings.ToLower(name)
	return err == nil || name == "localhost" || strings.HasSuffix(name, ".localhost") || name == "host.docker.internal"
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	if s.isDraining() {
		return errShutdown
	}
	sendJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

type modelObject struct {
	ID        string `json:"id"`
	Object    string `json:"object"`
	Created   int64  `json:"created"`
	OwnedBy   string `json:"owned_by"`
	MaxLength int    `json:"max_model_len"` // as vLLM has it
	// For the page: whether the model takes messages, and whether only one.
	Chat          bool `json:"chat"`
	SingleMessage bool `json:"single_message"`
}

func (s *Server) describe() modelObject {
	m := s.config.Model
	return modelObject{m.Name, "model", s.created, "longform", m.MaxLength, m.Chat != nil, m.Chat != nil && m.Chat.SingleMessage()}
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) error {
	sendJSON(w, http.StatusOK, map[string]any{"object": "list", "data": []modelObject{s.describe()}})
	return nil
}

func (s *Server) model(w http.ResponseWriter, r *http.Request) error {
	if id := r.PathValue("id"); id != s.config.Model.Name {
		return unknownModel(id, s.config.Model.Name)
	}
	sendJSON(w, http.StatusOK, s.describe())
	return nil
}
