package slurm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/longform-go/longform/internal/launch"
)

// record is what Slurm says of one job, or of one task of an array.
type record struct {
	task   string // number in the array; a range for those that haven't started
	state  string // as squeue writes it: RUNNING, NODE_FAIL, ...
	reason string
	exit   int
}

// Status asks slurmctld, which forgets a job some minutes after its end; then the accounting; then the events that the
// job's script wrote down.
func (l Launcher) Status(ctx context.Context, id string) (launch.Status, error) {
	number, err := Number(id)
	if err != nil {
		return launch.Status{}, err
	}
	records, err := controller(ctx, number)
	if err == nil && len(records) == 0 {
		records = accounting(ctx, number)
	}
	if err != nil {
		return launch.Status{}, err
	}
	stems, err := stems(id)
	if err != nil {
		return launch.Status{}, err
	}
	if len(records) == 0 && len(stems) == 0 {
		if _, err := os.Stat(id + ".sh"); err == nil {
			return launch.Status{State: launch.Cancelled, Reason: "Slurm has forgotten the job, and it never started"}, nil
		}
		return launch.Status{}, fmt.Errorf("slurm: %w: %s", launch.ErrUnknown, number)
	}
	var copies []launch.Status
	seen := map[string]bool{}
	for _, r := range records {
		stem := id
		if r.task != "" {
			stem += "_" + r.task
		}
		seen[stem] = true
		events, err := readEvents(stem)
		if err != nil {
			return launch.Status{}, err
		}
		for range copiesIn(r.task) {
			copies = append(copies, r.status(events))
		}
	}
	for _, stem := range stems {
		if seen[stem] {
			continue
		}
		events, err := readEvents(stem)
		if err != nil {
			return launch.Status{}, err
		}
		copies = append(copies, events.status())
	}
	return launch.Combine(copies), nil
}

// copiesIn counts the tasks of a record: those that haven't started share one, as "3-7,9%4".
func copiesIn(task string) int {
	task, _, _ = strings.Cut(task, "%") // how many may run at a time
	n := 0
	for part := range strings.SplitSeq(task, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, _ := strconv.Atoi(first)
		b, _ := strconv.Atoi(last)
		if n++; isRange {
			n += max(b-a, 0)
		}
	}
	return n
}

// controller asks slurmctld. It returns nothing when the job isn't known any more.
func controller(ctx context.Context, number string) ([]record, error) {
	out, err := run(ctx, "", "scontrol", "show", "job", "--oneliner", number)
	if err != nil {
		if strings.Contains(err.Error(), "Invalid job id") {
			return nil, nil
		}
		return nil, err
	}
	var records []record
	for line := range strings.Lines(out) {
		fields := map[string]string{}
		for _, word := range strings.Fields(line) {
			if name, value, ok := strings.Cut(word, "="); ok && fields[name] == "" {
				fields[name] = value
			}
		}
		if fields["JobState"] == "" {
			continue
		}
		records = append(records, record{fields["ArrayTaskId"], fields["JobState"], strings.TrimSuffix(fields["Reason"], "None"), exitStatus(fields["ExitCode"])})
	}
	return records, nil
}

// accounting asks sacct. Many small clusters have no accounting, which is no error.
func accounting(ctx context.Context, number string) []record {
	out, err := run(ctx, "", "sacct", "--allocations", "--noheader", "--parsable2", "--jobs", number, "--format", "JobID,State,ExitCode")
	if err != nil {
		return nil
	}
	var records []record
	for line := range strings.Lines(out) {
		if f := strings.Split(strings.TrimSpace(line), "|"); len(f) == 3 {
			_, task, _ := strings.Cut(f[0], "_")
			state, _, _ := strings.Cut(f[1], " ") // "CANCELLED by 1000"
			records = append(records, record{task, state, "", exitStatus(f[2])})
		}
	}
	return records
}

// exitStatus reads Slurm's "status:signal" as a shell would say it.
func exitStatus(text string) int {
	status, signal, _ := strings.Cut(text, ":")
	code, _ := strconv.Atoi(status)
	if n, _ := strconv.Atoi(signal); n > 0 {
		return 128 + n
	}
	return code
}

