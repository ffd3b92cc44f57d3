package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// hubEndpoint is the Hugging Face hub, unless HF_ENDPOINT names a mirror.
const hubEndpoint = "https://huggingface.co"

// hubListing is what the hub says about a dataset repository.
type hubListing struct {
	SHA      string `json:"sha"` // the commit
	Siblings []struct {
		Name string `json:"rfilename"`
	} `json:"siblings"`
}

// hubFiles returns the files of a split of a dataset on the hub, downloading
// those that the user's cache lacks. Without a network it answers with the
// version that was read last. HF_TOKEN, where it is set, is sent along.
func hubFiles(repository, split string) ([]string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("hub:%s: no place for downloads: %w", repository, err)
	}
	endpoint := strings.TrimSuffix(os.Getenv("HF_ENDPOINT"), "/")
	if endpoint == "" {
		endpoint = hubEndpoint
	}
	h := hub{
		endpoint: endpoint,
		dir:      filepath.Join(cache, "longform", "datasets", strings.ReplaceAll(repository, "/", "--")),
		client:   &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: 30 * time.Second}},
	}
	paths, err := h.files(repository, split)
	if err != nil {
		return nil, fmt.Errorf("hub:%s: %w", repository, err)
	}
	return paths, nil
}

type hub struct {
	endpoint, dir string
	client        *http.Client
}

func (h hub) files(repository, split string) ([]string, error) {
	listing, err := h.list(repository)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range listing.Siblings {
		if filepath.IsLocal(filepath.FromSlash(s.Name)) {
			names = append(names, s.Name)
		}
	}
	chosen, err := splitFiles(names, split)
	if err != nil {
		return nil, err
	}
	for i, name := range chosen {
		path := filepath.Join(h.dir, listing.SHA, filepath.FromSlash(name))
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			address := fmt.Sprintf("%s/datasets/%s/resolve/%s/%s", h.endpoint, repository, listing.SHA, (&url.URL{Path: name}).EscapedPath())
			if err := h.download(address, path); err != nil {
				return nil, err
			}
		} else if err != nil {
			return nil, err
		}
		chosen[i] = path
	}
	return chosen, nil
}

// list asks for the repository's newest commit and its files.
func (h hub) list(repository string) (hubListing, error) {
	var listing hubListing
	path := filepath.Join(h.dir, "main.json")
	err := h.download(fmt.Sprintf("%s/api/datasets/%s/revision/main", h.endpoint, repository), path)
	var unreachable *url.Error
	if err != nil && !errors.As(err, &unreachable) {
		return listing, err
	}
	b, readErr := os.ReadFile(path)
	if readErr != nil {
		if err != nil {
			return listing, fmt.Errorf("the hub cannot be reached and no earlier download is there: %w", err)
		}
		return listing, readErr
	}
	if err := json.Unmarshal(b, &listing); err != nil || listing.SHA == "" || !filepath.IsLocal(listing.SHA) {
		return listing, fmt.Errorf("%s does not answer as the Hugging Face hub does; check HF_ENDPOINT", h.endpoint)
	}
	return listing, nil
}

// download puts what an address holds at path, whole or not at all.
func (h hub) download(address, path string) (err error) {
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if token := os.Getenv("HF_TOKEN"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := h.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return fmt.Errorf("%s: %s; check the name and, for a private or gated dataset, set HF_TOKEN", address, response.Status)
	default:
		return fmt.Errorf("%s: %s", address, response.Status)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(path), ".download-*")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name()) // gone by then unless something failed
	_, err = io.Copy(part, response.Body)
	if err = errors.Join(err, part.Close()); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	return os.Rename(part.Name(), path)
}
