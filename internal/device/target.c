#include "target.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct client {
	topology_t *topology;
	char *extra; // options
	size_t extra_size;
};

// An executable that was compiled and not loaded. Several handles may lead to it, and the last one frees it.
struct loaded_executable {
	executable_t *executable;
	int handles;
	loaded_executable_t *next;
};

static const table_t *cuda;
static client_t *described; // by target_describe, for create_client
static loaded_executable_t *loaded;
static pthread_mutex_t loaded_mutex = PTHREAD_MUTEX_INITIALIZER;

#define CALL(position, args) (((error_t * (*)(void *)) cuda->function[position])(args))

error_t *target_describe(const char *description, size_t size, const char *extra, size_t extra_size) {
	named_t options[] = {
		{.size = sizeof(named_t), .name = "target_config", .name_size = strlen("target_config"),
		 .type = STRING_VALUE, .string = description, .value_size = size},
		{.size = sizeof(named_t), .name = "topology", .name_size = strlen("topology"),
		 .type = STRING_VALUE, .string = "1x1x1", .value_size = strlen("1x1x1")}, // slices, hosts, GPUs of a host
	};
	struct {
		size_t size;
		void *extensions;
		const char *name;
		size_t name_size;
		const named_t *options;
		size_t options_count;
		topology_t *topology;
	} args = {.size = sizeof args, .name = "", .options = options, .options_count = 2};
	error_t *error = CALL(TOPOLOGY_CREATE, &args);
	if (error != NULL) {
		return error;
	}
	described = malloc(sizeof *described);
	*described = (client_t){.topology = args.topology, .extra = malloc(extra_size), .extra_size = extra_size};
	memcpy(described->extra, extra, extra_size);
	return NULL;
}

static error_t *create_client(create_args_t *args) {
	args->client = described;
	described = NULL;
	return NULL;
}

typedef struct {
	size_t size;
	void *extensions;
	client_t *client;
	union {
		struct {
			const void *pointer;
			size_t size;
		} out;
		int number;
	};
} client_args_t;

static error_t *destroy_client(client_args_t *args) {
	struct {
		size_t size;
		void *extensions;
		topology_t *topology;
	} destroy = {.size = sizeof destroy, .topology = args->client->topology};
	free(args->client->extra);
	free(args->client);
	return CALL(TOPOLOGY_DESTROY, &destroy);
}

static error_t *platform_name(client_args_t *args) {
	args->out.pointer = "cuda";
	args->out.size = strlen("cuda");
	return NULL;
}

static error_t *platform_version(client_args_t *args) {
	args->out.pointer = "";
	args->out.size = 0;
	return NULL;
}

static error_t *process_index(client_args_t *args) {
	args->number = 0;
	return NULL;
}

static error_t *addressable_devices(client_args_t *args) {
	args->out.pointer = NULL;
	args->out.size = 0; // there are none
	return NULL;
}

static error_t *topology(client_args_t *args) {
	args->out.pointer = args->client->topology;
	return NULL;
}

static error_t *compile(compile_args_t *given) {
	const client_t *client = given->client;
	size_t options_size = given->options_size + client->extra_size;
	char *options = malloc(options_size);
	memcpy(options, given->options, given->options_size);
	memcpy(options + given->options_size, client->extra, client->extra_size);
	struct {
		size_t size;
		void *extensions;
		const topology_t *topology;
		const program_t *program;
		const char *options;
		size_t options_size;
		client_t *client;
		executable_t *executable;
	} args = {.size = sizeof args, .topology = client->topology, .program = given->program,
		  .options = options, .options_size = options_size};
	error_t *error = CALL(COMPILE, &args);
	free(options);
	if (error != NULL) {
		return error;
	}
	given->executable = malloc(sizeof *given->executable);
	pthread_mutex_lock(&loaded_mutex);
	*given->executable = (loaded_executable_t){.executable = args.executable, .handles = 1, .next = loaded};
	loaded = given->executable;
	pthread_mutex_unlock(&loaded_mutex);
	return NULL;
}

typedef struct {
	size_t size;
	void *extensions;
	union {
		loaded_executable_t *loaded;
		executable_t *executable;
	};
	executable_t *out;
} executable_args_t;

static error_t *get_executable(executable_args_t *args) {
	pthread_mutex_lock(&loaded_mutex);
	args->loaded->handles++;
	pthread_mutex_unlock(&loaded_mutex);
	args->out = args->loaded->executable;
	return NULL;
}

static error_t *destroy_executable(executable_args_t *args) {
	pthread_mutex_lock(&loaded_mutex);
	loaded_executable_t **at = &loaded;
	while (*at != NULL && (*at)->executable != args->executable) {
		at = &(*at)->next;
	}
	loaded_executable_t *found = *at;
	int last = found != NULL && --found->handles == 0;
	if (last) {
		*at = found->next;
	}
	pthread_mutex_unlock(&loaded_mutex);
	if (!last) {
		return NULL;
	}
	free(found);
	return CALL(EXECUTABLE_DESTROY, args);
}

static error_t *destroy_loaded(executable_args_t *args) {
	executable_args_t handle = {.size = offsetof(executable_args_t, out), .executable = args->loaded->executable};
	return destroy_executable(&handle);
}

const table_t *target_plugin(const table_t *original) {
	cuda = original;
	table_t *made = malloc(original->size);
	memcpy(made, original, original->size);
	made->function[CLIENT_CREATE] = (void *)create_client;
	made->function[CLIENT_DESTROY] = (void *)destroy_client;
	made->function[CLIENT_PLATFORM_NAME] = (void *)platform_name;
	made->function[CLIENT_PROCESS_INDEX] = (void *)process_index;
	made->function[CLIENT_PLATFORM_VERSION] = (void *)platform_version;
	made->function[CLIENT_ADDRESSABLE_DEVICES] = (void *)addressable_devices;
	made->function[CLIENT_TOPOLOGY] = (void *)topology;
	made->function[CLIENT_COMPILE] = (void *)compile;
	made->function[EXECUTABLE_DESTROY] = (void *)destroy_executable;
	made->function[LOADED_EXECUTABLE_DESTROY] = (void *)destroy_loaded;
	made->function[LOADED_EXECUTABLE_GET_EXECUTABLE] = (void *)get_executable;
	return made;
}
