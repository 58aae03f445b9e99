// What is tried on arbitrary bytes, through the C ABI. Nothing here may end the process but by its own checks.
#ifndef EMBEDCOMPRESS_FUZZ_H
#define EMBEDCOMPRESS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "embedcompress.h"

/// The bytes as a table file: what it lists, and each of its first tables, mapped and read.
void fuzz_file(const uint8_t *data, size_t size);
/// The bytes as JSON: the first one chooses who reads the rest, the options of a method or the plan of a table.
void fuzz_json(const uint8_t *data, size_t size);
/// The bytes as lines of word vectors: the first one says how many numbers a line has.
void fuzz_text(const uint8_t *data, size_t size);
/// The bytes as an expression and its arrays: see tree.c.
void fuzz_tree(const uint8_t *data, size_t size);

/// Looks up, pools, decodes, describes; what is small is evaluated, compressed and aligned too.
void use_table(const ec_table *table);

/// A promise of the library that does not hold.
static inline void promise(int holds) {
    if (!holds) abort();
}

#endif
