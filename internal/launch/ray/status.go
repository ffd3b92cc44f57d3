package ray

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/longform-go/longform/internal/launch"
)

// copies lists the stems of a job's files: its id, or those of an array's copies.
func copies(id string) ([]string, error) {
	exists := func(stem string) bool { _, err := os.Stat(stem + ".events"); return err == nil }
	if exists(id) {
		return []string{id}, nil
	}
	var all []string
	for stem := id + "_0"; exists(stem); stem = fmt.Sprintf("%s_%d", id, len(all)) {
		all = append(all, stem)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("ray: %w: no %s.events", launch.ErrUnknown, id)
	}
	return all, nil
}

// Status asks Ray for the job's copies, and counts starts in their events.
func (l Launcher) Status(ctx context.Context, id string) (launch.Status, error) {
	stems, err := copies(id)
	if err != nil {
		return launch.Status{}, err
	}
	all := make([]launch.Status, len(stems))
	for i, stem := range stems {
		if all[i], err = l.status(ctx, stem); err != nil {
			return launch.Status{}, err
		}
	}
	return launch.Combine(all), nil
}

// status is how one copy is doing: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/api.html
func (l Launcher) status(ctx context.Context, stem string) (launch.Status, error) {
	var job struct {
		Status, Message string
		Exit            *int `json:"driver_exit_code"`
	}
	asked := l.call(ctx, http.MethodGet, "jobs/"+url.PathEscape(nameOf(stem)), nil, &job)
	if asked != nil && !errors.Is(asked, launch.ErrUnknown) {
		return launch.Status{}, asked
	}
	text, err := os.ReadFile(stem + ".events")
	if err != nil {
		return launch.Status{}, fmt.Errorf("ray: %w", err)
	}
	e := readEvents(string(text))
	s := launch.Status{Restarts: e.restarts, Preemptions: e.preemptions}
	switch {
	case asked != nil: // the head has been started anew
		s.State, s.Exit, s.Reason = e.state, e.exit, e.reason
	case job.Status == "PENDING":
		s.State, s.Reason = launch.Pending, job.Message
	case job.Status == "RUNNING":
		s.State = launch.Running
	case job.Status == "SUCCEEDED":
		s.State = launch.Succeeded
	case job.Status == "STOPPED":
		s.State = launch.Cancelled
	case job.Status == "FAILED":
		// The message ends with what the script printed; its first line says what happened.
		s.State = launch.Failed
		s.Reason, _, _ = strings.Cut(job.Message, "\n")
		if job.Exit != nil {
			s.Exit, s.Reason = *job.Exit, fmt.Sprintf("exit status %d", *job.Exit)
		}
	default:
		return s, fmt.Errorf("ray: job %s is %q, a state that isn't known here", nameOf(stem), job.Status)
	}
	return s, nil
}

// events are what a copy's script wrote down.
type events struct {
	restarts, preemptions int
	state                 launch.State // where Ray has forgotten the job
	exit                  int
	reason                string
}

func readEvents(text string) events {
	e := events{state: launch.Failed, reason: "Ray has forgotten the job: its head was started anew; launch it again"}
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "requeue":
			e.preemptions++
		case "restart":
			e.restarts++
		case "stopped":
			e.state, e.reason = launch.Cancelled, ""
		case "ended":
			e.exit, _ = strconv.Atoi(rest)
			if e.state, e.reason = launch.Succeeded, ""; e.exit != 0 {
				e.state, e.reason = launch.Failed, fmt.Sprintf("exit status %d", e.exit)
			}
		}
	}
	return e
}

// Logs reads the files that the copies' scripts write, so the job's directory has to be on a file system that is seen
// here. An array's lines begin with the copy's number.
func (l Launcher) Logs(ctx context.Context, id string, w io.Writer, follow bool) error {
	stems, err := copies(id)
	if err != nil {
		return err
	}
	logs := make([]launch.Log, len(stems))
	for i, stem := range stems {
		logs[i] = launch.Log{Prefix: strconv.Itoa(i) + ": ", Read: launch.File(stem + ".out")}
	}
	return launch.Follow(ctx, w, logs, time.Second, follow, func(ctx context.Context) (bool, error) {
		s, err := l.Status(ctx, id)
		return s.State.Ended(), err
	})
}
