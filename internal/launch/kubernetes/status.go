package kubernetes

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/longform-go/longform/internal/launch"
)

// outcome is what the cluster says of a Job.
type outcome struct {
	complete, failed, suspended, cancelled bool
	message                                string // why it failed
	copies                                 int
}

// Status puts together what the cluster says of the job and of its pods.
func (l Launcher) Status(ctx context.Context, id string) (launch.Status, error) {
	o, err := look(ctx, id)
	if err != nil {
		return launch.Status{}, err
	}
	pods, err := podsOf(ctx, id)
	if err != nil {
		return launch.Status{}, err
	}
	var s launch.Status
	var active int
	for _, copies := range pods {
		last := copies[len(copies)-1]
		// The pod says how often those before it have failed, and how often that didn't count.
		failures, ignored := count(last, batchv1.JobIndexFailureCountAnnotation), count(last, batchv1.JobIndexIgnoredFailureCountAnnotation)
		s.Restarts += failures
		s.Preemptions += ignored
		if last.Status.Phase != corev1.PodSucceeded && last.Status.Phase != corev1.PodFailed {
			active++
		}
	}
	switch {
	case o.complete:
		s.State = launch.Succeeded
	case o.failed:
		s.State, s.Reason = launch.Failed, o.message
		s.Exit = exitOf(pods)
		if s.Exit != 0 {
			s.Reason = strings.TrimPrefix(fmt.Sprintf("%s: exit status %d", s.Reason, s.Exit), ": ")
		}
	case o.cancelled && active == 0:
		s.State = launch.Cancelled
	case o.suspended && active == 0:
		s.State, s.Reason = launch.Pending, "it is suspended"
	default:
		s.State, s.Reason = stage(pods)
	}
	return s, nil
}

// look asks for the object.
func look(ctx context.Context, id string) (outcome, error) {
	var o outcome
	namespace, name, err := parse(id)
	if err != nil {
		return o, err
	}
	text, err := kubectl(ctx, nil, "get", "jobs.batch", name, "--namespace="+namespace, "--ignore-not-found", "--output=json")
	if err != nil {
		return o, err
	}
	if len(text) == 0 {
		return o, fmt.Errorf("kubernetes: %w: %s", launch.ErrUnknown, id)
	}
	var job struct { // not a batchv1.Job, which has pointers to what is always there
		Metadata metav1.ObjectMeta
		Spec     struct {
			Suspend     bool
			Completions int
		}
		Status batchv1.JobStatus
	}
	if err := json.Unmarshal(text, &job); err != nil {
		return o, fmt.Errorf("kubernetes: what kubectl says of %s: %w", id, err)
	}
	o.cancelled = job.Metadata.Annotations[cancelled] != ""
	o.suspended = job.Spec.Suspend
	o.copies = job.Spec.Completions
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			o.complete = true
		case batchv1.JobFailed:
			o.failed, o.message = true, strings.TrimSuffix(c.Message, ".")
		}
	}
	return o, nil
}

// podsOf returns the job's pods by their index, the oldest first.
func podsOf(ctx context.Context, id string) (map[int][]corev1.Pod, error) {
	namespace, name, err := parse(id)
	if err != nil {
		return nil, err
	}
	text, err := kubectl(ctx, nil, "get", "pods", "--namespace="+namespace, "--selector="+batchv1.JobNameLabel+"="+name, "--output=json")
	if err != nil {
		return nil, err
	}
	var list corev1.PodList
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("kubernetes: what kubectl says of the pods of %s: %w", id, err)
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Pod) int {
		// Creation times are whole seconds.
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(starts(a), starts(b)))
	})
	pods := map[int][]corev1.Pod{}
	for _, p := range list.Items {
		index := count(p, batchv1.JobCompletionIndexAnnotation)
		pods[index] = append(pods[index], p)
	}
	return pods, nil
}

// count reads a number in a pod's annotations; 0 if it isn't there.
func count(p corev1.Pod, annotation string) int {
	n, _ := strconv.Atoi(p.Annotations[annotation])
	return n
}

