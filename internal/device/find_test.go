package device

import (
	"os"
	"path/filepath"
	"testing"
)

// withoutToolkit hides what of CUDA the machine itself has.
func withoutToolkit(t *testing.T) {
	t.Setenv("PATH", "")
	toolkit := cudaToolkit
	cudaToolkit = t.TempDir()
	t.Cleanup(func() { cudaToolkit = toolkit })
}

// A set that only compiles is no plugin for a GPU, and the whole set serves for compiling, too.
func TestFindTarget(t *testing.T) {
	root := t.TempDir()
	t.Setenv("HOME", root)
	withoutToolkit(t)
	t.Setenv("LONGFORM_PJRT_CUDA", "")
	t.Setenv("PJRT_PLUGIN_LIBRARY_PATH", "")
	place := func(set string, files ...string) string {
		dir := filepath.Join(root, ".local", "lib", "longform", set)
		for _, file := range files {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return filepath.Join(dir, "jax_plugins", "xla_cuda13", "xla_cuda_plugin.so")
	}
	const plugin = "jax_plugins/xla_cuda13/xla_cuda_plugin.so"
	compiler := []string{"nvidia/cu13/bin/ptxas", "nvidia/cu13/bin/nvlink", "nvidia/cu13/nvvm/libdevice/libdevice.10.bc"}

	_, err := findTarget()
	fails(t, err, "no XLA CUDA plugin found")
	small := place("target", plugin)
	_, err = findTarget()
	fails(t, err, "ptxas", small)
	place("target", compiler...)
	if got, err := findTarget(); got != small || err != nil {
		t.Errorf("found %q, error %v; want %q", got, err, small)
	}
	if got, err := findPlugin(CUDA); err == nil {
		t.Errorf("%s is taken for a GPU", got)
	}
	whole := place("cuda", plugin)
	if got, err := findPlugin(CUDA); got != whole || err != nil {
		t.Errorf("found %q, error %v; want %q", got, err, whole)
	}
	if got, err := findTarget(); got != small || err != nil {
		t.Errorf("found %q, error %v; want %q, which has a compiler", got, err, small)
	}
	place("cuda", compiler...)
	if got, err := findTarget(); got != whole || err != nil {
		t.Errorf("found %q, error %v; want %q", got, err, whole)
	}
}

func TestFindPlugin(t *testing.T) {
	root := t.TempDir()
	t.Setenv("HOME", filepath.Join(root, "home"))
	t.Setenv("PJRT_PLUGIN_LIBRARY_PATH", filepath.Join(root, "a")+":"+filepath.Join(root, "b"))
	for _, kind := range []string{CPU, CUDA} {
		variable := map[string]string{CPU: "LONGFORM_PJRT_CPU", CUDA: "LONGFORM_PJRT_CUDA"}[kind]
		t.Setenv(variable, "")
		// From the last place to the first: each new one is preferred.
		for _, path := range []string{
			filepath.Join(root, "b", "pjrt_"+kind+".so"),
			filepath.Join(root, "a", "pjrt_c_api_"+kind+"_v0.83.4_plugin.so"),
			filepath.Join(root, "home", ".local", "lib", "longform", "pjrt_"+kind+".so"),
		} {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := findPlugin(kind); got != path {
				t.Errorf("found %q, error %v; want %q", got, err, path)
			}
		}
		own := filepath.Join(root, "own.so")
		t.Setenv(variable, own)
		_, err := findPlugin(kind)
		fails(t, err, variable, own, "no such file")
	}
}
