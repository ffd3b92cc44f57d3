package hub

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/hub/hubtest"
)

func TestIsName(t *testing.T) {
	for name, want := range map[string]bool{
		"facebook/opt-125m": true, "google/t5-v1_1-xl": true, "a/b.c": true, "akoksal/_x": true,
		"demo": false, "a/b/c": false, "../up": false, "./here": false, "/root": false, "a/": false, "/b": false, "a/..": false, "a/b c": false,
		"~/b": false, "": false,
	} {
		if IsName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// fetch opens a repository and reads files of it.
func fetch(kind Kind, name string, files ...string) ([]string, error) {
	r, err := Open(kind, name)
	if err != nil {
		return nil, err
	}
	paths, err := r.Fetch(files...)
	if err != nil {
		return nil, err
	}
	var contents []string
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		contents = append(contents, string(raw))
	}
	return contents, nil
}

func cached(t *testing.T) []string {
	t.Helper()
	root := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "longform")
	var found []string
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			path, _ = filepath.Rel(root, path)
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestFetch(t *testing.T) {
	h := hubtest.New(t)
	for _, kind := range []Kind{Models, Datasets} {
		files := map[string]string{"a.safetensors": "weights", "deep/b c.json": string(kind), "../out": "x", "empty": ""}
		h.Put(string(kind), "o/n", hubtest.Repository{Files: files})
		for range 2 { // the second time from the cache
			got, err := fetch(kind, "o/n", "deep/b c.json", "a.safetensors", "empty")
			if err != nil || !slices.Equal(got, []string{string(kind), "weights", ""}) {
				t.Fatalf("%s: got %q, %v", kind, got, err)
			}
		}
		if _, err := fetch(kind, "o/n", "../out"); err == nil || !strings.Contains(err.Error(), "not in the repository") {
			t.Errorf("a name that leads out of the cache: %v", err)
		}
	}
	prefix := map[bool]string{true: "", false: "datasets/"}
	var want []string
	for _, kind := range []Kind{Models, Datasets} {
		list := "api/" + string(kind) + "/o/n/revision/main"
		file := prefix[kind == Models] + "o/n/resolve/c0ffee/"
		want = append(want, list, file+"deep/b c.json", file+"a.safetensors", file+"empty", list, list)
	}
	if asked := h.Asked(); !slices.Equal(asked, want) {
		t.Errorf("asked for %q\nwant %q", asked, want)
	}
	if got, want := cached(t), []string{
		"datasets/o--n/c0ffee/a.safetensors", "datasets/o--n/c0ffee/deep/b c.json", "datasets/o--n/c0ffee/empty", "datasets/o--n/main.json",
		"models/o--n/c0ffee/a.safetensors", "models/o--n/c0ffee/deep/b c.json", "models/o--n/c0ffee/empty", "models/o--n/main.json",
	}; !slices.Equal(got, want) {
		t.Errorf("the cache has %q\nwant %q", got, want)
	}
}

func TestNewVersion(t *testing.T) {
	h := hubtest.New(t)
	put := func(commit, readme string) {
		h.Put("models", "o/n", hubtest.Repository{Commit: commit, Files: map[string]string{"w.safetensors": "weights", "README.md": readme}})
	}
	put("aaa", "old")
	if _, err := fetch(Models, "o/n", "w.safetensors", "README.md"); err != nil {
		t.Fatal(err)
	}
	put("bbb", "new")
	h.Asked()
	got, err := fetch(Models, "o/n", "w.safetensors", "README.md")
	if err != nil || !slices.Equal(got, []string{"weights", "new"}) {
		t.Fatalf("got %q, %v", got, err)
	}
	if asked := h.Asked(); !slices.Equal(asked, []string{"api/models/o/n/revision/main", "o/n/resolve/bbb/README.md"}) {
		t.Errorf("asked for %q, want only what changed", asked)
	}
}

func TestWithoutNetwork(t *testing.T) {
	h := hubtest.New(t)
	h.Put("models", "o/n", hubtest.Repository{Files: map[string]string{"a": "1", "b": "2"}})
	if _, err := fetch(Models, "o/n", "a"); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if got, err := fetch(Models, "o/n", "a"); err != nil || !slices.Equal(got, []string{"1"}) {
		t.Errorf("what was seen before: %q, %v", got, err)
	}
	for name, want := range map[string]string{"o/n": "cannot be reached and b was never downloaded: ", "o/other": "cannot be reached and no earlier download is there: "} {
		if _, err := fetch(Models, name, "b"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	// A hub that is in trouble, or a login page in its place, is as good as none.
	for _, answer := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusServiceUnavailable) },
		func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") },
	} {
		server := httptest.NewServer(answer)
		t.Setenv("HF_ENDPOINT", server.URL)
		if got, err := fetch(Models, "o/n", "a"); err != nil || !slices.Equal(got, []string{"1"}) {
			t.Errorf("what was seen before: %q, %v", got, err)
		}
		if _, err := fetch(Models, "o/other", "a"); err == nil || !strings.Contains(err.Error(), "503") && !strings.Contains(err.Error(), "check HF_ENDPOINT") {
			t.Errorf("what wasn't: %v", err)
		}
		server.Close()
	}
}

