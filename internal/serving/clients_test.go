package serving

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Behind a proxy on this machine clients are told apart by what the proxy adds, and nobody can take another's name.
func TestAddress(t *testing.T) {
	for _, test := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"on this machine", "127.0.0.1:80", nil, "127.0.0.1"},
		{"elsewhere", "[2001:db8::1]:80", nil, "2001:db8::1"},
		{"elsewhere, under another's name", "192.0.2.1:80", []string{"192.0.2.2"}, "192.0.2.1"},
		{"through a proxy", "127.0.0.1:80", []string{"192.0.2.1"}, "192.0.2.1"},
		{"through a proxy by IPv6", "[::1]:80", []string{"2001:db8::1"}, "2001:db8::1"},
		{"through a proxy, under another's name", "127.0.0.1:80", []string{"192.0.2.2, 192.0.2.1"}, "192.0.2.1"},
		{"through a proxy with a line of its own", "127.0.0.1:80", []string{"192.0.2.2", "192.0.2.1"}, "192.0.2.1"},
		{"through a proxy that doesn't tell", "127.0.0.1:80", []string{"192.0.2.2, unknown"}, "127.0.0.1"},
	} {
		r := &http.Request{RemoteAddr: test.peer, Header: http.Header{"X-Forwarded-For": test.forwarded}}
		if got := addressOf(r); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// A client elsewhere that asks for more and more leaves half of the places to others.
func TestFlood(t *testing.T) {
	f := newFake(t, 2, 6)
	f.gate = make(chan struct{})
	s := New(config(t, f))
	from := func(client, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "http://127.0.0.1/v1/completions", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = client
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	taken := func(n int) func() bool {
		return func() bool { return f.Stats().Active+f.Stats().Queued == n }
	}
	var written sync.WaitGroup
	written.Go(func() { from("192.0.2.1:1", `{"model": "tiny", "prompt": "A", "n": 3}`) })
	wait(t, "three texts are under way", taken(3))
	refused(t, from("192.0.2.1:2", `{"model": "tiny", "prompt": "A", "n": 2}`).Result(), 429, "", "too_many_texts", "you have 3 texts under way and ask for 2 more; at most 4")
	written.Go(func() { from("[2001:db8::1]:1", `{"model": "tiny", "prompt": "A", "n": 4}`) })
	wait(t, "four more are", taken(7))
	for _, r := range f.requests[3:] {
		if r.Client != "2001:db8::1" || f.requests[0].Client != "192.0.2.1" {
			t.Errorf("the engine was told that %s asks, after %s", r.Client, f.requests[0].Client)
		}
	}
	close(f.gate)
	written.Wait()
	if w := from("192.0.2.1:3", `{"model": "tiny", "prompt": "A", "n": 4}`); w.Code != 200 {
		t.Errorf("after the others: %d %s", w.Code, w.Body)
	}
}
