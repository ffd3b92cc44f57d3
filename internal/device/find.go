package device

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const driverFix = "install the NVIDIA driver, 580 or newer, or use device cpu"

// pluginFix says how to get the plugin of a kind.
func pluginFix(kind string) string {
	if kind == CUDA {
		return "run make setup-cuda, or set LONGFORM_PJRT_CUDA to a plugin"
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

const targetFix = "run make setup-target"

// findTarget returns the path of a CUDA plugin that compiles without a GPU: one with NVIDIA's compiler beside itself. It
// may be the small set that runs nothing.
func findTarget() (string, error) {
	path, err := findPlugin(CUDA)
	if err == nil {
		if err = hasCompiler(path); err == nil || os.Getenv("LONGFORM_PJRT_CUDA") != "" {
			return path, err
		}
	}
	for _, dir := range libraries() {
		if paths, _ := filepath.Glob(filepath.Join(dir, "target", jaxPlugin)); len(paths) > 0 {
			return paths[0], hasCompiler(paths[0])
		}
	}
	return "", err
}

// Where XLA looks for the compiler, besides beside itself and on PATH.
var cudaToolkit = "/usr/local/cuda"

// hasCompiler looks for what XLA runs and links when it compiles, where it looks itself.
func hasCompiler(plugin string) error {
	for _, file := range []string{"bin/ptxas", "bin/nvlink", "nvvm/libdevice/libdevice.10.bc"} {
		beside, _ := filepath.Glob(filepath.Join(filepath.Dir(plugin), "..", "..", "nvidia", "*", file))
		toolkit, _ := filepath.Glob(filepath.Join(cudaToolkit, file))
		_, err := exec.LookPath(filepath.Base(file))
		if len(beside) == 0 && len(toolkit) == 0 && err != nil {
			return fmt.Errorf("NVIDIA's %s is missing beside %s", filepath.Base(file), plugin)
		}
	}
	return nil
}

// Where a Python package directory has JAX's plugin, with NVIDIA's libraries in nvidia/ beside jax_plugins/.
var jaxPlugin = filepath.Join("jax_plugins", "xla_cuda1*", "xla_cuda_plugin.so")

// libraries lists the directories that hold longform's own libraries.
func libraries() []string {
	var list []string
	own := filepath.Join("lib", "longform")
	if executable, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(executable); err == nil {
			executable = real
		}
		list = append(list, filepath.Join(filepath.Dir(executable), "..", own))
	}
	if home, err := os.UserHomeDir(); err == nil {
		list = append(list, filepath.Join(home, ".local", own))
	}
	return list
}

// patterns lists where a plugin may lie, the best place first.
func patterns(kind string) []string {
	var list []string
	for _, dir := range libraries() {
		list = append(list, filepath.Join(dir, "pjrt_"+kind+".so"))
		if kind == CUDA {
			list = append(list, filepath.Join(dir, "cuda", jaxPlugin))
		}
	}
	for _, dir := range filepath.SplitList(os.Getenv("PJRT_PLUGIN_LIBRARY_PATH")) {
		list = append(list, filepath.Join(dir, "pjrt_c_api_"+kind+"*_plugin.so"), filepath.Join(dir, "pjrt_"+kind+".so"))
	}
	if kind != CUDA {
		return list
	}
	// JAX's plugin, where pip puts it.
	packages, _ := exec.Command("python3", "-c", `import sys; print(*sys.path, sep="\n")`).Output()
	for _, dir := range strings.Split(strings.TrimSpace(string(packages)), "\n") {
		list = append(list, filepath.Join(dir, jaxPlugin))
	}
	return list
}
