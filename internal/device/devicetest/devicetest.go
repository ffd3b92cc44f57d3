// Package devicetest opens devices for the tests of what runs on them.
package devicetest

import (
	"os"
	"testing"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/testneeds"
)

// Tests compile what they run, and leave nothing behind.
func init() { os.Setenv("LONGFORM_CACHE", "off") }

// Open opens a device until the test ends.
func Open(t testing.TB, kind string) *device.Device {
	t.Helper()
	d, err := device.Open(kind)
	if err != nil && kind == device.CPU {
		testneeds.Missing(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// OpenTarget opens a GPU that isn't here until the test ends.
func OpenTarget(t testing.TB, name string) *device.Device {
	t.Helper()
	d, err := device.OpenTarget(name)
	if err != nil {
		testneeds.Missing(t, err.Error())
	}
	t.Cleanup(d.Close)
	return d
}

// Each runs test on both devices that need no GPU.
func Each(t *testing.T, test func(t *testing.T, d *device.Device)) {
	for _, kind := range []string{device.CPU, device.Go} {
		t.Run(kind, func(t *testing.T) { test(t, Open(t, kind)) })
	}
}
