package kubernetes

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/launch"
)

// definition lets a server without the JobSet controller store JobSets, whatever is in them.
const definition = `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
	"metadata": {"name": "jobsets.jobset.x-k8s.io", "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
	"spec": {"group": "jobset.x-k8s.io", "scope": "Namespaced", "names": {"plural": "jobsets", "singular": "jobset", "kind": "JobSet"},
		"versions": [{"name": "v1alpha2", "served": true, "storage": true, "subresources": {"status": {}},
			"schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}`

// TestJobSet plays the JobSet controller: it writes the status, and the launcher reads it.
func TestJobSet(t *testing.T) {
	useServer(t)
	ctx := t.Context()
	if kinds, err := kubectl(ctx, nil, "api-resources", "--output=name"); err != nil {
		t.Fatal(err)
	} else if !bytes.Contains(kinds, []byte("jobsets.jobset.x-k8s.io")) {
		if _, err := kubectl(ctx, []byte(definition), "create", "--filename=-"); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if _, err := kubectl(ctx, nil, "delete", "customresourcedefinition", "jobsets.jobset.x-k8s.io"); err != nil {
				t.Error(err)
			}
		}()
		if _, err := kubectl(ctx, nil, "wait", "--for=condition=Established", "customresourcedefinition/jobsets.jobset.x-k8s.io"); err != nil {
			t.Fatal(err)
		}
	}
	l := Launcher{Restarts: 3}
	for _, test := range []struct {
		status string
		cancel bool
		want   launch.Status
	}{
		{`{}`, false, launch.Status{State: launch.Pending}},
		{`{"restarts": 3, "restartsCountTowardsMax": 1}`, true, launch.Status{State: launch.Cancelled, Restarts: 1, Preemptions: 2}},
		{`{"restarts": 2, "conditions": [{"type": "Completed", "status": "True", "reason": "AllJobsCompleted",
			"message": "jobset completed successfully", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}`, true,
			launch.Status{State: launch.Succeeded, Preemptions: 2}},
		{`{"restarts": 4, "restartsCountTowardsMax": 4, "conditions": [{"type": "Failed", "status": "True", "reason": "ReachedMaxRestarts",
			"message": "jobset failed due to reaching max number of restarts", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}`, true,
			launch.Status{State: launch.Failed, Restarts: 4, Reason: "jobset failed due to reaching max number of restarts"}},
	} {
		job := manifests["jobset"]
		id, err := l.Submit(ctx, job)
		if err != nil {
			t.Fatal(err)
		}
		name := id[strings.LastIndex(id, "/")+1:]
		if _, err := kubectl(ctx, nil, "patch", "jobset", name, "--subresource=status", "--type=merge", fmt.Sprintf(`--patch={"status":%s}`, test.status)); err != nil {
			t.Fatal(err)
		}
		if test.cancel {
			if err := l.Cancel(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := l.Status(ctx, id); err != nil || got != test.want {
			t.Errorf("status %s: %+v, %v, want %+v", test.status, got, err, test.want)
		}
	}
}
