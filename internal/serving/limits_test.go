package serving

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/batching"
	"github.com/longform-go/longform/internal/decoding"
)

const (
	ask       = `{"model": "tiny", "prompt": "A"}`
	askStream = `{"model": "tiny", "prompt": "A", "max_tokens": 100, "ignore_eos": true, "stream": true}`
)

// A request's texts find room in the queue together or not at all.
func TestQueueIsFull(t *testing.T) {
	f := newFake(t, 1, 3)
	f.gate = make(chan struct{})
	s := start(t, config(t, f))
	streaming := make(chan *http.Response)
	go func() { streaming <- s.post("/v1/completions", askStream) }()
	wait(t, "the first text is written", func() bool { return f.Stats().Active == 1 })
	waiting := make(chan *http.Response)
	go func() { waiting <- s.post("/v1/completions", `{"model": "tiny", "prompt": ["A", "B"]}`) }()
	wait(t, "two more are queued", func() bool { return f.Stats().Queued == 2 })
	refused(t, s.post("/v1/completions", `{"model": "tiny", "prompt": "A", "n": 2}`), 429, "", "queue_full", "try again later")
	wait(t, "what was refused isn't queued", func() bool { return f.Stats().Queued == 2 })
	s.waitForMetrics("longform_active_texts 1", "longform_queued_texts 2", "longform_slots 1", "longform_queue_limit 3",
		`longform_requests_total{path="/v1/completions",status="429"} 1`)
	close(f.gate)
	for _, answers := range []chan *http.Response{streaming, waiting} {
		response := <-answers
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != 200 {
			t.Errorf("%s, error %v", response.Status, err)
		}
		response.Body.Close()
	}
	// 100 tokens of the stream, 16 of each text; prompts have three tokens each.
	s.waitForMetrics("longform_completion_tokens_total 132", "longform_prompt_tokens_total 9",
		"longform_time_to_first_token_seconds_count 2", "longform_time_per_output_token_seconds_count 2",
		`longform_request_duration_seconds_count{path="/v1/completions"} 3`, `longform_requests_total{path="/v1/completions",status="200"} 2`)
}

// waitForMetrics waits until a request is counted, which is after its client has the answer.
func (s *running) waitForMetrics(lines ...string) {
	s.t.Helper()
	for _, line := range lines {
		wait(s.t, line, func() bool { return strings.Contains(s.metricsText(), line+"\n") })
	}
}

