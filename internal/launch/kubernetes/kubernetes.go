// Package kubernetes launches jobs on Kubernetes through kubectl: it has the login that a person has, whatever the cluster
// asks for.
//
// A job, or an array of them, becomes an Indexed Job. Whenever a pod has to go, its command is told with SIGUSR2 and has
// the job's notice to save. A pod that gave way, or exited with launch.Requeue, is replaced and doesn't count as a failure.
package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/longform-go/longform/internal/launch"
)

// Launcher submits to the cluster that kubectl's current context names. An id is NAMESPACE/Job/NAME.
//
// It reads from a launch.Job's Extra: image, of the container; namespace, if it isn't the one that kubectl works in; and
// volume, CLAIM:PATH, a PersistentVolumeClaim and where to mount it. The job's directory has to be below that path.
type Launcher struct {
	Restarts int // after a failure, of each copy; then it has failed
}

// Render returns the manifest as YAML, which kubectl apply takes. Submit differs in one line: it lets the cluster add to
// the name, so that a job can be submitted again.
func (l Launcher) Render(job launch.Job) (string, error) {
	manifest, err := l.manifest(job, false)
	if err != nil {
		return "", err
	}
	var node yaml.Node // JSON is YAML
	if err := yaml.Unmarshal(manifest, &node); err != nil {
		return "", fmt.Errorf("kubernetes: %w", err)
	}
	plain(&node)
	var b strings.Builder
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return "", fmt.Errorf("kubernetes: %w", err)
	}
	return b.String(), nil
}

// plain drops JSON's braces and quotes, and what is empty.
func plain(n *yaml.Node) {
	n.Style = 0
	var kept []*yaml.Node
	for i, child := range n.Content {
		plain(child)
		if n.Kind != yaml.MappingNode {
			kept = append(kept, child)
		} else if i%2 == 1 && (child.Kind != yaml.MappingNode || len(child.Content) > 0) {
			kept = append(kept, n.Content[i-1], child)
		}
	}
	n.Content = kept
}

// manifest is the Job as JSON. With fresh the cluster completes its name.
func (l Launcher) manifest(job launch.Job, fresh bool) ([]byte, error) {
	object, err := l.object(job)
	if err != nil {
		return nil, err
	}
	if fresh {
		object.SetGenerateName(object.GetName() + "-")
		object.SetName("")
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	return text, nil
}

// Submit creates the Job.
func (l Launcher) Submit(ctx context.Context, job launch.Job) (string, error) {
	manifest, err := l.manifest(job, true)
	if err != nil {
		return "", err
	}
	id, err := kubectl(ctx, manifest, "create", "--filename=-", "--output=jsonpath={.metadata.namespace}/{.kind}/{.metadata.name}")
	return string(id), err
}

// cancelled is the annotation of a job that has been cancelled.
const cancelled = "longform-go.github.io/cancelled"

// Cancel suspends the job, which ends its pods; their output goes with them. The object stays, so that its status can be
// asked for, until it is deleted.
func (l Launcher) Cancel(ctx context.Context, id string) error {
	if s, err := l.Status(ctx, id); err != nil || s.State.Ended() {
		return err
	}
	namespace, name, err := parse(id)
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"true"}},"spec":{"suspend":true}}`, cancelled)
	_, err = kubectl(ctx, nil, "patch", "jobs.batch", name, "--namespace="+namespace, "--type=merge", "--patch="+patch)
	return err
}

// parse splits an id.
func parse(id string) (namespace, name string, err error) {
	parts := strings.Split(id, "/")
	if len(parts) == 3 && parts[0] != "" && parts[1] == "Job" && parts[2] != "" && !strings.HasPrefix(parts[2], "-") {
		return parts[0], parts[2], nil
	}
	return "", "", fmt.Errorf("kubernetes: %w: %q isn't NAMESPACE/Job/NAME", launch.ErrUnknown, id)
}

// kubectl runs a command of it with the input and returns what it prints.
func kubectl(ctx context.Context, input []byte, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin = bytes.NewReader(input)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("kubernetes: there is no kubectl here; install it, and see that kubectl get jobs works")
	}
	if err != nil {
		// Warnings come first.
		lines := strings.Split(strings.TrimSpace(problem.String()), "\n")
		return nil, fmt.Errorf("kubernetes: kubectl %s: %s (%w)", args[0], lines[len(lines)-1], err)
	}
	return out.Bytes(), nil
}
