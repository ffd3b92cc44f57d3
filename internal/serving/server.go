// Package serving lets a model write for whoever asks over HTTP, as OpenAI's interface has it: /v1/completions,
// /v1/chat/completions and /v1/models, besides a page to try it, /healthz (or /health) and /metrics.
//
// No client can hold up another. Whoever is slow to send or to receive is cut off, what waits for the model is limited, in
// all and for each client, whose texts have their turns beside those of others, and a text whose client has left gives its
// place back. Connections aren't counted: those that are silent are closed, and each costs what it has sent until then, some MiB at
// most.
package serving

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/batching"
	"github.com/longform-go/longform/internal/chat"
)

// Engine writes texts. A batching.Engine is one.
type Engine interface {
	// Submit queues a text. It fails with batching.ErrFull if there is no room. The channel is closed after the last piece,
	// which has a reason to finish or an error, or when ctx ends, which gives the text's place back.
	Submit(ctx context.Context, r batching.Request) (<-chan batching.Piece, error)
	Stats() batching.Stats
}

// Model is what the server tells of the model and needs to know of it.
type Model struct {
	Name      string
	Tokenizer *data.Tokenizer
	EOS       []int
	MaxLength int            // most tokens of a prompt and what is written after it
	Chat      *chat.Template // nil: /v1/chat/completions is refused
	// EncoderDecoder says that a text begins anew, and doesn't go on after the prompt.
	EncoderDecoder bool

	anchor int32 // a token to decode others after
}

// Config is what a server is made of. Zero limits get their defaults.
type Config struct {
	Engine Engine
	Model  Model
	APIKey string       // what clients of /v1 have to send; empty: nothing
	Log    *slog.Logger // gets a line for each request

	// Origins are those of web pages from elsewhere that may use the server, as browsers write them; "*" is all.
	Origins []string

	Grace        time.Duration // how long requests may go on when the server is to end; 0: not at all
	ReadTimeout  time.Duration // how long a client may take to send a request; default 30s
	WriteTimeout time.Duration // how long a client may take to receive what was sent last; default 30s
	Ping         time.Duration // how long a stream may be silent before it says that it waits; default 15s
	MaxBody      int64         // bytes of a request; by default as the other limits allow
}

// Server is an http.Handler with an end.
type Server struct {
	config     Config
	mux        *http.ServeMux
	metrics    *metrics
	created    int64
	clients    clients
	submitting sync.Mutex

	understanding chan struct{} // has an element for each request of which a job is being made

	mu       sync.Mutex
	writing  int           // requests under way
	draining bool          // no more are taken
	idle     chan struct{} // closed when draining and none is under way
}

// New makes a server.
func New(c Config) *Server {
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 30 * time.Second
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = 30 * time.Second
	}
	if c.Ping == 0 {
		c.Ping = 15 * time.Second // proxies give up after 60, as a rule
	}
	if ids := c.Model.Tokenizer.Encode("a", false); len(ids) > 0 {
		c.Model.anchor = ids[len(ids)-1]
	}
	s := &Server{
		config: c, metrics: newMetrics(c.Engine), created: unixNow(), idle: make(chan struct{}),
		understanding: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	if c.MaxBody == 0 {
		s.config.MaxBody = s.usualBody()
	}
	s.mux = s.routes()
	return s
}

// usualBody is what the other limits allow: a prompt with 32 bytes a token, or as many prompts as a client may have, whose tokens are
// numbers of 8 bytes. For those it ends at 4 MiB, of which there is memory for many at once.
func (s *Server) usualBody() int64 {
	one := int64(s.config.Model.MaxLength)
	return max(1<<20, 32*one, min(8*one*int64(s.share()), 4<<20))
}

// Serve answers on a listener until ctx ends. Then it takes no new texts, waits for those under way, ends those that are
// still being written after the time of grace, cuts off who neither sends nor receives, and returns.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	under, end := context.WithCancelCause(context.Background())
	defer end(errShutdown)
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.config.ReadTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return under },
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.config.Log.Info("ending", "writing", s.drain(), "grace", s.config.Grace)
	select {
	case <-s.idle:
	case <-time.After(s.config.Grace):
		end(errShutdown)
	}
	closing, cancel := context.WithTimeout(context.Background(), min(closingTime, s.config.WriteTimeout))
	defer cancel()
	err := h.Shutdown(closing)
	if errors.Is(err, context.DeadlineExceeded) {
		return h.Close()
	}
	return err
}

// closingTime is how long the last responses may take to be sent.
const closingTime = 5 * time.Second

// begin counts a request that is to write, unless the server is about to end.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		s.writing++
	}
	return !s.draining
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing--
	s.closeIfIdle()
}

// drain takes no more requests, and says how many are under way.
func (s *Server) drain() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	s.closeIfIdle()
	return s.writing
}

func (s *Server) closeIfIdle() {
	if s.draining && s.writing == 0 {
		select {
		case <-s.idle:
		default:
			close(s.idle)
		}
	}
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}
