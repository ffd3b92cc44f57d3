// Package pretrainedtest loads checkpoints for the tests of what runs on them.
package pretrainedtest

import (
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/pretrained"
)

// Load puts the model in dir on d in float32, as inference has it, until the test ends.
func Load(t testing.TB, d *device.Device, dir string) *pretrained.Parameters {
	t.Helper()
	source, err := pretrained.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	spec, err := pretrained.NewSpec(source.Config, nil, dtypes.Float32, dtypes.Float32)
	if err != nil {
		t.Fatal(err)
	}
	p, err := source.Load(d, spec.Joined(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Free)
	return p
}
