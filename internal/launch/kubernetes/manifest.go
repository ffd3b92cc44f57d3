package kubernetes

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/longform-go/longform/internal/launch"
)

// container is the name of the only container of a pod.
const container = "run"

// notice is what a pod that has to go gets where the job doesn't say.
const notice = 2 * time.Minute

// notStarted are the exit statuses of a command that can't be started: 126 and 127 are a shell's, 128 is how container
// runtimes tell that there is no such program in the image.
var notStarted = []int32{126, 127, 128}

// object is the Job.
func (l Launcher) object(job launch.Job) (*batchv1.Job, error) {
	name, err := nameOf(job.Name)
	if err != nil {
		return nil, err
	}
	pod, err := pod(job)
	if err != nil {
		return nil, err
	}
	copies := ptr(int32(max(job.Array, 1)))
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: job.Extra["namespace"]},
		Spec: batchv1.JobSpec{
			Template:              pod,
			CompletionMode:        ptr(batchv1.IndexedCompletion),
			Completions:           copies,
			Parallelism:           copies,
			PodReplacementPolicy:  ptr(batchv1.Failed), // never two at work in one directory
			ActiveDeadlineSeconds: deadline(job),
			// A limit for each index, rather than for the job, makes the cluster count what became of each.
			BackoffLimitPerIndex: ptr(int32(l.Restarts)),
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
				// It was disrupted: evicted, preempted, its node drained.
				{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
					{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}},
				onExit(batchv1.PodFailurePolicyActionIgnore, launch.Requeue), // it saved and asked to be started again
				onExit(batchv1.PodFailurePolicyActionFailIndex, notStarted...),
			}},
		},
	}, nil
}

func onExit(action batchv1.PodFailurePolicyAction, codes ...int32) batchv1.PodFailurePolicyRule {
	return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
		ContainerName: ptr(container), Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: codes}}
}

func pod(job launch.Job) (corev1.PodTemplateSpec, error) {
	var none corev1.PodTemplateSpec
	if job.Extra["image"] == "" {
		return none, fmt.Errorf("kubernetes: no image; set launch.image to a container image that has the program")
	}
	claim, path, ok := strings.Cut(job.Extra["volume"], ":")
	if !ok || claim == "" || !filepath.IsAbs(path) {
		return none, fmt.Errorf("kubernetes: the volume is %q, want CLAIM:/PATH, a PersistentVolumeClaim and where to mount it, so that a run that is started again finds what it had saved", job.Extra["volume"])
	}
	if below, err := filepath.Rel(path, job.Dir); err != nil || below == ".." || strings.HasPrefix(below, "../") {
		return none, fmt.Errorf("kubernetes: the directory %q isn't in the volume at %s, want one with an absolute path below it", job.Dir, path)
	}
	resources, err := resources(job)
	if err != nil {
		return none, err
	}
	env := []corev1.EnvVar{{Name: launch.ArrayIndex, Value: "0"}}
	if job.Array > 0 {
		env[0] = corev1.EnvVar{Name: launch.ArrayIndex, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{
			FieldPath: fmt.Sprintf("metadata.annotations['%s']", batchv1.JobCompletionIndexAnnotation)}}}
	}
	for _, name := range slices.Sorted(maps.Keys(job.Env)) {
		env = append(env, corev1.EnvVar{Name: name, Value: literal(job.Env[name])})
	}
	command := make([]string, len(job.Command))
	for i, word := range job.Command {
		command[i] = literal(word)
	}
	grace := notice
	if job.Notice > 0 {
		grace = job.Notice
	}
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy:                 corev1.RestartPolicyNever, // a podFailurePolicy needs it
		TerminationGracePeriodSeconds: ptr(int64(grace.Seconds())),
		Containers: []corev1.Container{{
			Name:       container,
			Image:      job.Extra["image"],
			Command:    command,
			WorkingDir: job.Dir,
			Env:        env,
			Resources:  resources,
			// Kubernetes sends SIGTERM when this has ended. A command that saves and exits with 0 at SIGTERM would count as
			// done.
			Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{
				Command: []string{"/bin/sh", "-c", "kill -USR2 1; while kill -0 1; do sleep 1; done"}}}},
			VolumeMounts: []corev1.VolumeMount{{Name: "volume", MountPath: path}},
		}},
		Volumes: []corev1.Volume{{Name: "volume", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}},
	}}, nil
}

func resources(job launch.Job) (corev1.ResourceRequirements, error) {
	r := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	if job.CPUs > 0 {
		r.Requests[corev1.ResourceCPU] = *resource.NewQuantity(int64(job.CPUs), resource.DecimalSI)
	}
	if job.Memory != "" {
		text := job.Memory
		if strings.ContainsAny(text[len(text)-1:], "KMGT") {
			text += "i" // powers of 1024, as everywhere else
		}
		memory, err := resource.ParseQuantity(text)
		if err != nil || memory.Sign() <= 0 {
			return r, fmt.Errorf("kubernetes: memory is %q, want a number with K, M, G or T, as 64G", job.Memory)
		}
		r.Requests[corev1.ResourceMemory], r.Limits[corev1.ResourceMemory] = memory, memory
	}
	if job.GPUs > 0 {
		r.Limits["nvidia.com/gpu"] = *resource.NewQuantity(int64(job.GPUs), resource.DecimalSI)
	}
	return r, nil
}

// literal keeps Kubernetes from taking a part of text for one of its variables, $(NAME).
func literal(text string) string {
	if strings.Contains(text, "$(") || strings.Contains(text, "$$") {
		return strings.ReplaceAll(text, "$", "$$")
	}
	return text
}

func deadline(job launch.Job) *int64 {
	if job.Time <= 0 {
		return nil
	}
	return ptr(int64(job.Time.Seconds()))
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// nameOf makes a name for the cluster: a DNS label, with room for what the cluster appends to it.
func nameOf(name string) (string, error) {
	label := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(name), "-"), "-")
	label = strings.TrimRight(label[:min(len(label), 40)], "-")
	if label == "" || label[0] < 'a' {
		return "", fmt.Errorf("kubernetes: %q is no name for a job there, want one that begins with a letter", name)
	}
	return label, nil
}

func ptr[T any](v T) *T { return &v }
