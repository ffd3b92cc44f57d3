// Package local runs jobs on one host without a scheduler: several processes, each on GPUs of its own, started again when
// they fail, and outliving whoever started them.
//
// A job's state is files in DIR/launch/local-N, which a shell for each copy, its keeper, keeps up to date. SIGUSR2 to a
// keeper makes its copy save and start anew, as a scheduler would do that takes its place for a while.
package local

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/longform-go/longform/internal/launch"
)

//go:embed supervise.sh
var supervise string

// Shell runs a script of bash somewhere and writes what it prints. Its error is an *exec.ExitError, wrapped or not, if
// the script failed.
type Shell func(ctx context.Context, script string, out io.Writer) error

// Launcher runs jobs on the host where Shell runs its scripts.
type Launcher struct {
	Shell    Shell         // nil: this host
	Restarts int           // how often a copy that fails is started again
	Backoff  time.Duration // before the first restart, whole seconds; twice as long before each further one
	Grace    time.Duration // from SIGTERM to SIGKILL when a job is cancelled
	First    int           // the number of the first copy, where other hosts run others
}

// Default starts a failing job three times more.
func Default() Launcher { return Launcher{Restarts: 3, Backoff: 10 * time.Second, Grace: time.Minute} }

// exit statuses of scripts below
const (
	unknown = 44 // there is no such job
	tooFew  = 45 // GPUs on the host
	absent  = 46 // the directory
)

// Render returns the script that each copy of the job runs.
func (Launcher) Render(job launch.Job) (string, error) {
	if job.Time > 0 || job.Memory != "" || job.CPUs > 0 {
		return "", errors.New("local: nothing here or over ssh keeps a job to a time, memory or CPUs; leave out launch.time, launch.memory and launch.cpus, or take a scheduler")
	}
	return "#!/bin/bash\n" + job.Exports() + "cd " + launch.Quote(job.Dir) + " || exit\nexec " + launch.Quote(job.Command...) + "\n", nil
}

// Submit starts the copies and returns the directory of their files.
func (l Launcher) Submit(ctx context.Context, job launch.Job) (string, error) {
	dir, err := filepath.Abs(job.Dir)
	if err != nil {
		return "", fmt.Errorf("local: %w", err)
	}
	job.Dir = dir
	script, err := l.Render(job)
	if err != nil {
		return "", err
	}
	arguments := launch.Quote(strconv.Itoa(max(job.Array, 1)), strconv.Itoa(job.GPUs), strconv.Itoa(l.Restarts),
		strconv.Itoa(int(l.Backoff.Seconds())), strconv.Itoa(int(l.Grace.Seconds())), strconv.Itoa(launch.Requeue), strconv.Itoa(l.First))
	var out bytes.Buffer
	err = l.run(ctx, fmt.Sprintf(`exec 2>&1
gpus="${CUDA_VISIBLE_DEVICES-$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null)}"
read -ra pool <<<"${gpus//[$'\n',]/ }"
[ ${#pool[@]} -ge %d ] || { echo ${#pool[@]}; exit %d; }
mkdir -p %[3]s && cd %[3]s || exit %d
n=1
until mkdir local-$n; do [ -e local-$n ] && n=$((n + 1)) || exit %[4]d; done
cd local-$n
printf %%s %[5]s >job.sh
printf %%s %[6]s >supervise.sh
setsid nohup bash supervise.sh %[7]s "${pool[*]}" </dev/null >supervisor.log 2>&1 || exit
pwd
`, job.GPUs, tooFew, launch.Quote(filepath.Join(dir, "launch")), absent, launch.Quote(script), launch.Quote(supervise), arguments), &out)
	text := strings.TrimSpace(out.String())
	text = text[strings.LastIndexByte(text, '\n')+1:] // a login shell's start-up may have said something before
	switch exitStatus(err) {
	case tooFew:
		return "", fmt.Errorf("local: each copy of the job wants %d GPUs, and this host has %s; ask for fewer", job.GPUs, text)
	case absent:
		return "", fmt.Errorf("local: no place for the job's files in %s: %s; choose another directory", filepath.Join(dir, "launch"), text)
	}
	if err != nil {
		return "", fmt.Errorf("local: the job couldn't be started: %w: %s", err, text)
	}
	return text, nil
}

