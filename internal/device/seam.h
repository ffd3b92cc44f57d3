// The few parts of the PJRT C API that the seam looks at. go-xla speaks the rest of it. Names follow the API's,
// without its prefix; the layout of each struct is fixed by the API, which only ever appends fields and lets
// struct_size tell the two sides what the other knows.
#ifndef LONGFORM_SEAM_H
#define LONGFORM_SEAM_H

#include <stddef.h>
#include <stdint.h>

typedef struct error error_t;
typedef struct event event_t;
typedef struct client client_t;
typedef struct executable executable_t;
typedef struct loaded_executable loaded_executable_t;
typedef struct topology topology_t;

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
	EVENT_DESTROY = 5,
	EVENT_AWAIT = 8,
	CLIENT_CREATE = 10,
	CLIENT_DESTROY = 11,
	CLIENT_PLATFORM_NAME = 12,
	CLIENT_PROCESS_INDEX = 13,
	CLIENT_PLATFORM_VERSION = 14,
	CLIENT_ADDRESSABLE_DEVICES = 16,
	CLIENT_COMPILE = 20,
	DEVICE_DESCRIPTION_KIND = 26,
	DEVICE_GET_DESCRIPTION = 29,
	DEVICE_MEMORY_STATS = 34,
	EXECUTABLE_DESTROY = 40,
	EXECUTABLE_OPTIMIZED_PROGRAM = 48,
	EXECUTABLE_SERIALIZE = 49,
	LOADED_EXECUTABLE_DESTROY = 50,
	LOADED_EXECUTABLE_GET_EXECUTABLE = 51,
	LOADED_EXECUTABLE_EXECUTE = 55,
	EXECUTABLE_DESERIALIZE_AND_LOAD = 56,
	TOPOLOGY_CREATE = 82,
	TOPOLOGY_DESTROY = 83,
	TOPOLOGY_ATTRIBUTES = 88,
	COMPILE = 89,
	CLIENT_TOPOLOGY = 95,
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

// The start of what making a client takes.
typedef struct {
	size_t size;
	void *extensions;
	const void *options;
	size_t options_count;
	void *callbacks[4];
	client_t *client; // out
} create_args_t;

// The start of what starting a program takes.
typedef struct {
	size_t size;
	void *extensions;
	loaded_executable_t *executable;
	void *options, *arguments;
	size_t devices, argument_count;
	void *outputs;
	void *complete; // out: an event a device, unless NULL
} execute_args_t;

// What awaiting or destroying an event takes.
typedef struct {
	size_t size;
	void *extensions;
	event_t *event;
} event_args_t;

// Bytes on the device, as the compiler planned them.
typedef struct {
	int64_t code, argument, output, alias, temporary;
} memory_t;

// A plugin is loaded at most once into its slot.
enum slot { CPU_SLOT, CUDA_SLOT, TARGET_SLOT, SLOTS };

// A name and a value: create options, attributes, costs.
typedef struct {
	size_t size;
	void *extensions;
	const char *name;
	size_t name_size;
	enum { STRING_VALUE, INT64_VALUE, INT64_ARRAY_VALUE, FLOAT_VALUE, BOOL_VALUE } type;
	union {
		const char *string;
		int64_t int64;
		const int64_t *int64s;
		float number;
		_Bool boolean;
	};
	size_t value_size;
} named_t;

// seam_load opens the plugin at path and returns a copy of its table, or NULL and a message to free. In the copy
// compiling goes through longformCompile, and starting a program doesn't wait for its end.
table_t *seam_load(int slot, const char *path, char **message);

// seam_settle waits for the end of the program that the CPU was given last. seam_trim gives the memory that malloc keeps
// back to the system.
void seam_settle(void);
void seam_trim(void);

// seam_call calls a function of the plugin's own.
error_t *seam_call(int slot, enum position position, void *args);

// seam_client returns the newest client of a plugin.
client_t *seam_client(int slot);

// seam_compile calls the plugin's own compile, with text (if not NULL) in place of the program's.
error_t *seam_compile(int slot, compile_args_t *args, char *text, size_t size);

// seam_serialize writes bytes that seam_deserialize makes the executable from again; the caller frees them.
error_t *seam_serialize(int slot, executable_t *executable, char **bytes, size_t *size);
error_t *seam_deserialize(int slot, client_t *client, const char *bytes, size_t size, loaded_executable_t **out);

// seam_version and seam_kind give the version of the platform behind a client and the kind of its first device, which
// live as long as the client and end where size says.
error_t *seam_version(int slot, client_t *client, const char **version, size_t *size);
error_t *seam_kind(int slot, client_t *client, const char **kind, size_t *size);

// seam_first_device gives a client's first device, NULL if it has none.
error_t *seam_first_device(int slot, client_t *client, void **device);

// seam_executable returns what describes a loaded executable; the caller gives it back to seam_destroy.
error_t *seam_executable(int slot, loaded_executable_t *loaded, executable_t **out);
error_t *seam_destroy(int slot, executable_t *executable);

error_t *seam_memory(int slot, executable_t *executable, memory_t *out);

// seam_optimized writes the optimized program's bytes and format; the caller frees both.
error_t *seam_optimized(int slot, executable_t *executable, char **code, size_t *size, char **format);

// seam_message destroys error and returns its text, which the caller frees.
char *seam_message(int slot, error_t *error);

// few_register makes the products of few.c known to a plugin for the CPU, as FEW_TARGET and for so many threads, and says whether
// they are: not for a processor without vectors for which they are written.
#define FEW_TARGET "longform_few"
int few_register(const table_t *plugin, int threads);

// few_use chooses the vectors that it computes with, and says whether the processor has them. few_register takes the widest.
enum vectors { AVX2_VECTORS, AVX512_VECTORS };
int few_use(enum vectors vectors);

// seam_library says whether the dynamic linker finds the library name.
int seam_library(const char *name);

#endif
