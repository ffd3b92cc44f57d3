// Package ssh runs jobs on hosts without a scheduler, by way of the ssh command and of what package local does on each.
// Hosts, ports and keys are ssh's own configuration's matter; a host that asks for a password is refused.
package ssh

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/launch/local"
)

// Launcher runs a job on the first of the hosts, and the copies of an array on all of them, about as many on each.
type Launcher struct {
	Hosts  []string // as ssh takes them
	Config string   // ssh's configuration file; empty: its own
	Local  local.Launcher
}

// part is what one host does of a job.
type part struct {
	Host string `json:"host"`
	ID   string `json:"id"` // of package local, there
}

// Render returns the script that each copy of the job runs.
func (l Launcher) Render(job launch.Job) (string, error) { return l.Local.Render(job) }

// on is the launcher of one host.
func (l Launcher) on(host string) local.Launcher {
	there := l.Local
	there.Shell = func(ctx context.Context, script string, out io.Writer) error {
		args := []string{"-o", "BatchMode=yes", "--", host, "bash", "-s"}
		if l.Config != "" {
			args = append([]string{"-F", l.Config}, args...)
		}
		cmd := exec.CommandContext(ctx, "ssh", args...)
		var problem bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(script), out, &problem
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() == 255 { // ssh's own
			line, _, _ := strings.Cut(strings.TrimSpace(problem.String()), "\n")
			return fmt.Errorf("ssh %s: %s; try: ssh %[1]s true", host, cmp.Or(line, "no connection"))
		}
		return err
	}
	return there
}

// Submit starts the job's copies. When one host fails, those that others have started are cancelled.
func (l Launcher) Submit(ctx context.Context, job launch.Job) (string, error) {
	if len(l.Hosts) == 0 {
		return "", errors.New("ssh: no hosts given")
	}
	var parts []part
	copies := max(job.Array, 1)
	hosts := min(len(l.Hosts), copies)
	for i, host := range l.Hosts[:hosts] {
		first, next := i*copies/hosts, (i+1)*copies/hosts
		there := l.on(host)
		there.First = first
		share := job
		share.Array = next - first
		id, err := there.Submit(ctx, share)
		if err != nil {
			err = fmt.Errorf("%s: %w", host, err)
			for _, p := range parts { // even if ctx is what ended the submission
				if left := l.on(p.Host).Cancel(context.WithoutCancel(ctx), p.ID); left != nil {
					err = fmt.Errorf("%w; what %s has begun goes on: %w", err, p.Host, left)
				}
			}
			return "", err
		}
		parts = append(parts, part{host, id})
	}
	id, err := json.Marshal(parts)
	return string(id), err
}

func parse(id string) ([]part, error) {
	var parts []part
	if err := json.Unmarshal([]byte(id), &parts); err != nil || len(parts) == 0 {
		return nil, fmt.Errorf("ssh: %w: %s", launch.ErrUnknown, id)
	}
	return parts, nil
}

// Status puts together what the hosts say.
func (l Launcher) Status(ctx context.Context, id string) (launch.Status, error) {
	parts, err := parse(id)
	if err != nil {
		return launch.Status{}, err
	}
	if len(parts) == 1 {
		return l.on(parts[0].Host).Status(ctx, parts[0].ID)
	}
	var all []launch.Status
	for _, p := range parts {
		s, err := l.on(p.Host).Status(ctx, p.ID)
		if err != nil {
			return launch.Status{}, err
		}
		if s.Reason != "" {
			s.Reason = p.Host + ": " + s.Reason
		}
		all = append(all, s)
	}
	return launch.Combine(all), nil
}

// Cancel ends the job on every host that can be reached.
func (l Launcher) Cancel(ctx context.Context, id string) error {
	parts, err := parse(id)
	for _, p := range parts {
		err = errors.Join(err, l.on(p.Host).Cancel(ctx, p.ID))
	}
	return err
}

// Logs gathers what the copies print on all hosts.
func (l Launcher) Logs(ctx context.Context, id string, w io.Writer, follow bool) error {
	parts, err := parse(id)
	if err != nil {
		return err
	}
	var logs []launch.Log
	for _, p := range parts {
		there, err := l.on(p.Host).Copies(ctx, p.ID)
		if err != nil {
			return err
		}
		logs = append(logs, there...)
	}
	return launch.Follow(ctx, w, logs, 2*time.Second, follow, func(ctx context.Context) (bool, error) {
		s, err := l.Status(ctx, id)
		return s.State.Ended(), err
	})
}
