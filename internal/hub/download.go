package hub

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/longform-go/longform/internal/durable"
)

// largeFile is the size in bytes from which Large is told of a file.
const largeFile = 50e6

// stall is how long a download may stand still.
var stall = time.Minute

var errStalled = errors.New("no data for a minute; run the same command again to go on")

// download puts a file into the cache, whole or not at all. What has arrived of a file when a download breaks off is kept
// beside it, and the next one goes on from there; that is safe because a commit never changes.
func (r *Repository) download(f file) error {
	path := r.path(f)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	part, err := lockPart(path + ".part")
	if err != nil {
		return err
	}
	defer part.Close()
	if exists(path) { // another process was at it
		return os.Remove(part.Name())
	}
	if r.Large != nil && f.Size > largeFile {
		r.Large(f.Name, f.Size)
	}
	address := fmt.Sprintf("%s/%s/resolve/%s/%s", r.endpoint, r.webPath(), r.listing.Commit, (&url.URL{Path: f.Name}).EscapedPath())
	if err := r.complete(part, address, f); err != nil {
		if f.Size == 0 {
			os.Remove(part.Name()) // there is no telling how to go on with it
		}
		return err
	}
	if err := part.Sync(); err != nil {
		return err
	}
	if err := os.Rename(part.Name(), path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// webPath is where the hub shows the repository and keeps its files.
func (r *Repository) webPath() string {
	if r.kind == Datasets {
		return "datasets/" + r.name
	}
	return r.name
}

// lockPart opens a partial file for this process alone, after the one that may be writing it.
func lockPart(path string) (*os.File, error) {
	for {
		part, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(part.Fd()), syscall.LOCK_EX); err != nil {
			part.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// The one before may have renamed or removed it.
		mine, err := part.Stat()
		if err == nil {
			if current, err := os.Stat(path); err == nil && os.SameFile(mine, current) {
				return part, nil
			}
		}
		part.Close()
		if err != nil {
			return nil, err
		}
	}
}

// complete downloads what part lacks of f, going on after each break for as long as that brings it further.
func (r *Repository) complete(part *os.File, address string, f file) error {
	for {
		before, err := length(part)
		if err != nil {
			return err
		}
		err = r.transfer(part, address, f.Size)
		if err == nil {
			break
		}
		if after, lengthErr := length(part); lengthErr != nil || after <= before || refused(err) {
			return err
		}
	}
	if f.LFS == nil {
		return nil
	}
	sum := sha256.New()
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(sum, part); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.LFS.SHA256 {
		return cmp.Or(part.Truncate(0), fmt.Errorf("%s was damaged on the way: its sha256 is %s, and the hub's %s; run the same command again", address, got, f.LFS.SHA256))
	}
	return nil
}

func length(f *os.File) (int64, error) { return f.Seek(0, io.SeekEnd) }

// transfer adds to part what an address holds after it. size is that of the whole file, 0 when it isn't known.
func (r *Repository) transfer(part *os.File, address string, size int64) error {
	have, err := length(part)
	switch {
	case err != nil:
		return err
	case size == 0 || have > size:
		have = 0
	case have == size:
		return nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	response, err := r.get(ctx, address, have)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusPartialContent {
		have = 0 // the server sends all of it
	} else if got := response.Header.Get("Content-Range"); !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", have)) {
		return fmt.Errorf("%s: asked for what follows byte %d and got %q", address, have, got)
	}
	if err := part.Truncate(have); err != nil {
		return err
	}
	if _, err := part.Seek(have, io.SeekStart); err != nil {
		return err
	}
	watch := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer watch.Stop()
	n, err := io.Copy(part, watched{response.Body, watch})
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", address, cmp.Or(context.Cause(ctx), err))
	case size > 0 && have+n != size:
		return fmt.Errorf("%s: it has %d bytes, and the hub says %d", address, have+n, size)
	}
	return nil
}

// watched puts off the alarm whenever data arrive.
type watched struct {
	io.Reader
	alarm *time.Timer
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.alarm.Reset(stall)
	return n, err
}

// refusal is a definite no from the hub.
type refusal struct{ error }

func refused(err error) bool {
	_, ok := errors.AsType[refusal](err)
	return ok
}

// get asks for what an address holds from an offset on.
func (r *Repository) get(ctx context.Context, address string, offset int64) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "longform")
	if r.token != "" {
		request.Header.Set("Authorization", "Bearer "+r.token) // not sent on to other hosts
	}
	if offset > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusPartialContent && offset > 0 {
		return response, nil
	}
	response.Body.Close()
	return nil, r.explain(address, response)
}

// explain says what to do about an answer that isn't the file.
func (r *Repository) explain(address string, response *http.Response) error {
	err := fmt.Errorf("%s: %s", address, response.Status)
	token := "set HF_TOKEN"
	if r.token != "" {
		token = "set HF_TOKEN to one that may read it"
	}
	switch response.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		// The hub lists the files of gated repositories for everyone.
		if response.Header.Get("X-Error-Code") == "GatedRepo" || r.listing.Commit != "" && response.StatusCode != http.StatusNotFound {
			return refusal{fmt.Errorf("it is gated (%w); accept its terms at %s/%s and %s", err, r.endpoint, r.webPath(), token)}
		}
		return refusal{fmt.Errorf("%w; check the name and, for a private or gated one, %s", err, token)}
	case http.StatusTooManyRequests, http.StatusRequestTimeout:
	default:
		if response.StatusCode < 500 {
			return refusal{err}
		}
	}
	return fmt.Errorf("%w; try again later", err)
}
