// The few parts of the PJRT C API that the seam looks at. go-xla speaks the rest of it. Names follow the API's,
// without its prefix; the layout of each struct is fixed by the API, which only ever appends fields and lets
// struct_size tell the two sides what the other knows.
#ifndef LONGFORM_SEAM_H
#define LONGFORM_SEAM_H

#include <stddef.h>
#include <stdint.h>

typedef struct error error_t;
typedef struct client client_t;
typedef struct executable executable_t;
typedef struct loaded_executable loaded_executable_t;

// What a plugin's GetPjrtApi returns: a header and then one function a position, in an order that never changes.
typedef struct {
	size_t size;
	void *extensions;
	struct {
		size_t size;
		void *extensions;
		int major, minor;
	} version;
	void *function[];
} table_t;

enum position {
	ERROR_DESTROY = 0,
	ERROR_MESSAGE = 1,
	CLIENT_COMPILE = 20,
	EXECUTABLE_DESTROY = 40,
	EXECUTABLE_OPTIMIZED_PROGRAM = 48,
	LOADED_EXECUTABLE_GET_EXECUTABLE = 51,
	EXECUTABLE_COMPILED_MEMORY_STATS = 96,
	POSITIONS = 160, // room in a copy for more than go-xla knows, so that what a plugin lacks reads as NULL
};

typedef struct {
	size_t size;
	void *extensions;
	char *code;
	size_t code_size;
	const char *format;
	size_t format_size;
} program_t;

typedef struct {
	size_t size;
	void *extensions;
	client_t *client;
	const program_t *program;
	const char *options;
	size_t options_size;
	loaded_executable_t *executable; // out
} compile_args_t;

// Bytes on the device, as the compiler planned them.
typedef struct {
	int64_t code, argument, output, alias, temporary;
} memory_t;

// A plugin is loaded at most once into its slot.
enum slot { CPU_SLOT, CUDA_SLOT, SLOTS };

// seam_load opens the plugin at path and returns a copy of its table in which compiling goes through
// longformCompile, or NULL and a message to free.
table_t *seam_load(int slot, const char *path, char **message);

// seam_compile calls the plugin's own compile, with text (if not NULL) in place of the program's.
error_t *seam_compile(int slot, compile_args_t *args, char *text, size_t size);

// seam_executable returns what describes a loaded executable; the caller gives it back to seam_destroy.
error_t *seam_executable(int slot, loaded_executable_t *loaded, executable_t **out);
error_t *seam_destroy(int slot, executable_t *executable);

error_t *seam_memory(int slot, executable_t *executable, memory_t *out);

// seam_optimized writes the optimized program's bytes and format; the caller frees both.
error_t *seam_optimized(int slot, executable_t *executable, char **code, size_t *size, char **format);

// seam_message destroys error and returns its text, which the caller frees.
char *seam_message(int slot, error_t *error);

// seam_library says whether the dynamic linker finds the library name.
int seam_library(const char *name);

#endif
