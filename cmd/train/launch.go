package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/launch/kubernetes"
	"github.com/longform-go/longform/internal/launch/local"
	"github.com/longform-go/longform/internal/launch/ray"
	"github.com/longform-go/longform/internal/launch/slurm"
	"github.com/longform-go/longform/internal/launch/ssh"
	"github.com/longform-go/longform/internal/rundir"
)

func launchCommand() *cobra.Command {
	var file, on string
	var dry bool
	c := &cobra.Command{
		Use:   "launch -c FILE --on local|ssh|slurm|ray|kubernetes [key=value ...]",
		Short: "Have a run started by a scheduler, on other hosts, or here in the background",
		Long: `Have a run started by a scheduler, on another host, or here in the background, with what the section launch of the
configuration asks for. The run goes on from its last checkpoint whenever it is started again: after it had to give way,
after its time was up, after a failure, and when it is launched once more. A run that fails is started again three times,
after pauses that double; on Slurm it stays failed, unless it was its node that failed.

Where it runs, the working directory, run.dir and this program have to be under the same paths as here. On Kubernetes
launch.volume holds the directories, and the program is the train of launch.image.`,
		Example: `  train launch -c configs/demo.yaml --on local
  train launch -c configs/longform-t5-xl.yaml --on slurm launch.gpus=1 launch.time=24h launch.partition=gpu
  train launch -c configs/longform-opt-125m.yaml --on ray launch.address=http://head:8265 launch.gpus=1
  train launch -c configs/demo.yaml --on slurm --dry-run`,
		RunE: func(cmd *cobra.Command, overrides []string) error {
			if on != "" {
				overrides = append(overrides, "launch.on="+on)
			}
			config, err := loadConfig(file, overrides)
			if err != nil {
				return err
			}
			job, err := runJob(config)
			if err != nil {
				return err
			}
			if dry {
				text, err := launcherFor(config.Launch).Render(job)
				if err == nil {
					fmt.Fprint(cmd.OutOrStdout(), text)
				}
				return err
			}
			return submit(cmd.Context(), config, job)
		},
	}
	c.Flags().StringVarP(&file, "config", "c", "", "configuration file, or the name of a built-in recipe")
	c.Flags().StringVar(&on, "on", "", "what starts the run: local, ssh, slurm, ray or kubernetes; the same as launch.on=...")
	c.Flags().BoolVar(&dry, "dry-run", false, "print what would be submitted")
	c.AddCommand(launchStatusCommand(), launchLogsCommand(), launchAttachCommand(), launchCancelCommand(), launchWorkerCommand())
	return c
}

func launcherFor(l configs.Launch) launch.Launcher {
	switch l.On {
	case "slurm":
		return slurm.Launcher{}
	case "ssh":
		return ssh.Launcher{Hosts: l.Hosts, Local: local.Default()}
	case "ray":
		return ray.Launcher{Address: l.Address, Restarts: 3, Backoff: 10 * time.Second}
	case "kubernetes":
		return kubernetes.Launcher{Restarts: 3}
	}
	return local.Default()
}

// configVariable holds a pod's configuration: what Kubernetes gets is all that the run needs, so that kubectl can apply what
// --dry-run prints, from a host that doesn't have the volume.
const configVariable = "LONGFORM_LAUNCH_CONFIG"

// runJob is the job that does the run of config.
func runJob(config configs.Config) (launch.Job, error) {
	dir, err := filepath.Abs(config.Run.Dir)
	if err != nil {
		return launch.Job{}, err
	}
	job, err := jobIn(dir, config.Launch, "launch", "worker", dir)
	if err != nil || config.Launch.On != "kubernetes" {
		return job, err
	}
	config.Run.Dir = dir
	text, err := config.YAML()
	job.Env[configVariable] = string(text)
	return job, err
}

// jobIn is a job of this program, with the arguments, that works on a directory.
func jobIn(dir string, l configs.Launch, arguments ...string) (launch.Job, error) {
	program, err := os.Executable()
	if err != nil {
		return launch.Job{}, err
	}
	if l.On == "kubernetes" {
		program = "train" // the image's
	}
	return launch.Job{
		Name: filepath.Base(dir), Dir: dir, Command: append([]string{program}, arguments...),
		Env: l.Variables(), GPUs: l.GPUs, CPUs: l.CPUs, Memory: l.Memory, Time: l.Limit(), Notice: l.Warning(),
		Extra: map[string]string{"partition": l.Partition, "account": l.Account, "qos": l.QOS,
			"image": l.Image, "volume": l.Volume, "namespace": l.Namespace},
	}, nil
}

// submission is what a run directory keeps about the job that does its run, in launch/job.json.
type submission struct {
	ID        string         `json:"id"` // empty: it is being submitted
	Launch    configs.Launch `json:"launch"`
	Directory string         `json:"directory"` // where the run's relative paths start
}

func submissionFile(dir string) string   { return filepath.Join(dir, "launch", "job.json") }
func launchConfigFile(dir string) string { return filepath.Join(dir, "launch", "config.yaml") }

func readSubmission(dir string) (submission, error) {
	var s submission
	text, err := os.ReadFile(submissionFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("the run in %s wasn't launched; train launch -c FILE does that", dir)
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read what was launched in %s: %w", dir, err)
	}
	return s, nil
}

func (s submission) write(dir string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return rundir.Replace(submissionFile(dir), append(text, '\n'))
}

