package device

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The driver's library, which comes with the NVIDIA driver and not with CUDA.
const cudaDriver = "libcuda.so.1"

const driverFix = "install the NVIDIA driver, 580 or newer, or use device cpu"

// pluginFix says how to get the plugin of a kind.
func pluginFix(kind string) string {
	if kind == CUDA {
		return `run python3 -m pip install "jax[cuda13]", or set LONGFORM_PJRT_CUDA to a plugin`
	}
	return "run make setup, or set LONGFORM_PJRT_CPU to a plugin"
}

// findPlugin returns the path of the plugin of a kind, "cpu" or "cuda". A plugin named by LONGFORM_PJRT_CPU or
// LONGFORM_PJRT_CUDA is taken or is an error; otherwise the first that exists.
func findPlugin(kind string) (string, error) {
	variable := "LONGFORM_PJRT_" + strings.ToUpper(kind)
	if path := os.Getenv(variable); path != "" {
		if !filepath.IsAbs(path) {
			return "", fmt.Errorf("%s=%s is not an absolute path", variable, path)
		}
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s=%s: no such file", variable, path)
		}
		return path, nil
	}
	for _, pattern := range patterns(kind) {
		if paths, _ := filepath.Glob(pattern); len(paths) > 0 {
			return paths[len(paths)-1], nil // the newest
		}
	}
	return "", fmt.Errorf("no XLA %s plugin found", strings.ToUpper(kind))
}

// patterns lists where a plugin may lie, the best place first.
func patterns(kind string) []string {
	var list []string
	own := filepath.Join("lib", "longform", "pjrt_"+kind+".so")
	if executable, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(executable); err == nil {
			executable = real
		}
		list = append(list, filepath.Join(filepath.Dir(executable), "..", own))
	}
	if home, err := os.UserHomeDir(); err == nil {
		list = append(list, filepath.Join(home, ".local", own))
	}
	for _, dir := range filepath.SplitList(os.Getenv("PJRT_PLUGIN_LIBRARY_PATH")) {
		list = append(list, filepath.Join(dir, "pjrt_c_api_"+kind+"*_plugin.so"), filepath.Join(dir, "pjrt_"+kind+".so"))
	}
	if kind != CUDA {
		return list
	}
	// JAX's plugin, where pip puts it, finds NVIDIA's libraries beside itself.
	packages, _ := exec.Command("python3", "-c", `import sys; print(*sys.path, sep="\n")`).Output()
	for _, dir := range strings.Split(strings.TrimSpace(string(packages)), "\n") {
		list = append(list, filepath.Join(dir, "jax_plugins", "xla_cuda1*", "xla_cuda_plugin.so"))
	}
	return list
}
