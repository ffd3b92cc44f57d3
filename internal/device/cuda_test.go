package device

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestCUDAPartsFit(t *testing.T) {
	whole := cudaParts{
		driver: "580.65.06", driverCUDA: 13000, plugin: "/lib/jax_plugins/xla_cuda13/xla_cuda_plugin.so", pjrt: "PJRT 0.115",
		cudnn: "/lib/nvidia/cudnn/lib/libcudnn.so.9", cudnnIs: 91200,
	}
	tests := []struct {
		name   string
		change func(*cudaParts)
		about  string
		state  State
		words  []string // of the detail and the fix
	}{
		{"whole", func(*cudaParts) {}, "", OK, nil},
		{"newer driver", func(c *cudaParts) { c.driver, c.driverCUDA = "595.10", 13020 }, "", OK, nil},
		{"driver untold", func(c *cudaParts) { c.driver = "" }, "", OK, nil},
		{"CUDA 12", func(c *cudaParts) {
			c.driver, c.driverCUDA = "535.104.05", 12020
			c.plugin, c.cudnnIs = "/lib/jax_plugins/xla_cuda12/xla_cuda_plugin.so", 90800
		}, "", OK, nil},
		{"plugin of its own", func(c *cudaParts) { c.plugin, c.driverCUDA = "/opt/pjrt_cuda.so", 12040 }, "", OK, nil},
		{"no driver", func(c *cudaParts) { c.driverCUDA = 0 }, "NVIDIA driver", Missing, []string{"libcuda.so.1", "580"}},
		{"old driver", func(c *cudaParts) { c.driver, c.driverCUDA = "535.104.05", 12020 }, "NVIDIA driver", Broken,
			[]string{"535.104.05", "CUDA 12.2", "CUDA 13", "580 or newer"}},
		{"older driver", func(c *cudaParts) {
			c.driverCUDA, c.plugin = 11040, "/lib/jax_plugins/xla_cuda12/xla_cuda_plugin.so"
		}, "NVIDIA driver", Broken, []string{"CUDA 11.4", "CUDA 12", "525 or newer"}},
		{"driver for a CUDA to come", func(c *cudaParts) {
			c.plugin = "/lib/jax_plugins/xla_cuda14/xla_cuda_plugin.so"
		}, "NVIDIA driver", Broken, []string{"CUDA 14", "newer NVIDIA driver"}},
		{"broken plugin", func(c *cudaParts) { c.err = errors.New("not a library") }, "XLA CUDA plugin", Broken,
			[]string{"not a library", "make setup-cuda"}},
		{"no compiler", func(c *cudaParts) { c.compiler = errors.New("ptxas is missing") }, "CUDA compiler", Missing,
			[]string{"ptxas", "make setup-cuda"}},
		{"no cuDNN", func(c *cudaParts) { c.cudnnIs = 0 }, "cuDNN", Missing, []string{"libcudnn.so.9", "make setup-cuda"}},
		{"old cuDNN", func(c *cudaParts) { c.cudnnIs = 91002 }, "cuDNN", Broken, []string{"9.10.2", "9.12.0"}},
		{"cuDNN 8", func(c *cudaParts) { c.cudnnIs = 8907 }, "cuDNN", Broken, []string{"8.9.7", "9.12.0"}},
		{"cuDNN 10", func(c *cudaParts) { c.cudnnIs = 100100 }, "cuDNN", Broken, []string{"10.1.0", "newer 9"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			parts := whole
			test.change(&parts)
			found := parts.findings()
			for _, f := range found {
				if want := test.state; f.Name == test.about && f.State != want || f.Name != test.about && f.State != OK {
					t.Errorf("%s is %s: %s", f.Name, f.State, f.Detail)
				}
				for _, w := range test.words {
					if f.Name == test.about && !strings.Contains(f.Detail+" "+f.Fix, w) {
						t.Errorf("%q, mended with %q, doesn't tell %q", f.Detail, f.Fix, w)
					}
				}
			}
			if test.about != "" && !slices.ContainsFunc(found, func(f Finding) bool { return f.Name == test.about }) {
				t.Errorf("nothing is said about %s", test.about)
			}
		})
	}
}

func TestNothingOfCUDA(t *testing.T) {
	var about []string
	for _, f := range (cudaParts{cudnn: "libcudnn.so.9", err: errors.New("no XLA CUDA plugin found")}).findings() {
		about = append(about, f.Name)
		if f.State != Missing || f.Detail == "" || f.Fix == "" {
			t.Errorf("without CUDA, %+v", f)
		}
	}
	if want := []string{"NVIDIA driver", "XLA CUDA plugin", "CUDA compiler", "cuDNN"}; !slices.Equal(about, want) {
		t.Errorf("without CUDA, something is said about %q, want %q", about, want)
	}
}