// Status reads what the keepers have written down.
func (l Launcher) Status(ctx context.Context, id string) (launch.Status, error) {
	var out bytes.Buffer
	err := l.run(ctx, enter(id)+`
flock --shared --nonblock lock true && echo gone
[ ! -e cancelled ] || echo ending
cat [0-9]*.state
`, &out)
	if err != nil {
		return launch.Status{}, l.explain(id, err)
	}
	var gone, ending bool
	var copies []launch.Status
	for line := range strings.Lines(out.String()) {
		var s launch.Status
		switch line {
		case "gone\n":
			gone = true
			continue
		case "ending\n":
			ending = true
			continue
		}
		if _, err := fmt.Sscan(line, &s.State, &s.Exit, &s.Restarts, &s.Preemptions); err != nil {
			return launch.Status{}, fmt.Errorf("local: %s has a state %q that can't be read", id, line)
		}
		switch {
		case s.State.Ended():
		case gone && ending:
			s.State, s.Exit = launch.Cancelled, 0
		case gone:
			s.State, s.Reason = launch.Failed, "it was killed, or the host went down; submit it again"
		case ending:
			s.State, s.Reason = launch.Running, "being cancelled"
		case s.State == launch.Pending && s.Exit != 0:
			s.Reason = fmt.Sprintf("exit status %d; it will be started again", s.Exit)
		case s.State == launch.Pending:
			s.Reason = "waiting for a GPU"
		}
		if s.State == launch.Failed && s.Exit != 0 {
			s.Reason = fmt.Sprintf("exit status %d", s.Exit)
		}
		copies = append(copies, s)
	}
	return launch.Combine(copies), nil
}

// Cancel tells the keepers, which send SIGTERM. Copies whose keeper was killed are told themselves.
func (l Launcher) Cancel(ctx context.Context, id string) error {
	err := l.run(ctx, enter(id)+`
flock --shared --nonblock lock true && exit # nothing is left
touch cancelled
for file in [0-9]*.pid; do
	read -r keeper child <$file
	case $(ps -o stat= -p $keeper) in
	'' | Z*) kill -TERM $child ;;
	*) kill -TERM $keeper ;;
	esac
done 2>/dev/null
true
`, io.Discard)
	return l.explain(id, err)
}

// Logs writes the copies' output.
func (l Launcher) Logs(ctx context.Context, id string, w io.Writer, follow bool) error {
	logs, err := l.Copies(ctx, id)
	if err != nil {
		return err
	}
	return launch.Follow(ctx, w, logs, time.Second, follow, func(ctx context.Context) (bool, error) {
		s, err := l.Status(ctx, id)
		return s.State.Ended(), err
	})
}

// Copies are the logs of the job's copies.
func (l Launcher) Copies(ctx context.Context, id string) ([]launch.Log, error) {
	var out bytes.Buffer
	if err := l.run(ctx, enter(id)+"ls [0-9]*.state", &out); err != nil {
		return nil, l.explain(id, err)
	}
	var logs []launch.Log
	files := strings.Fields(out.String())
	for _, file := range files {
		copy := strings.TrimSuffix(file, ".state")
		read := func(ctx context.Context, offset int64) ([]byte, error) {
			var out bytes.Buffer
			err := l.run(ctx, enter(id)+fmt.Sprintf("[ ! -e %s.log ] || tail -c +%d %[1]s.log", launch.Quote(copy), offset+1), &out)
			return out.Bytes(), l.explain(id, err)
		}
		logs = append(logs, launch.Log{Prefix: copy + ": ", Read: read})
	}
	return logs, nil
}

// enter begins a script that is about a job.
func enter(id string) string {
	return fmt.Sprintf("cd %s 2>/dev/null && [ -f supervise.sh ] || exit %d\n", launch.Quote(id), unknown)
}

func (l Launcher) explain(id string, err error) error {
	switch {
	case err == nil:
		return nil
	case exitStatus(err) == unknown:
		return fmt.Errorf("local: %w: %s", launch.ErrUnknown, id)
	}
	return fmt.Errorf("local: %s: %w", id, err)
}

func exitStatus(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

func (l Launcher) run(ctx context.Context, script string, out io.Writer) error {
	if l.Shell != nil {
		return l.Shell(ctx, script, out)
	}
	cmd := exec.CommandContext(ctx, "bash", "-s")
	cmd.Stdin = strings.NewReader(script)
	cmd.Stdout = out
	return cmd.Run()
}
