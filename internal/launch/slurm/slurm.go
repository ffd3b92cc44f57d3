// Package slurm launches jobs through Slurm's own commands: sbatch, scontrol, sacct where there is accounting, scancel.
//
// A job is told with SIGUSR2 that its time is nearly up or that it has to give way. If it then exits with
// launch.Requeue, its script requeues it, so that a run goes on for as long as it takes, whatever a partition's time
// limit. Slurm itself requeues jobs whose node failed.
package slurm

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
	"time"

	"github.com/longform-go/longform/internal/launch"
)

// options are the keys of launch.Job's Extra that are sbatch's options of the same name.
var options = []string{"partition", "account", "qos"}

// Launcher submits to the Slurm that sbatch and SLURM_CONF name. An id is DIR/launch/slurm-N, N the number of Slurm's
// job: the beginning of the names of the files with its output and events.
type Launcher struct{}

//go:embed job.sh.tmpl
var source string

var script = template.Must(template.New("job.sh").Parse(source))

// Render returns the script for sbatch.
func (Launcher) Render(job launch.Job) (string, error) {
	dir, err := filepath.Abs(job.Dir)
	if err != nil {
		return "", err
	}
	if strings.ContainsAny(dir+job.Name, "%\\\"\n") {
		return "", fmt.Errorf("slurm: the directory %q or the name %q has a character that Slurm would take for something else; choose others", dir, job.Name)
	}
	stem := filepath.Join(dir, "launch", "slurm")
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	add(`--job-name="%s"`, job.Name)
	add(`--chdir="%s"`, dir)
	output := stem + "-%j.out"
	if job.Array > 0 {
		add("--array=0-%d", job.Array-1)
		output = stem + "-%A_%a.out"
	}
	add(`--output="%s"`, output)
	add("--open-mode=append")
	add("--requeue")
	add("--nodes=1")
	add("--ntasks-per-node=1")
	if job.CPUs > 0 {
		add("--cpus-per-task=%d", job.CPUs)
	}
	if job.GPUs > 0 {
		add("--gres=gpu:%d", job.GPUs)
	}
	if job.Memory != "" {
		add("--mem=%s", job.Memory)
	}
	if job.Time > 0 {
		add("--time=%s", duration(job.Time))
	}
	if job.Notice > 0 {
		add("--signal=B:USR2@%d", int(job.Notice.Seconds()))
	}
	for _, name := range options {
		if value := job.Extra[name]; value != "" {
			add(`--%s="%s"`, name, value)
		}
	}
	var b strings.Builder
	err = script.Execute(&b, map[string]any{
		"Options": lines, "Stem": launch.Quote(stem), "Exports": job.Exports(), "Command": launch.Quote(job.Command...),
		"ArrayIndex": launch.ArrayIndex, "Requeue": launch.Requeue,
	})
	return b.String(), err
}

// duration writes d as Slurm's days-hours:minutes:seconds.
func duration(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d-%02d:%02d:%02d", s/86400, s/3600%24, s/60%60, s%60)
}

// Submit hands the job to sbatch.
func (l Launcher) Submit(ctx context.Context, job launch.Job) (string, error) {
	text, err := l.Render(job)
	if err != nil {
		return "", err
	}
	stem, err := filepath.Abs(filepath.Join(job.Dir, "launch", "slurm"))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(stem), 0o755); err != nil {
		return "", fmt.Errorf("slurm: %w", err)
	}
	out, err := run(ctx, text, "sbatch", "--parsable")
	if err != nil {
		return "", err
	}
	number, _, _ := strings.Cut(strings.TrimSpace(out), ";") // the name of a cluster may follow
	id := stem + "-" + number
	if err := os.WriteFile(id+".sh", []byte(text), 0o644); err != nil {
		return id, fmt.Errorf("slurm: job %s is submitted, but its script can't be kept: %w", number, err)
	}
	return id, nil
}

var idPattern = regexp.MustCompile(`/slurm-([0-9]+)$`)

// Number is the number that Slurm knows the job by.
func Number(id string) (string, error) {
	m := idPattern.FindStringSubmatch(id)
	if m == nil {
		return "", fmt.Errorf("%w: %q isn't the id of a Slurm job", launch.ErrUnknown, id)
	}
	return m[1], nil
}

// Cancel ends the job and keeps it from being requeued.
func (l Launcher) Cancel(ctx context.Context, id string) error {
	number, err := Number(id)
	if err != nil {
		return err
	}
	if s, err := l.Status(ctx, id); err != nil || s.State.Ended() {
		return err
	}
	_, err = run(ctx, "", "scancel", number)
	return err
}

// run executes one of Slurm's commands with the input and returns what it prints.
func run(ctx context.Context, input, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("slurm: there is no %s here; run this on a login node of the cluster", name)
	}
	if err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(problem.String()), "\n")
		return "", fmt.Errorf("slurm: %s: %s (%w)", name, strings.TrimPrefix(line, name+": error: "), err)
	}
	return out.String(), nil
}
