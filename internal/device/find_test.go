package device

import (
	"os"
	"path/filepath"
	"testing"
)

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
