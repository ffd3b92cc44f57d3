// Validate reads the manifest of a Job or of a JobSet and says what a Kubernetes API server would refuse in it, with the
// server's own code: decoded strictly, filled with defaults, validated. Of a JobSet it reads the Jobs.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	names "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	"k8s.io/kubernetes/pkg/apis/batch/validation"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	core "k8s.io/kubernetes/pkg/apis/core/validation"
	"sigs.k8s.io/yaml"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = validate(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "validate:", err)
		os.Exit(1)
	}
}

func validate(text []byte) error {
	var object struct {
		metav1.TypeMeta
		Metadata json.RawMessage
		Spec     struct {
			ReplicatedJobs []struct{ Template json.RawMessage }
		}
	}
	if err := yaml.Unmarshal(text, &object); err != nil {
		return err
	}
	if object.Kind != "JobSet" {
		return validateJob(text)
	}
	for _, r := range object.Spec.ReplicatedJobs {
		job := map[string]json.RawMessage{}
		if err := json.Unmarshal(r.Template, &job); err != nil {
			return err
		}
		job["apiVersion"], job["kind"], job["metadata"] = json.RawMessage(`"batch/v1"`), json.RawMessage(`"Job"`), object.Metadata
		text, err := json.Marshal(job)
		if err != nil {
			return err
		}
		if err := validateJob(text); err != nil {
			return err
		}
	}
	return nil
}

func validateJob(text []byte) error {
	codecs := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)
	object, err := runtime.Decode(codecs.UniversalDecoder(batch.SchemeGroupVersion), text)
	if err != nil {
		return err
	}
	job, ok := object.(*batch.Job)
	if !ok {
		return fmt.Errorf("want a Job, this is a %T", object)
	}
	if job.Namespace == "" {
		job.Namespace = "default"
	}
	problems := core.ValidateObjectMeta(&job.ObjectMeta, true, names.NameIsDNSSubdomain, field.NewPath("metadata"))
	problems = append(problems, validation.ValidateJobTemplateSpec(&batch.JobTemplateSpec{Spec: job.Spec}, nil, field.NewPath("job"), core.PodValidationOptions{})...)
	var errs []error
	for _, p := range problems {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}
