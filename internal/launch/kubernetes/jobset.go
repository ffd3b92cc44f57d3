package kubernetes

import (
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/longform-go/longform/internal/launch"
)

// jobSet is what is used here of the type of that name in jobset.x-k8s.io/v1alpha2, whose own module brings along what it
// takes to write a controller.
type jobSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              jobSetSpec   `json:"spec"`
	Status            jobSetStatus `json:"status,omitzero"`
}

type jobSetSpec struct {
	Suspend        bool            `json:"suspend,omitempty"`
	ReplicatedJobs []replicatedJob `json:"replicatedJobs"`
	FailurePolicy  failurePolicy   `json:"failurePolicy"`
}

type replicatedJob struct {
	Name     string                  `json:"name"`
	Replicas int32                   `json:"replicas"`
	Template batchv1.JobTemplateSpec `json:"template"`
}

type failurePolicy struct {
	MaxRestarts     int32               `json:"maxRestarts"`
	RestartStrategy string              `json:"restartStrategy"`
	Rules           []failurePolicyRule `json:"rules"`
}

type failurePolicyRule struct {
	Name                string   `json:"name"`
	Action              string   `json:"action"`
	OnJobFailureReasons []string `json:"onJobFailureReasons"`
}

type jobSetStatus struct {
	Conditions              []metav1.Condition `json:"conditions,omitempty"`
	Restarts                int                `json:"restarts,omitempty"`
	RestartsCountTowardsMax int                `json:"restartsCountTowardsMax,omitempty"`
}

// jobSetLabel is on each pod of a JobSet.
const jobSetLabel = "jobset.sigs.k8s.io/jobset-name"

// jobSet makes a Job with a pod for each node, all of which are started again when one of them fails or gives way: they
// work in step. Its time is counted anew then.
func (l Launcher) jobSet(meta metav1.ObjectMeta, spec batchv1.JobSpec, job launch.Job) *jobSet {
	nodes := ptr(int32(job.Nodes))
	spec.Completions, spec.Parallelism = nodes, nodes
	spec.BackoffLimit = ptr(int32(0))
	spec.ActiveDeadlineSeconds = deadline(job)
	spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: gaveWay(batchv1.PodFailurePolicyActionFailJob)}
	return &jobSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "jobset.x-k8s.io/v1alpha2", Kind: "JobSet"},
		ObjectMeta: meta,
		Spec: jobSetSpec{
			ReplicatedJobs: []replicatedJob{{Name: "nodes", Replicas: 1, Template: batchv1.JobTemplateSpec{Spec: spec}}},
			FailurePolicy: failurePolicy{
				MaxRestarts:     int32(l.Restarts),
				RestartStrategy: "BlockingRecreate", // never two at work in one directory
				Rules: []failurePolicyRule{
					{"gaveWay", "RestartJobSetAndIgnoreMaxRestarts", []string{batchv1.JobReasonPodFailurePolicy}},
					{"timeIsUp", "FailJobSet", []string{batchv1.JobReasonDeadlineExceeded}},
				},
			},
		},
	}
}
