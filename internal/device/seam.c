#include "seam.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "_cgo_export.h"
#include "target.h"

static const table_t *plugin[SLOTS];
static client_t *newest[SLOTS];

#define CALL(slot, position, args) (((error_t * (*)(void *)) plugin[slot]->function[position])(args))

static error_t *cpu_compile(compile_args_t *args) { return longformCompile(CPU_SLOT, args); }
static error_t *cuda_compile(compile_args_t *args) { return longformCompile(CUDA_SLOT, args); }
static error_t *target_compile(compile_args_t *args) { return longformCompile(TARGET_SLOT, args); }
static void *const compiles[SLOTS] = {(void *)cpu_compile, (void *)cuda_compile, (void *)target_compile};

error_t *seam_call(int slot, enum position position, void *args) { return CALL(slot, position, args); }

static error_t *create(int slot, create_args_t *args) {
	error_t *error = CALL(slot, CLIENT_CREATE, args);
	if (error == NULL) {
		newest[slot] = args->client;
	}
	return error;
}

static error_t *cpu_create(create_args_t *args) { return create(CPU_SLOT, args); }
static error_t *cuda_create(create_args_t *args) { return create(CUDA_SLOT, args); }
static error_t *target_create(create_args_t *args) { return create(TARGET_SLOT, args); }
static void *const creates[SLOTS] = {(void *)cpu_create, (void *)cuda_create, (void *)target_create};

client_t *seam_client(int slot) { return newest[slot]; }

// quiet_dlopen keeps XLA from telling standard error, while it is loaded, that there is no CUDA driver.
static void *quiet_dlopen(const char *path) {
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC), standard = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	if (nowhere >= 0 && standard >= 0) {
		dup2(nowhere, STDERR_FILENO);
	}
	void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (nowhere >= 0 && standard >= 0) {
		dup2(standard, STDERR_FILENO);
	}
	close(nowhere);
	close(standard);
	return library;
}

// go-xla asks how much memory each program takes, which is slow to add up, and doesn't use the answer.
static error_t *no_memory_stats(void *args) { return NULL; }

static _Atomic(event_t *) last; // that tells the end of the program that the CPU was given last

static void drop(event_t *event) {
	if (event != NULL) {
		event_args_t args = {.size = sizeof args, .event = event};
		CALL(CPU_SLOT, EVENT_DESTROY, &args);
	}
}

void seam_settle(void) {
	event_t *event = atomic_exchange(&last, NULL);
	if (event != NULL) {
		event_args_t args = {.size = sizeof args, .event = event};
		error_t *error = CALL(CPU_SLOT, EVENT_AWAIT, &args);
		if (error != NULL) { // which its outputs tell, too
			free(seam_message(CPU_SLOT, error));
		}
		drop(event);
	}
}

void seam_trim(void) { malloc_trim(0); }

// go-xla asks for an event that tells the end of a program, to wait for it. Nobody has to: what reads an output waits.
static error_t *cpu_execute(execute_args_t *args) {
	event_t *event = NULL;
	args->complete = &event;
	error_t *error = CALL(CPU_SLOT, LOADED_EXECUTABLE_EXECUTE, args);
	args->complete = NULL;
	drop(atomic_exchange(&last, error == NULL ? event : NULL));
	return error;
}

static error_t *cuda_execute(execute_args_t *args) {
	args->complete = NULL;
	return CALL(CUDA_SLOT, LOADED_EXECUTABLE_EXECUTE, args);
}

static void *const execute[SLOTS] = {(void *)cpu_execute, (void *)cuda_execute}; // a target runs nothing

// one_arena makes all threads allocate from the arena of which keep_memory speaks: others are bounded, and what is larger is
// mapped and unmapped. It runs before there are threads, since a thread keeps the arena that it once has.
__attribute__((constructor)) static void one_arena(void) { mallopt(M_ARENA_MAX, 1); }

