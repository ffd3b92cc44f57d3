#include "gpu.h"

#include <dlfcn.h>
#include <string.h>

error_t *gpu_device(int slot, client_t *client, const char **kind, size_t *size, int64_t *limit, int64_t *peak) {
	*limit = 0;
	*peak = 0;
	error_t *error = seam_kind(slot, client, kind, size);
	void *device = NULL;
	if (error != NULL || (error = seam_first_device(slot, client, &device)) != NULL || device == NULL) {
		return error;
	}
	typedef struct {
		int64_t value;
		_Bool known;
	} stat_t;
	struct {
		size_t size;
		void *extensions, *device;
		int64_t in_use;
		stat_t peak, allocations, largest, limit, more[16];
	} stats = {.size = sizeof stats, .device = device};
	if ((error = seam_call(slot, DEVICE_MEMORY_STATS, &stats)) == NULL) {
		*limit = stats.limit.known ? stats.limit.value : 0;
		*peak = stats.peak.known ? stats.peak.value : 0;
	}
	return error;
}

static const named_t *find(const named_t *list, size_t count, const char *name) {
	for (size_t i = 0; i < count; i++) {
		if (list[i].name_size == strlen(name) && memcmp(list[i].name, name, list[i].name_size) == 0) {
			return &list[i];
		}
	}
	return NULL;
}

error_t *gpu_attribute(int slot, client_t *client, const char *name, const char **value, size_t *size) {
	*value = NULL;
	struct {
		size_t size;
		void *extensions;
		client_t *client;
		topology_t *topology;
	} get = {.size = sizeof get, .client = client};
	error_t *error = seam_call(slot, CLIENT_TOPOLOGY, &get);
	if (error != NULL) {
		return error;
	}
	struct {
		size_t size;
		void *extensions;
		topology_t *topology;
		const named_t *list;
		size_t count;
	} args = {.size = sizeof args, .topology = get.topology};
	if ((error = seam_call(slot, TOPOLOGY_ATTRIBUTES, &args)) != NULL) {
		return error;
	}
	const named_t *found = find(args.list, args.count, name);
	if (found != NULL && found->type == STRING_VALUE) {
		*value = found->string;
		*size = found->value_size;
	}
	return NULL;
}

int gpu_driver_version(const char *library) {
	int version = 0;
	void *driver = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
	int (*get)(int *) = driver == NULL ? NULL : (int (*)(int *))dlsym(driver, "cuDriverGetVersion");
	return get != NULL && get(&version) == 0 ? version : 0;
}

size_t gpu_cudnn_version(const char *library) {
	void *cudnn = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
	size_t (*get)(void) = cudnn == NULL ? NULL : (size_t (*)(void))dlsym(cudnn, "cudnnGetVersion");
	return get == NULL ? 0 : get();
}