func (s *running) metricsText() string {
	s.t.Helper()
	response, err := http.Get(s.url + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(raw)
}

// ask sends a request whose client leaves when ctx ends.
func (s *running) ask(ctx context.Context, body string) {
	go func() {
		r, _ := http.NewRequestWithContext(ctx, "POST", s.url+"/v1/completions", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if response, err := http.DefaultClient.Do(r); err == nil {
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}()
}

// Whoever leaves gives the places back: of texts being written and of those that wait, of streams and of whole answers.
func TestClientLeaves(t *testing.T) {
	f := newFake(t, 1, 8)
	f.gate = make(chan struct{})
	s := start(t, config(t, f))
	ctx, leave := context.WithCancel(t.Context())
	for _, body := range []string{askStream, ask, `{"model": "tiny", "prompt": "A", "n": 3}`} {
		s.ask(ctx, body)
	}
	wait(t, "all have come", func() bool { return f.Stats().Active == 1 && f.Stats().Queued == 4 })
	leave()
	wait(t, "all have left", func() bool { return f.Stats().Active == 0 && f.Stats().Queued == 0 })
	s.waitForMetrics(`longform_requests_total{path="/v1/completions",status="499"} 3`)
}

// Who waits for a processor may leave.
func TestClientLeavesBeforeItIsUnderstood(t *testing.T) {
	f := newFake(t, 1, 8)
	s := start(t, config(t, f))
	for range cap(s.understanding) {
		s.understanding <- struct{}{}
	}
	ctx, leave := context.WithCancel(t.Context())
	s.ask(ctx, ask)
	wait(t, "its body is there", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.writing == 1
	})
	leave()
	s.waitForMetrics(`longform_requests_total{path="/v1/completions",status="499"} 1`)
	for range cap(s.understanding) {
		<-s.understanding
	}
	if a := s.answer("/v1/completions", ask); a["choices"] == nil || len(f.requests) != 1 {
		t.Errorf("%v after %d requests", a, len(f.requests))
	}
}

// A stop string frees the place at once, though the engine could go on.
func TestStopFreesPlace(t *testing.T) {
	f := newFake(t, 1, 8)
	f.gate = make(chan struct{})
	s := start(t, config(t, f))
	go func() {
		for range 9 { // " ", "The ", " D", "an", "u", "b", "e ", "f", "l"
			f.gate <- struct{}{}
		}
	}()
	a := s.answer("/v1/completions", `{"model": "tiny", "prompt": "A", "max_tokens": 100, "stop": "Danube"}`)
	if text := a["choices"].([]any)[0].(map[string]any)["text"]; text != " The " {
		t.Errorf("the text is %q", text)
	}
	wait(t, "the place is free", func() bool { return f.Stats().Active == 0 })
}

// A client that takes nothing is cut off, and meanwhile holds up neither the engine nor others.
func TestStalledReader(t *testing.T) {
	f := newFake(t, 1, 8)
	c := config(t, f)
	c.Model.MaxLength = 1 << 30
	c.WriteTimeout = 50 * time.Millisecond
	s := start(t, c)
	conn := s.dial()
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(1 << 10)
	body := `{"model": "tiny", "prompt": "A", "max_tokens": 1000000000, "ignore_eos": true, "stream": true}`
	fmt.Fprintf(conn, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	wait(t, "it is written for", func() bool { return f.Stats().Active == 1 })
	response := s.post("/v1/completions", ask) // waits for the only place
	defer response.Body.Close()
	if response.StatusCode != 200 {
		t.Error(response.Status)
	}
}

func (s *running) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// Clients that begin a request and send no more are cut off, and others are served meanwhile.
func TestHangingClients(t *testing.T) {
	c := config(t, newFake(t, 1, 8))
	c.ReadTimeout = 200 * time.Millisecond
	s := start(t, c)
	var hanging []net.Conn
	for _, begun := range []string{
		"", "POST /v1/comp", "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n",
		"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{", // whose body nobody reads
	} {
		for range 20 {
			conn := s.dial()
			defer conn.Close()
			fmt.Fprint(conn, begun)
			hanging = append(hanging, conn)
		}
	}
	response := s.post("/v1/completions", ask)
	response.Body.Close()
	if response.StatusCode != 200 {
		t.Error(response.Status)
	}
	for i, conn := range hanging {
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	s.waitForMetrics(`longform_requests_total{path="/v1/completions",status="408"} 20`)
}

// Who leaves while it sends isn't one who takes too long, nor is one whose body is broken.
func TestBodies(t *testing.T) {
	c := config(t, newFake(t, 1, 8))
	c.ReadTimeout = time.Hour
	s := start(t, c)
	for _, test := range []struct {
		name, body string
		leaves     bool
		status     int
	}{
		{"leaves", "Content-Length: 100\r\n\r\n{", true, 499},
		{"leaves a chunk", "Transfer-Encoding: chunked\r\n\r\n10\r\n{", true, 499},
		{"no chunk", "Transfer-Encoding: chunked\r\n\r\nten\r\n{", false, 400},
	} {
		conn := s.dial()
		fmt.Fprint(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+test.body)
		if test.leaves {
			conn.Close()
		} else {
			defer conn.Close()
		}
		wait(t, test.name, func() bool {
			return strings.Contains(s.metricsText(), fmt.Sprintf(`longform_requests_total{path="/v1/chat/completions",status="%d"}`, test.status))
		})
	}
	s.waitForMetrics(`longform_requests_total{path="/v1/chat/completions",status="499"} 2`)
}

// A body may have what the other limits allow: prompts of tokens in numbers, as many as a request may have.
func TestLargeBody(t *testing.T) {
	f := newFake(t, 64, 256)
	c := config(t, f)
	c.Model.MaxLength = 4096
	s := start(t, c)
	prompt := "[7" + strings.Repeat(", 767", 4094) + "]"
	body := `{"model": "tiny", "max_tokens": 1, "prompt": [` + prompt + strings.Repeat(", "+prompt, 159) + `]}`
	if a := s.answer("/v1/completions", body); a["choices"] == nil || len(f.requests) != 160 {
		t.Errorf("%d bytes with 160 prompts gave %v", len(body), a["error"])
	}
}

// A text takes as long as it takes, however short the times for sending and receiving are.
func TestSlowText(t *testing.T) {
	f := newFake(t, 1, 8)
	f.gate = make(chan struct{})
	c := config(t, f)
	c.ReadTimeout, c.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	s := start(t, c)
	go func() {
		time.Sleep(200 * time.Millisecond)
		close(f.gate)
	}()
	if a := s.answer("/v1/completions", ask); a["choices"] == nil {
		t.Error(a)
	}
}

func TestEngineFails(t *testing.T) {
	f := newFake(t, 1, 8)
	f.fails = errors.New("the device has melted")
	s := start(t, config(t, f))
	refused(t, s.post("/v1/completions", ask), 500, "", "", "the model failed to write; the server's log says why")
	events, done := s.events("/v1/completions", askStream)
	if done {
		t.Error("[DONE] after an error")
	}
	last := events[len(events)-1]
	if e, ok := last["error"].(map[string]any); len(events) != 3 || !ok || e["type"] != "server_error" {
		t.Errorf("events %v, want two tokens and an error", events)
	}
	f.refuses = fmt.Errorf("%w: 9.1 GB for 4000 tokens", decoding.ErrMemory)
	refused(t, s.post("/v1/completions", ask), 400, "", "", "not enough memory for keys and values: 9.1 GB for 4000 tokens")
	f.refuses = nil
	f.submitsPanic = true
	refused(t, s.post("/v1/completions", ask), 500, "", "", "the model failed to write")
	f.fails, f.submitsPanic = nil, false
	if a := s.answer("/v1/completions", ask); a["choices"] == nil {
		t.Errorf("after a panic: %v", a)
	}
}

// unfinished is an engine that gives texts up without a word.
type unfinished struct{ *fake }

func (unfinished) Submit(context.Context, batching.Request) (<-chan batching.Piece, error) {
	pieces := make(chan batching.Piece)
	close(pieces)
	return pieces, nil
}

func TestEngineGivesUp(t *testing.T) {
	s := start(t, config(t, unfinished{newFake(t, 1, 8)}))
	refused(t, s.post("/v1/completions", ask), 500, "", "", "failed to write")
}

// At the end requests under way have the time of grace, and others are refused.
func TestEnd(t *testing.T) {
	for _, grace := range []time.Duration{time.Hour, 100 * time.Millisecond} {
		t.Run(grace.String(), func(t *testing.T) {
			f := newFake(t, 1, 8)
			f.gate = make(chan struct{}, 2)
			c := config(t, f)
			c.Grace = grace
			s := start(t, c)
			f.gate <- struct{}{}
			f.gate <- struct{}{}
			response := s.post("/v1/completions", askStream)
			defer response.Body.Close()
			lines := bufio.NewReader(response.Body)
			if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
				t.Fatalf("%q, error %v", line, err)
			}
			s.stop()
			wait(t, "the server takes no more", s.isDraining)
			if grace == time.Hour {
				refused(t, s.post("/v1/completions", ask), 503, "", "shutting_down", "shutting down")
				health, err := http.Get(s.url + "/healthz")
				if err != nil {
					t.Fatal(err)
				}
				refused(t, health, 503, "", "shutting_down", "")
				close(f.gate)
			}
			rest, err := io.ReadAll(lines)
			if err != nil {
				t.Fatal(err)
			}
			if whole := strings.HasSuffix(string(rest), "data: [DONE]\n\n"); whole != (grace == time.Hour) || !whole && !strings.Contains(string(rest), `"code":"shutting_down"`) {
				t.Errorf("the stream ends with %q", rest)
			}
			if err := <-s.ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// A client that hangs in its request when the server ends isn't waited for, and that is no failure.
func TestEndWithHangingClient(t *testing.T) {
	c := config(t, newFake(t, 1, 8))
	c.ReadTimeout, c.WriteTimeout, c.Grace = time.Hour, 50*time.Millisecond, time.Hour
	s := start(t, c)
	uploading := s.dial()
	defer uploading.Close()
	fmt.Fprint(uploading, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
	if line, err := bufio.NewReader(uploading).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("the server doesn't read the body: %q, error %v", line, err)
	}
	s.stop()
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	if n, err := io.Copy(io.Discard, uploading); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%d bytes, error %v", n, err)
	}
}
