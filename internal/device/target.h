// A plugin that compiles for a GPU that isn't here: the CUDA plugin's compiler behind the few functions that go-xla
// calls to get a client and to compile. Its client is the description of a GPU, and its executables only tell about
// themselves.
#ifndef LONGFORM_TARGET_H
#define LONGFORM_TARGET_H

#include "seam.h"

// target_plugin returns the table of that plugin, made of the CUDA plugin's.
const table_t *target_plugin(const table_t *cuda);

// target_describe makes the next client a GPU as description, a text GpuTargetConfigProto, has it. Programs are compiled
// for it with extra, a part of a serialized CompileOptionsProto, behind their own options.
error_t *target_describe(const char *description, size_t size, const char *extra, size_t extra_size);

#endif
