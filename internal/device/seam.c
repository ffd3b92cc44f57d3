#include "seam.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

static const table_t *plugin[SLOTS];

#define CALL(slot, position, args) (((error_t * (*)(void *)) plugin[slot]->function[position])(args))

static error_t *cpu_compile(compile_args_t *args) { return longformCompile(CPU_SLOT, args); }
static error_t *cuda_compile(compile_args_t *args) { return longformCompile(CUDA_SLOT, args); }

table_t *seam_load(int slot, const char *path, char **message) {
	void *library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
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
	size_t room = header + POSITIONS * sizeof(void *);
	table_t *copy = calloc(1, room > original->size ? room : original->size);
	memcpy(copy, original, original->size);
	copy->function[CLIENT_COMPILE] = slot == CPU_SLOT ? (void *)cpu_compile : (void *)cuda_compile;
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
