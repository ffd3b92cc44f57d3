// What go-xla doesn't ask a plugin about a GPU and its programs. Strings live as long as what they were asked of, and end
// where size says.
#ifndef LONGFORM_GPU_H
#define LONGFORM_GPU_H

#include "seam.h"

// gpu_device tells the kind of a client's first device, such as "NVIDIA H100 80GB HBM3", and of its allocator how many
// bytes it may hand out and how many it had at most handed out at a time; 0 where that isn't known.
error_t *gpu_device(int slot, client_t *client, const char **kind, size_t *size, int64_t *limit, int64_t *peak);

// gpu_attribute tells a string that describes a client's topology, NULL if it has none of that name.
error_t *gpu_attribute(int slot, client_t *client, const char *name, const char **value, size_t *size);

// gpu_driver_version tells the newest CUDA that the driver's library knows, 13000 for 13.0; gpu_cudnn_version the version
// of cuDNN's, 91002 for 9.10.2. They are 0 where there is no such library. Both stay loaded.
int gpu_driver_version(const char *library);
size_t gpu_cudnn_version(const char *library);

#endif