// submit has the job started, unless one is there already that does the same run.
func submit(ctx context.Context, config configs.Config, job launch.Job) error {
	if before, err := readSubmission(job.Dir); err == nil && before.ID != "" {
		status, err := launcherFor(before.Launch).Status(ctx, before.ID)
		if err != nil && !errors.Is(err, launch.ErrUnknown) {
			return err
		}
		if err == nil && !status.State.Ended() {
			return fmt.Errorf("the run in %s is %s as %s; end that with: train launch cancel %[1]s", config.Run.Dir, status.State, before.ID)
		}
	}
	text, err := config.YAML()
	if err != nil {
		return err
	}
	s := submission{Launch: config.Launch}
	if s.Directory, err = os.Getwd(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(submissionFile(job.Dir)), 0o755); err != nil {
		return fmt.Errorf("cannot create the run directory: %w; choose another run.dir", err)
	}
	if err := rundir.Replace(launchConfigFile(job.Dir), text); err != nil {
		return err
	}
	if err := s.write(job.Dir); err != nil { // the job may start, and read it, before there is an id
		return err
	}
	if s.ID, err = launcherFor(config.Launch).Submit(ctx, job); err != nil {
		return err
	}
	if err := s.write(job.Dir); err != nil {
		return err
	}
	say("launched  %s", s.ID)
	say("  look with    train launch status %s", config.Run.Dir)
	say("  follow with  train launch attach %s", config.Run.Dir)
	return nil
}

// launched is a command about the job of a run directory.
func launched(c *cobra.Command, do func(ctx context.Context, out *cobra.Command, l launch.Launcher, id string) error) *cobra.Command {
	c.Args = takes(1, "the directory of a run")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := readSubmission(args[0])
		if err != nil {
			return err
		}
		if s.ID == "" {
			return fmt.Errorf("the submission of the run in %s was interrupted; look whether the job %s is there, and if not, launch it again", args[0], filepath.Base(args[0]))
		}
		// Ctrl-C ends the looking on, not the job.
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return do(ctx, cmd, launcherFor(s.Launch), s.ID)
	}
	return c
}

func launchStatusCommand() *cobra.Command {
	return launched(&cobra.Command{
		Use: "status DIR", Short: "Say how the job of a run is doing", Example: "  train launch status runs/demo",
	}, func(ctx context.Context, cmd *cobra.Command, l launch.Launcher, id string) error {
		s, err := l.Status(ctx, id)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		fmt.Fprintf(out, "job          %s\nstate        %s\n", id, s.State)
		if s.Reason != "" {
			fmt.Fprintf(out, "reason       %s\n", s.Reason)
		}
		fmt.Fprintf(out, "preemptions  %d\nrestarts     %d\n", s.Preemptions, s.Restarts)
		return nil
	})
}

func launchLogsCommand() *cobra.Command {
	return launched(&cobra.Command{
		Use: "logs DIR", Short: "Print what the job of a run has printed", Example: "  train launch logs runs/demo",
	}, func(ctx context.Context, cmd *cobra.Command, l launch.Launcher, id string) error {
		return l.Logs(ctx, id, cmd.OutOrStdout(), false)
	})
}

func launchAttachCommand() *cobra.Command {
	return launched(&cobra.Command{
		Use: "attach DIR", Short: "Print what the job of a run prints, until it ends",
		Long:    "Print what the job of a run prints, until it ends; fail if the job does. Ctrl-C stops the printing and not the job.",
		Example: "  train launch attach runs/demo",
	}, func(ctx context.Context, cmd *cobra.Command, l launch.Launcher, id string) error {
		if err := l.Logs(ctx, id, cmd.OutOrStdout(), true); err != nil {
			return err
		}
		s, err := l.Status(ctx, id)
		if err == nil && s.State != launch.Succeeded {
			err = fmt.Errorf("the job %s: %s", s.State, s.Reason)
		}
		return err
	})
}

func launchCancelCommand() *cobra.Command {
	return launched(&cobra.Command{
		Use: "cancel DIR", Short: "End the job of a run; it saves first", Example: "  train launch cancel runs/demo",
	}, func(ctx context.Context, _ *cobra.Command, l launch.Launcher, id string) error {
		return l.Cancel(ctx, id)
	})
}

func launchWorkerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "worker DIR", Short: "Begin or resume a launched run; what a job executes", Hidden: true,
		Example: "  train launch worker runs/demo", Args: takes(1, "the directory of a run"),
		RunE: func(_ *cobra.Command, args []string) error { return work(args[0]) },
	}
}

// launchedConfig is the configuration of the run that this job does. It goes to the directory where the run's relative paths
// start, if that is known.
func launchedConfig(path string) (configs.Config, error) {
	inPod := os.Getenv(configVariable)
	s, err := readSubmission(path)
	if err == nil {
		if err := os.Chdir(s.Directory); err != nil {
			return configs.Config{}, fmt.Errorf("the directory that the run was launched from: %w", err)
		}
	}
	if inPod != "" {
		return configs.Parse(configVariable, []byte(inPod))
	}
	if err != nil {
		return configs.Config{}, err
	}
	return configs.Load(launchConfigFile(path), nil)
}

// work does the run of a directory from wherever it stands.
func work(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	config, err := launchedConfig(path)
	if err != nil {
		return err
	}
	dir := rundir.Dir(path)
	saved, err := filepath.Glob(filepath.Join(dir.Checkpoints(), "step-*"))
	if err != nil {
		return err
	}
	if len(saved) > 0 {
		return resume(dir, config)
	}
	// Nothing of a run that was killed before its first checkpoint can be used.
	unlock, err := checkpoint.Lock(path)
	if err != nil {
		return err
	}
	err = errors.Join(os.RemoveAll(dir.Metrics()), os.RemoveAll(dir.Config()), os.RemoveAll(dir.Checkpoints()))
	unlock()
	if err != nil {
		return err
	}
	return train(config)
}