// Downloads that break off.
func TestTorn(t *testing.T) {
	h := hubtest.New(t)
	content := strings.Repeat("0123456789", 100)
	files := map[string]string{"w.safetensors": content}
	const listing, part = "models/o--n/main.json", "models/o--n/c0ffee/w.safetensors.part"

	h.Put("models", "o/n", hubtest.Repository{Files: files, Bare: true, Break: 300})
	if _, err := fetch(Models, "o/n", "w.safetensors"); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("torn: %v", err)
	}
	if got := cached(t); !slices.Equal(got, []string{listing}) {
		t.Errorf("of a file of unknown size %q was left", got)
	}

	h.Put("models", "o/n", hubtest.Repository{Files: files, Break: 300, NoRange: true})
	if _, err := fetch(Models, "o/n", "w.safetensors"); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("torn each time: %v", err)
	}
	if got := cached(t); !slices.Equal(got, []string{part, listing}) {
		t.Errorf("the cache has %q", got)
	}

	h.Put("models", "o/n", hubtest.Repository{Files: files, Break: 300})
	h.Asked()
	got, err := fetch(Models, "o/n", "w.safetensors")
	if err != nil || got[0] != content {
		t.Fatalf("resumed: %d bytes, %v", len(strings.Join(got, "")), err)
	}
	if n := len(h.Asked()); n != 4 { // the listing, and 300 + 300 + 100 bytes after the 300 of the last time
		t.Errorf("%d requests", n)
	}
	if got := cached(t); !slices.Equal(got, []string{strings.TrimSuffix(part, ".part"), listing}) {
		t.Errorf("the cache has %q", got)
	}
}

func TestDamaged(t *testing.T) {
	h := hubtest.New(t)
	files := map[string]string{"w.safetensors": "weights"}
	h.Put("models", "o/n", hubtest.Repository{Files: files, Damage: true})
	if _, err := fetch(Models, "o/n", "w.safetensors"); err == nil || !strings.Contains(err.Error(), "damaged on the way: its sha256") {
		t.Errorf("damaged: %v", err)
	}
	h.Put("models", "o/n", hubtest.Repository{Files: files})
	if got, err := fetch(Models, "o/n", "w.safetensors"); err != nil || !slices.Equal(got, []string{"weights"}) {
		t.Errorf("again: %q, %v", got, err)
	}
}

func TestStalled(t *testing.T) {
	stall = 50 * time.Millisecond
	defer func() { stall = time.Minute }()
	done := make(chan bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			io.WriteString(w, `{"sha":"c0ffee","siblings":[{"rfilename":"a","size":10}]}`)
			return
		}
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		<-done
	}))
	defer server.Close()
	defer close(done)
	t.Setenv("HF_ENDPOINT", server.URL)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := fetch(Models, "o/n", "a"); err == nil || !strings.Contains(err.Error(), "no data for a minute") {
		t.Errorf("stalled: %v", err)
	}
}

// Several processes that want one file download it once.
func TestAtOnce(t *testing.T) {
	h := hubtest.New(t)
	content := strings.Repeat("0123456789", 1<<16)
	h.Put("models", "o/n", hubtest.Repository{Files: map[string]string{"w.safetensors": content}})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if got, err := fetch(Models, "o/n", "w.safetensors"); err != nil || got[0] != content {
				t.Errorf("%d bytes, %v", len(strings.Join(got, "")), err)
			}
		})
	}
	group.Wait()
	downloads := slices.DeleteFunc(h.Asked(), func(path string) bool { return strings.HasPrefix(path, "api/") })
	if len(downloads) != 1 {
		t.Errorf("%d downloads", len(downloads))
	}
	if got := cached(t); len(got) != 2 {
		t.Errorf("the cache has %q", got)
	}
}

func TestRefusals(t *testing.T) {
	h := hubtest.New(t)
	h.Put("models", "o/gated", hubtest.Repository{Files: map[string]string{"a": "1"}, Token: "secret"})
	gated := func() error { _, err := fetch(Models, "o/gated", "a"); return err }
	missing := func() error { _, err := fetch(Models, "o/missing", "a"); return err }
	check := func(what string, err error, want ...string) {
		t.Helper()
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want %q", what, err, w)
			}
		}
	}
	check("missing", missing(), "404 Not Found; check the name", "set HF_TOKEN")
	check("gated", gated(), "it is gated (", "401", "accept its terms at "+h.URL+"/o/gated and set HF_TOKEN")
	t.Setenv("HF_TOKEN", "wrong")
	check("wrong token", gated(), "set HF_TOKEN to one that may read it")
	t.Setenv("HF_TOKEN", "secret")
	if err := gated(); err != nil {
		t.Errorf("with a token: %v", err)
	}
	t.Setenv("HF_ENDPOINT", "nowhere")
	check("no address", missing(), "cannot be reached", "nowhere")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	check("no cache", missing(), "no place for downloads")
}

// The token is for the hub, not for the hosts that it keeps large files on.
func TestTokenStaysAtHome(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "token %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	address := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			io.WriteString(w, `{"sha":"c0ffee","siblings":[{"rfilename":"a"}]}`)
			return
		}
		http.Redirect(w, r, address, http.StatusFound)
	}))
	defer server.Close()
	t.Setenv("HF_ENDPOINT", server.URL)
	t.Setenv("HF_TOKEN", "secret")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if got, err := fetch(Models, "o/n", "a"); err != nil || !slices.Equal(got, []string{`token ""`}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestLarge(t *testing.T) {
	h := hubtest.New(t)
	h.Put("models", "o/n", hubtest.Repository{Files: map[string]string{"small": "1", "large": strings.Repeat("x", largeFile+1)}})
	for _, want := range []string{"large 50000001;", ""} {
		r, err := Open(Models, "o/n")
		if err != nil {
			t.Fatal(err)
		}
		told := ""
		r.Large = func(name string, bytes int64) { told += fmt.Sprintf("%s %d;", name, bytes) }
		if _, err := r.Fetch("small", "large"); err != nil {
			t.Fatal(err)
		}
		if told != want {
			t.Errorf("told %q, want %q", told, want)
		}
	}
}