// keep_memory makes malloc keep what is freed. XLA on the CPU takes its temporaries from malloc at each run of a program, and
// glibc would give such large pieces back to the system after it: a sixth of a small model's step went into faulting the
// same pages in again.
static void keep_memory(void) {
	mallopt(M_MMAP_MAX, 0);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

table_t *seam_load(int slot, const char *path, char **message) {
	if (slot == CPU_SLOT) {
		keep_memory();
	}
	void *library = quiet_dlopen(path);
	if (library == NULL) {
		*message = strdup(dlerror());
		return NULL;
	}
	const table_t *(*get)(void) = (const table_t *(*)(void))dlsym(library, "GetPjrtApi");
	const table_t *original = get == NULL ? NULL : get();
	size_t header = offsetof(table_t, function);
	if (original == NULL || original->size < header + (EXECUTABLE_COMPILED_MEMORY_STATS + 1) * sizeof(void *)) {
		*message = strdup(get == NULL ? "it has no GetPjrtApi, so it is not a PJRT plugin" : "its PJRT API is too old");
		dlclose(library);
		return NULL;
	}
	if (slot == TARGET_SLOT) {
		original = target_plugin(original);
	}
	size_t room = header + POSITIONS * sizeof(void *);
	table_t *copy = calloc(1, room > original->size ? room : original->size);
	memcpy(copy, original, original->size);
	copy->function[CLIENT_COMPILE] = compiles[slot];
	copy->function[CLIENT_CREATE] = creates[slot];
	if (execute[slot] != NULL) {
		copy->function[LOADED_EXECUTABLE_EXECUTE] = execute[slot];
	}
	copy->function[EXECUTABLE_COMPILED_MEMORY_STATS] = (void *)no_memory_stats;
	plugin[slot] = original;
	return copy;
}

error_t *seam_compile(int slot, compile_args_t *args, char *text, size_t size) {
	const program_t *given = args->program;
	program_t changed = *given;
	if (text != NULL) {
		changed.code = text;
		changed.code_size = size;
		args->program = &changed;
	}
	error_t *error = CALL(slot, CLIENT_COMPILE, args);
	args->program = given;
	return error;
}

error_t *seam_serialize(int slot, executable_t *executable, char **bytes, size_t *size) {
	struct {
		size_t size;
		void *extensions;
		executable_t *executable;
		const char *bytes;
		size_t bytes_size;
		void *owner;
		void (*destroy)(void *owner);
	} args = {.size = sizeof args, .executable = executable};
	error_t *error = CALL(slot, EXECUTABLE_SERIALIZE, &args);
	if (error != NULL) {
		return error;
	}
	*bytes = malloc(args.bytes_size + 1);
	memcpy(*bytes, args.bytes, args.bytes_size);
	*size = args.bytes_size;
	args.destroy(args.owner);
	return NULL;
}

error_t *seam_deserialize(int slot, client_t *client, const char *bytes, size_t size, loaded_executable_t **out) {
	struct {
		size_t size;
		void *extensions;
		client_t *client;
		const char *bytes;
		size_t bytes_size;
		loaded_executable_t *loaded;
		const char *options; // NULL: those that it was compiled with
		size_t options_size;
	} args = {.size = sizeof args, .client = client, .bytes = bytes, .bytes_size = size};
	error_t *error = CALL(slot, EXECUTABLE_DESERIALIZE_AND_LOAD, &args);
	*out = args.loaded;
	return error;
}

error_t *seam_version(int slot, client_t *client, const char **version, size_t *size) {
	struct {
		size_t size;
		void *extensions;
		client_t *client;
		const char *version;
		size_t version_size;
	} args = {.size = sizeof args, .client = client};
	error_t *error = CALL(slot, CLIENT_PLATFORM_VERSION, &args);
	*version = args.version;
	*size = args.version_size;
	return error;
}

error_t *seam_first_device(int slot, client_t *client, void **device) {
	struct {
		size_t size;
		void *extensions;
		client_t *client;
		void *const *devices;
		size_t count;
	} list = {.size = sizeof list, .client = client};
	error_t *error = CALL(slot, CLIENT_ADDRESSABLE_DEVICES, &list);
	*device = error != NULL || list.count == 0 ? NULL : list.devices[0];
	return error;
}

error_t *seam_kind(int slot, client_t *client, const char **kind, size_t *size) {
	*size = 0;
	void *device;
	error_t *error = seam_first_device(slot, client, &device);
	if (device == NULL) {
		return error;
	}
	struct {
		size_t size;
		void *extensions;
		void *device;
		void *description;
	} get = {.size = sizeof get, .device = device};
	if ((error = CALL(slot, DEVICE_GET_DESCRIPTION, &get)) != NULL) {
		return error;
	}
	struct {
		size_t size;
		void *extensions;
		void *description;
		const char *kind;
		size_t kind_size;
	} args = {.size = sizeof args, .description = get.description};
	error = CALL(slot, DEVICE_DESCRIPTION_KIND, &args);
	*kind = args.kind;
	*size = args.kind_size;
	return error;
}

error_t *seam_executable(int slot, loaded_executable_t *loaded, executable_t **out) {
	struct {
		size_t size;
		void *extensions;
		loaded_executable_t *loaded;
		executable_t *executable;
	} args = {.size = sizeof args, .loaded = loaded};
	error_t *error = CALL(slot, LOADED_EXECUTABLE_GET_EXECUTABLE, &args);
	*out = args.executable;
	return error;
}

error_t *seam_destroy(int slot, executable_t *executable) {
	struct {
		size_t size;
		void *extensions;
		executable_t *executable;
	} args = {.size = sizeof args, .executable = executable};
	return CALL(slot, EXECUTABLE_DESTROY, &args);
}

error_t *seam_memory(int slot, executable_t *executable, memory_t *out) {
	struct {
		size_t size;
		void *extensions;
		executable_t *executable;
		memory_t memory;
		int64_t more[32]; // newer plugins tell more, and refuse a struct that has no room for it
	} args = {.size = sizeof args, .executable = executable};
	error_t *error = CALL(slot, EXECUTABLE_COMPILED_MEMORY_STATS, &args);
	*out = args.memory;
	return error;
}

error_t *seam_optimized(int slot, executable_t *executable, char **code, size_t *size, char **format) {
	program_t program = {.size = sizeof program};
	struct {
		size_t size;
		void *extensions;
		executable_t *executable;
		program_t *program;
	} args = {.size = sizeof args, .executable = executable, .program = &program};
	// The first call tells the size, the second fills the memory that it finds.
	error_t *error = CALL(slot, EXECUTABLE_OPTIMIZED_PROGRAM, &args);
	if (error != NULL) {
		return error;
	}
	program.code = malloc(program.code_size + 1);
	error = CALL(slot, EXECUTABLE_OPTIMIZED_PROGRAM, &args);
	if (error != NULL) {
		free(program.code);
		return error;
	}
	*code = program.code;
	*size = program.code_size;
	*format = strndup(program.format, program.format_size);
	return NULL;
}

char *seam_message(int slot, error_t *error) {
	struct {
		size_t size;
		void *extensions;
		error_t *error;
		const char *message;
		size_t message_size;
	} args = {.size = sizeof args, .error = error};
	((void (*)(void *))plugin[slot]->function[ERROR_MESSAGE])(&args);
	char *text = strndup(args.message, args.message_size);
	struct {
		size_t size;
		void *extensions;
		error_t *error;
	} destroy = {.size = sizeof destroy, .error = error};
	((void (*)(void *))plugin[slot]->function[ERROR_DESTROY])(&destroy);
	return text;
}

int seam_library(const char *name) {
	void *library = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
	if (library == NULL) {
		return 0;
	}
	dlclose(library);
	return 1;
}
