// Validate reads the manifest of a Job and says what a Kubernetes API server would refuse in it, with the server's own
// code: decoded strictly, filled with defaults, validated.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	names "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	"k8s.io/kubernetes/pkg/apis/batch/validation"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	core "k8s.io/kubernetes/pkg/apis/core/validation"
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
