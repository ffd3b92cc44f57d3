package serving

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// clients counts the texts under way of each client, so that one that floods the server leaves places to others. A client
// is an address, which a proxy on this machine passes on; the programs of this machine, who share one, aren't told apart and not
// limited.
type clients struct {
	mu    sync.Mutex
	texts map[string]int
}

// share is how many texts a client, and so a request, may have under way: half of the places.
func (s *Server) share() int {
	stats := s.config.Engine.Stats()
	return max(1, (stats.Slots+stats.Queue)/2)
}

// take counts n texts more of a client, who may have most of them, until they are released.
func (c *clients) take(client string, n, most int) (release func(), err error) {
	if at, err := netip.ParseAddr(client); err != nil || at.IsLoopback() {
		return func() {}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if has := c.texts[client]; has+n > most {
		return nil, refuse(http.StatusTooManyRequests, "too_many_texts", "you have %d texts under way and ask for %d more; at most %d may be, try again when some are done", has, n, most)
	}
	if c.texts == nil {
		c.texts = map[string]int{}
	}
	c.texts[client] += n
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.texts[client] -= n; c.texts[client] == 0 {
			delete(c.texts, client)
		}
	}, nil
}

// addressOf is the client's address without the port. A proxy on this machine has appended who asks it; what stands before that is
// the client's own word.
func addressOf(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	if peer, err := netip.ParseAddr(host); err != nil || !peer.IsLoopback() {
		return host
	}
	forwarded := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	last := strings.TrimSpace(forwarded[strings.LastIndexByte(forwarded, ',')+1:])
	if _, err := netip.ParseAddr(last); err != nil {
		return host
	}
	return last
}
