package serving

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"sync"
	"testing"

	"github.com/longform-go/longform/internal/testneeds"
)

// python runs a script in testdata, which needs a module and prints ok.
func python(t *testing.T, module, script string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), testneeds.Python(t, module), append([]string{script}, args...)...)
	if out, err := c.CombinedOutput(); err != nil || string(out) != "ok\n" {
		t.Errorf("%s: %v\n%s", script, err, out)
	}
}

func TestOpenAIClient(t *testing.T) {
	testneeds.Python(t, "openai") // before requests wait
	c := chatConfig(t, newFake(t, 1, 8))
	c.Model.MaxLength = 1 << 20
	locked := config(t, newFake(t, 1, 8))
	locked.APIKey = "secret"
	full := config(t, newFake(t, 1, 1))
	f := full.Engine.(*fake)
	f.gate = make(chan struct{})
	s := start(t, full)
	var written sync.WaitGroup
	for i := range 2 { // one is written and one waits
		written.Go(func() { s.post("/v1/completions", ask).Body.Close() })
		wait(t, "a place is taken", func() bool { return f.Stats().Active == 1 && f.Stats().Queued == i })
	}
	python(t, "openai", "testdata/openai_client.py", start(t, c).url, start(t, locked).url, s.url, river)
	close(f.gate)
	written.Wait()
}

func TestPageInBrowser(t *testing.T) {
	var chromium string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		testneeds.Missing(t, "no Chromium; install Debian's package chromium")
	}
	f := newFake(t, 1, 8)
	f.gate = make(chan struct{})
	waiting := New(chatConfig(t, f))
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/next" {
			waiting.ServeHTTP(w, r)
			return
		}
		select {
		case f.gate <- struct{}{}:
		case <-r.Context().Done():
		}
	}))
	defer page.Close()
	locked := config(t, newFake(t, 1, 8))
	locked.APIKey = "secret"
	python(t, "playwright.sync_api", "testdata/browser.py", chromium, page.URL, start(t, locked).url, river)
}
