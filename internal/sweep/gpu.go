package sweep

import (
	"os"
	"path/filepath"
	"strings"
)

// visible is the variable by which CUDA is told what GPUs to use.
const visible = "CUDA_VISIBLE_DEVICES"

// gpu is the environment that gives the worker of a slot one GPU of this machine, in
// turn; nothing where there are none.
func gpu(slot int) []string {
	devices := gpus(os.Getenv(visible), "/dev")
	if len(devices) == 0 {
		return nil
	}
	return []string{visible + "=" + devices[slot%len(devices)]}
}

// gpus lists what the variable names, or all that there are.
func gpus(variable, dev string) []string {
	if variable != "" {
		return strings.Split(variable, ",")
	}
	files, _ := filepath.Glob(filepath.Join(dev, "nvidia[0-9]*")) // the pattern is well formed
	var devices []string
	for _, file := range files {
		devices = append(devices, strings.TrimPrefix(filepath.Base(file), "nvidia"))
	}
	return devices
}
