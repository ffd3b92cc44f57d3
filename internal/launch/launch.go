// Package launch starts jobs elsewhere: on this machine's GPUs, on other hosts over ssh, or through the scheduler that a
// cluster has. It knows commands and resources, and nothing of what the commands compute.
package launch

import (
	"context"
	"errors"
	"io"
	"time"
)

// Job is what a launcher is to run.
type Job struct {
	Name    string
	Dir     string   // working directory, and where a launcher may keep its own files, in Dir/launch
	Command []string // the program and its arguments; the same at every restart
	Env     map[string]string
	GPUs    int
	CPUs    int    // 0 leaves it to the launcher
	Memory  string // as "64G"; empty leaves it to the launcher
	Time    time.Duration
	Array   int               // copies of the job, each told its number by ArrayIndex; 0 means one job that isn't an array
	Notice  time.Duration     // before the end, in which the job is told to save with SIGUSR2
	Extra   map[string]string // what only one launcher knows: a Slurm partition, a container image
}

// ArrayIndex names the environment variable that tells a copy of an array job its number, from 0.
const ArrayIndex = "LONGFORM_ARRAY_INDEX"

// Requeue is the exit status of a command that was stopped by SIGUSR2, has saved, and wants to be started again.
// It is EX_TEMPFAIL of sysexits.h: the failure is temporary, try again.
const Requeue = 75

// Launcher runs jobs. It keeps what it has to remember outside of this process: everything works with an id that
// another process was given by Submit.
type Launcher interface {
	// Submit hands the job over and returns at once with its id.
	Submit(ctx context.Context, job Job) (id string, err error)
	// Status says how the job is doing; ErrUnknown if there is no such job.
	Status(ctx context.Context, id string) (Status, error)
	// Logs writes what the job has printed to w. With follow it goes on until the job has ended.
	Logs(ctx context.Context, id string, w io.Writer, follow bool) error
	// Cancel ends the job for good. A job that has ended is left as it is.
	Cancel(ctx context.Context, id string) error
	// Render returns what would be submitted, for a person to read.
	Render(job Job) (string, error)
}

// ErrUnknown says that a launcher knows no job with the id.
var ErrUnknown = errors.New("no such job")

// Status is how a job is doing.
type Status struct {
	State       State
	Reason      string // why, where there is something to say: a line
	Exit        int    // exit status of a job that has failed
	Restarts    int    // starts after a failure, preemptions not counted
	Preemptions int    // times that the job gave way and was started again
	Copies      Copies // of an array of several; zero where a launcher doesn't count them
}

// Copies counts how the copies of an array are doing.
type Copies struct {
	Going     int // that haven't ended: running, or waiting to be started
	Succeeded int
	Failed    int
	Cancelled int
}

// State is a stage in a job's life.
type State string

// All stages; see State.Ended for those that are final.
const (
	Pending   State = "pending"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Cancelled State = "cancelled"
	Preempted State = "preempted" // will be or was requeued
)

// Ended says whether nothing more will happen to the job.
func (s State) Ended() bool { return s == Succeeded || s == Failed || s == Cancelled }