// starts is how many pods there were before it with its index.
func starts(p corev1.Pod) int {
	return count(p, batchv1.JobIndexFailureCountAnnotation) + count(p, batchv1.JobIndexIgnoredFailureCountAnnotation)
}

// exitOf is the exit status of the first pod, in the order of their indices, that failed for good.
func exitOf(pods map[int][]corev1.Pod) int {
	for _, index := range indices(pods) {
		last := pods[index][len(pods[index])-1]
		for _, c := range last.Status.ContainerStatuses {
			if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
				return int(t.ExitCode)
			}
		}
	}
	return 0
}

// stage says how far a job is that hasn't ended: what is running counts before what waits.
func stage(pods map[int][]corev1.Pod) (launch.State, string) {
	state, reason := launch.Pending, ""
	for _, index := range indices(pods) {
		p := pods[index][len(pods[index])-1]
		switch p.Status.Phase {
		case corev1.PodRunning:
			return launch.Running, ""
		case corev1.PodFailed:
			if gone(p) {
				state = launch.Preempted // its successor isn't there yet
			}
		case corev1.PodPending:
			if count(p, batchv1.JobIndexIgnoredFailureCountAnnotation) > 0 && count(p, batchv1.JobIndexFailureCountAnnotation) == 0 {
				state = launch.Preempted
			}
			if reason == "" {
				reason = why(p)
			}
		}
	}
	return state, reason
}

// gone says whether the pod failed because it gave way.
func gone(p corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Terminated != nil && c.State.Terminated.ExitCode == launch.Requeue
	})
}

// why tells what a pod waits for: no node has room for it, its image can't be had.
func why(p corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Reason != "" {
			return strings.TrimSuffix(w.Reason+": "+w.Message, ": ")
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Message
		}
	}
	return ""
}

func indices(pods map[int][]corev1.Pod) []int {
	var all []int
	for index := range pods {
		all = append(all, index)
	}
	slices.Sort(all)
	return all
}

// Logs writes what the job's pods have printed, an array's with the pod's index before each line. The cluster keeps it as
// long as the pod, and of a pod that prints much the last part only: the rest is gone, but for what was followed before.
func (l Launcher) Logs(ctx context.Context, id string, w io.Writer, follow bool) error {
	namespace, _, err := parse(id)
	if err != nil {
		return err
	}
	o, err := look(ctx, id)
	if err != nil {
		return err
	}
	logs := make([]launch.Log, o.copies)
	for index := range logs {
		if o.copies > 1 {
			logs[index].Prefix = strconv.Itoa(index) + ": "
		}
		logs[index].Read = reader(id, namespace, index)
	}
	return launch.Follow(ctx, w, logs, 2*time.Second, follow, func(ctx context.Context) (bool, error) {
		s, err := l.Status(ctx, id)
		return s.State.Ended(), err
	})
}

// reader reads the output of all pods that had an index as one text. What it has read of a pod it keeps, since pods go.
func reader(id, namespace string, index int) func(context.Context, int64) ([]byte, error) {
	type output struct {
		before, text []byte // what the cluster has dropped, what it has
		whole        bool
	}
	var names []string
	read := map[string]output{}
	return func(ctx context.Context, offset int64) ([]byte, error) {
		pods, err := podsOf(ctx, id)
		if err != nil {
			return nil, err
		}
		for _, p := range pods[index] {
			if read[p.Name].whole || p.Status.Phase == corev1.PodPending {
				continue
			}
			text, err := kubectl(ctx, nil, "logs", p.Name, "--namespace="+namespace)
			if err != nil {
				if strings.Contains(err.Error(), "not found") {
					continue // it has gone since
				}
				return nil, err
			}
			if _, ok := read[p.Name]; !ok {
				names = append(names, p.Name)
			}
			before := read[p.Name].before
			if old := read[p.Name].text; !bytes.HasPrefix(text, old) {
				before = append(before, old...)
			}
			read[p.Name] = output{before, text, p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed}
		}
		var all []byte
		for _, name := range names {
			all = append(append(all, read[name].before...), read[name].text...)
		}
		return all[min(int(offset), len(all)):], nil
	}
}
