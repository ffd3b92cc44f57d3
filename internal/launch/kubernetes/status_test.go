package kubernetes

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/longform-go/longform/internal/launch"
)

// TestStage is about what a job waits for, which the node of the other tests never makes a pod do.
func TestStage(t *testing.T) {
	phase := func(p corev1.PodPhase) corev1.Pod { return corev1.Pod{Status: corev1.PodStatus{Phase: p}} }
	noRoom := phase(corev1.PodPending)
	noRoom.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"}}
	noImage := phase(corev1.PodPending)
	noImage.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}}}}
	evicted := phase(corev1.PodFailed)
	evicted.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}
	successor := noRoom
	successor.ObjectMeta = metav1.ObjectMeta{Annotations: map[string]string{batchv1.JobIndexIgnoredFailureCountAnnotation: "1"}}
	for _, test := range []struct {
		name   string
		pods   map[int][]corev1.Pod
		state  launch.State
		reason string
	}{
		{"no pods yet", nil, launch.Pending, ""},
		{"no node has room", map[int][]corev1.Pod{0: {noRoom}}, launch.Pending, "0/3 nodes are available"},
		{"no image", map[int][]corev1.Pod{0: {noImage}}, launch.Pending, "ImagePullBackOff: no such image"},
		{"one of two runs", map[int][]corev1.Pod{0: {noRoom}, 1: {phase(corev1.PodRunning)}}, launch.Running, ""},
		{"evicted", map[int][]corev1.Pod{0: {evicted}}, launch.Preempted, ""},
		{"evicted, and its successor waits", map[int][]corev1.Pod{0: {evicted, successor}}, launch.Preempted, "0/3 nodes are available"},
	} {
		if state, reason := stage(test.pods); state != test.state || reason != test.reason {
			t.Errorf("%s: %s, %q, want %s, %q", test.name, state, reason, test.state, test.reason)
		}
	}
}