func (r record) status(e events) launch.Status {
	s := launch.Status{Reason: r.reason, Restarts: e.restarts, Preemptions: e.preemptions}
	switch r.state {
	case "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "PREEMPTED":
		s.State = launch.Pending
		if e.told || r.state == "PREEMPTED" {
			s.State = launch.Preempted
		}
	case "RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "STOPPED", "SUSPENDED", "RESIZING":
		s.State = launch.Running
	case "COMPLETED":
		s.State = launch.Succeeded
	case "CANCELLED", "REVOKED":
		s.State, s.Reason = launch.Cancelled, ""
	default: // FAILED, TIMEOUT, NODE_FAIL, OUT_OF_MEMORY, BOOT_FAIL, DEADLINE
		s.State, s.Exit = launch.Failed, r.exit
		s.Reason = strings.ToLower(strings.ReplaceAll(r.state, "_", " "))
		switch r.state {
		case "FAILED":
			s.Reason = fmt.Sprintf("exit status %d", r.exit)
		case "TIMEOUT":
			s.Reason = "time limit reached before the job had saved; give it more notice"
		}
		if e.refused {
			s.Reason = "it has saved, but Slurm refused to requeue it; submit it again"
		}
	}
	return s
}

// events are what a job's script wrote down.
type events struct {
	restarts, preemptions int
	told, refused, ended  bool // since the last start
	saving                bool // told that it has to go, it hasn't come to ask for another start
	exit                  int
}

func readEvents(stem string) (events, error) {
	var e events
	f, err := os.Open(stem + ".events")
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return e, fmt.Errorf("slurm: %w", err)
	}
	defer f.Close()
	started := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "start":
			if started && e.told {
				e.preemptions++
			} else if started {
				e.restarts++ // nobody said a word: the node has failed
			}
			started = true
			e.told, e.refused, e.ended, e.saving, e.exit = false, false, false, false, 0
		case "told":
			e.told, e.saving = true, e.saving || rest == "USR2"
		case "requeue":
			e.told, e.saving = true, false
		case "refused":
			e.refused = true
		case "ended":
			e.ended = true
			e.exit, _ = strconv.Atoi(rest)
		}
	}
	return e, lines.Err()
}

// status is how a job stands that Slurm has forgotten.
func (e events) status() launch.Status {
	s := launch.Status{State: launch.Succeeded, Restarts: e.restarts, Preemptions: e.preemptions}
	switch {
	case e.saving && !e.ended:
		s.State, s.Reason = launch.Failed, "Slurm has forgotten the job, whose time was up before it had saved; give it more notice"
	case e.told && !e.refused && (!e.ended || e.exit == launch.Requeue):
		s.State = launch.Cancelled
	case !e.ended:
		s.State, s.Reason = launch.Failed, "Slurm has forgotten the job, which never said that it ended"
	case e.exit != 0:
		s.State, s.Exit, s.Reason = launch.Failed, e.exit, fmt.Sprintf("exit status %d", e.exit)
	}
	return s
}

// stems lists the beginnings of the files of a job, one for each task of an array that has started.
func stems(id string) ([]string, error) {
	var found []string
	for _, pattern := range []string{id + ".events", id + "_*.events"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("slurm: %w", err)
		}
		for _, file := range files {
			found = append(found, strings.TrimSuffix(file, ".events"))
		}
	}
	return found, nil
}

// Logs reads the files that Slurm writes, so the job's directory has to be on a file system that is seen here.
func (l Launcher) Logs(ctx context.Context, id string, w io.Writer, follow bool) error {
	numbers, err := tasks(id)
	if err != nil {
		return err
	}
	logs := make([]launch.Log, len(numbers))
	for i, task := range numbers {
		file := id + ".out"
		if task != "" {
			file = id + "_" + task + ".out"
		}
		logs[i].Prefix = task + ": "
		logs[i].Read = launch.File(file)
	}
	return launch.Follow(ctx, w, logs, time.Second, follow, func(ctx context.Context) (bool, error) {
		s, err := l.Status(ctx, id)
		return s.State.Ended(), err
	})
}

// tasks lists the numbers in an array, or "" alone for a job that isn't one, from the script that was submitted.
func tasks(id string) ([]string, error) {
	if _, err := Number(id); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(id + ".sh")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("slurm: %w: no %s.sh", launch.ErrUnknown, id)
	}
	if err != nil {
		return nil, fmt.Errorf("slurm: %w", err)
	}
	_, rest, array := strings.Cut(string(text), "#SBATCH --array=0-")
	if !array {
		return []string{""}, nil
	}
	line, _, _ := strings.Cut(rest, "\n")
	last, err := strconv.Atoi(line)
	if err != nil {
		return nil, fmt.Errorf("slurm: %s.sh: the array is 0-%s, want a number", id, line)
	}
	all := make([]string, last+1)
	for i := range all {
		all[i] = strconv.Itoa(i)
	}
	return all, nil
}
