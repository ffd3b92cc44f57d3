// Package hub brings files of models and datasets from a Hugging Face hub into the user's cache, so that a name such as
// facebook/opt-125m is as good as a directory, with a network and, after the first time, without one.
//
// A repository's files lie in the cache by the commit they are from. HF_ENDPOINT names another hub than the public one,
// HF_TOKEN opens private and gated repositories.
package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/longform-go/longform/internal/durable"
)

// Kind is what a repository holds; it is a part of the hub's addresses.
type Kind string

// The kinds of repository.
const (
	Models   Kind = "models"
	Datasets Kind = "datasets"
)

const publicHub = "https://huggingface.co"

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*/\w[\w.-]*$`)

// IsName tells whether s has the form of a repository's name, owner/name.
func IsName(s string) bool { return nameForm.MatchString(s) }

// Repository is one version of a repository: the newest, or without a network the one seen last.
type Repository struct {
	// Large, when set, is told of every file of more than 50 MB before it is downloaded.
	Large func(file string, bytes int64)

	kind     Kind
	name     string
	endpoint string
	token    string
	dir      string // in the cache
	client   *http.Client
	listing  listing
	away     error // why the hub couldn't be asked for the newest version
}

// listing is what the hub says about a commit, and what is kept of the last one in the cache, both as JSON.
type listing struct {
	Commit string `json:"sha"`
	Files  []file `json:"siblings"`
}

type file struct {
	Name string `json:"rfilename"`
	Size int64  `json:"size"` // in bytes; 0 also where the hub doesn't tell
	Blob string `json:"blobId"`
	LFS  *struct {
		SHA256 string `json:"sha256"`
	} `json:"lfs"` // of files that git itself doesn't hold
}

// content is equal for equal files; empty where the hub doesn't tell.
func (f file) content() string {
	if f.LFS != nil {
		return f.LFS.SHA256
	}
	return f.Blob
}

// Open asks the hub for the newest version of a repository, and falls back to the version that was seen last where the
// hub can't be asked.
func Open(kind Kind, name string) (*Repository, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("no place for downloads: %w", err)
	}
	r := &Repository{
		kind: kind, name: name, token: os.Getenv("HF_TOKEN"),
		endpoint: strings.TrimSuffix(os.Getenv("HF_ENDPOINT"), "/"),
		dir:      filepath.Join(cache, "longform", string(kind), strings.ReplaceAll(name, "/", "--")),
		client:   newClient(),
	}
	if r.endpoint == "" {
		r.endpoint = publicHub
	}
	seen, known := r.lastSeen()
	newest, err := r.newest()
	switch {
	case err == nil:
		r.listing = newest
		if newest.Commit == seen.Commit {
			return r, nil
		}
		r.carryOver(seen)
		return r, r.remember()
	case refused(err):
		return nil, err
	case !known:
		return nil, unreachable("no earlier download is there", err)
	}
	r.listing, r.away = seen, err
	return r, nil
}

func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // so that bytes on the way are bytes of the file
	}}
}

// unreachable says that the hub is away where it is, and leaves other errors as they are.
func unreachable(lacking string, err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("the hub cannot be reached and %s: %w", lacking, err)
	}
	return err
}

// newest asks for the newest commit and its files.
func (r *Repository) newest() (listing, error) {
	address := fmt.Sprintf("%s/api/%s/%s/revision/main?blobs=true", r.endpoint, r.kind, r.name)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	response, err := r.get(ctx, address, 0)
	if err != nil {
		return listing{}, err
	}
	defer response.Body.Close()
	var l listing
	if err := json.NewDecoder(response.Body).Decode(&l); err != nil || !l.valid() {
		return listing{}, fmt.Errorf("%s does not answer as the Hugging Face hub does; check HF_ENDPOINT", r.endpoint)
	}
	// Names are paths in the cache, and none may lead out of it.
	l.Files = slices.DeleteFunc(l.Files, func(f file) bool { return !filepath.IsLocal(filepath.FromSlash(f.Name)) })
	return l, nil
}

var commitForm = regexp.MustCompile(`^\w+$`)

func (l listing) valid() bool { return commitForm.MatchString(l.Commit) }

// The name of the last listing in the cache.
const lastListing = "main.json"

func (r *Repository) lastSeen() (listing, bool) {
	var l listing
	raw, err := os.ReadFile(filepath.Join(r.dir, lastListing))
	if err != nil || json.Unmarshal(raw, &l) != nil || !l.valid() {
		return listing{}, false
	}
	return l, true
}

func (r *Repository) remember() error {
	raw, err := json.Marshal(r.listing)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(r.dir, ".listing-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // gone by then unless something failed
	_, err = temporary.Write(raw)
	if err := errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), filepath.Join(r.dir, lastListing)); err != nil {
		return err
	}
	return durable.SyncDir(r.dir)
}

// carryOver gives this version the files that it shares with the one seen before, since most commits of a model change
// its description and not its weights. What can't be linked is downloaded again.
func (r *Repository) carryOver(before listing) {
	for _, f := range r.listing.Files {
		if f.content() == "" || !slices.ContainsFunc(before.Files, func(b file) bool { return b.Name == f.Name && b.content() == f.content() }) {
			continue
		}
		from := filepath.Join(r.dir, before.Commit, filepath.FromSlash(f.Name))
		if to := r.path(f); exists(from) && os.MkdirAll(filepath.Dir(to), 0o755) == nil {
			_ = os.Link(from, to)
		}
	}
}

// Dir is the directory of this version's downloaded files.
func (r *Repository) Dir() string { return filepath.Join(r.dir, r.listing.Commit) }

func (r *Repository) path(f file) string { return filepath.Join(r.Dir(), filepath.FromSlash(f.Name)) }

// Files lists the repository's files, with slashes.
func (r *Repository) Files() []string {
	names := make([]string, len(r.listing.Files))
	for i, f := range r.listing.Files {
		names[i] = f.Name
	}
	return names
}

func (r *Repository) has(name string) bool { return slices.Contains(r.Files(), name) }

// Fetch downloads those of the named files that the cache lacks, and returns where they all lie, in the same order.
func (r *Repository) Fetch(names ...string) ([]string, error) {
	paths := make([]string, len(names))
	for i, name := range names {
		at := slices.IndexFunc(r.listing.Files, func(f file) bool { return f.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("%s is not in the repository", name)
		}
		f := r.listing.Files[at]
		paths[i] = r.path(f)
		if exists(paths[i]) {
			continue
		}
		lacking := name + " was never downloaded"
		if r.away != nil {
			return nil, unreachable(lacking, r.away)
		}
		if err := r.download(f); err != nil {
			return nil, unreachable(lacking, err)
		}
	}
	return paths, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
