// Package hubtest serves files as a Hugging Face hub does, for tests of what uses package hub.
package hubtest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Repository is what the hub holds under a name.
type Repository struct {
	Files map[string]string // contents by name
	// Commit is c0ffee when it is empty.
	Commit string
	// Token, when set, is needed to read the files, but not to list them.
	Token string
	// Bare leaves sizes and hashes out of the listing, as a simple mirror may.
	Bare bool
	// Break, when set, is how many bytes of a file are sent before the connection is cut. With NoRange each attempt
	// begins anew.
	Break   int
	NoRange bool
	// Damage changes the bytes on the way, but not the hashes.
	Damage bool
}

// Hub is a running hub.
type Hub struct {
	*httptest.Server
	mu    sync.Mutex
	repos map[string]Repository // by kind/name
	asked []string
}

// New starts a hub and lets the environment of the test name it, with an empty cache.
func New(t *testing.T) *Hub {
	h := &Hub{repos: map[string]Repository{}}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	t.Setenv("HF_ENDPOINT", h.URL+"/")
	t.Setenv("HF_TOKEN", "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return h
}

// Put adds or replaces a repository of a kind, "models" or "datasets".
func (h *Hub) Put(kind, name string, r Repository) {
	r.Commit = cmp.Or(r.Commit, "c0ffee")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.repos[kind+"/"+name] = r
}

// Asked lists the paths that were asked for since the last call.
func (h *Hub) Asked() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := h.asked
	h.asked = nil
	return asked
}

// Files reads a directory as the files of a repository.
func Files(t *testing.T, dir fs.FS) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(dir, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(dir, name)
		files[name] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (h *Hub) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	path := strings.TrimPrefix(request.URL.Path, "/")
	h.mu.Lock()
	h.asked = append(h.asked, path)
	h.mu.Unlock()
	if listed, ok := strings.CutPrefix(path, "api/"); ok {
		name, ok := strings.CutSuffix(listed, "/revision/main")
		if r, found := h.repository(name); ok && found {
			_ = json.NewEncoder(w).Encode(r.listing(request.URL.Query().Get("blobs") == "true"))
			return
		}
		http.NotFound(w, request)
		return
	}
	if !strings.HasPrefix(path, "datasets/") {
		path = "models/" + path
	}
	name, rest, _ := strings.Cut(path, "/resolve/")
	commit, file, _ := strings.Cut(rest, "/")
	r, ok := h.repository(name)
	content, held := r.Files[file]
	switch {
	case !ok || !held || commit != r.Commit:
		http.NotFound(w, request)
	case r.Token != "" && request.Header.Get("Authorization") != "Bearer "+r.Token:
		w.Header().Set("X-Error-Code", "GatedRepo")
		http.Error(w, "gated", http.StatusUnauthorized)
	default:
		r.serve(w, request, file, content)
	}
}

func (h *Hub) repository(key string) (Repository, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.repos[key]
	return r, ok
}

func (r Repository) listing(blobs bool) map[string]any {
	siblings := []map[string]any{}
	for name, content := range r.Files {
		f := map[string]any{"rfilename": name}
		if blobs && !r.Bare {
			sum := sha256.Sum256([]byte(content))
			f["size"], f["blobId"] = len(content), hex.EncodeToString(sum[:20])
			if strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".parquet") {
				f["lfs"] = map[string]any{"sha256": hex.EncodeToString(sum[:]), "size": len(content), "pointerSize": 134}
			}
		}
		siblings = append(siblings, f)
	}
	return map[string]any{"sha": r.Commit, "siblings": siblings}
}

func (r Repository) serve(w http.ResponseWriter, request *http.Request, name, content string) {
	if r.NoRange {
		request.Header.Del("Range")
	}
	if r.Damage {
		content = strings.Repeat("x", len(content))
	}
	if r.Break > 0 {
		w = &breaking{w, r.Break}
		defer func() {
			if w.(*breaking).left == 0 {
				panic(http.ErrAbortHandler)
			}
		}()
	}
	http.ServeContent(w, request, name, time.Time{}, bytes.NewReader([]byte(content)))
}

// breaking stops writing after some bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	n, err := b.ResponseWriter.Write(p[:min(len(p), b.left)])
	b.left -= n
	if err == nil && n < len(p) {
		http.NewResponseController(b.ResponseWriter).Flush()
		err = fmt.Errorf("broken off")
	}
	return n, err
}
