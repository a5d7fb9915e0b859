#pragma once

// HIVQ_VECTOR_CLONES: a function compiled for several vector widths, of which the machine's widest is chosen at start.

#define HIVQ_VECTOR_CLONES
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#undef HIVQ_VECTOR_CLONES
#define HIVQ_VECTOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
