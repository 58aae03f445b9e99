// What Swift cannot say about mapped files: a handler of SIGBUS, the signal of a thread that reads a page which the file
// does not have any more, or which its drive cannot give. Within a call of this library the handler puts zeros in the
// place of the mapping and notes that it is lost, so that the call goes on, and then fails. Everything else is left to
// the handler that was there before.
//
// Functions and not inline ones: what they stand on must be there once, and Swift would compile a copy for each of its files.
#ifndef EMBEDCOMPRESS_MAPPED_FILES_H
#define EMBEDCOMPRESS_MAPPED_FILES_H

#include <stdint.h>

// Of this library alone, also where its symbols are exported.
#define EC_OWN __attribute__((visibility("hidden")))

/// A mapping of a file. Entries are used again and never freed, because a handler may be looking at them.
typedef struct ec_mapping {
    /// 0 for an entry that is free.
    uintptr_t start;
    uintptr_t bytes;
    int64_t is_lost;
    /// Not for the handler.
    const void *owner;
    struct ec_mapping *next;
} ec_mapping;

/// How many mappings are lost.
EC_OWN __attribute__((returns_nonnull)) int64_t *ec_lost_mappings(void);

/// How many calls that read mapped files this thread is in, one within the other.
EC_OWN __attribute__((returns_nonnull)) int64_t *ec_reading_depth(void);

static inline void ec_set_reading_depth(int64_t *depth, int64_t value) {
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(depth, value, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/// The mapping that an address lies in, or null.
EC_OWN ec_mapping *ec_mapping_at(uintptr_t address);

// MARK: - One thread at a time

/// Sees to it that the handler is the first one.
EC_OWN void ec_watch_mappings(void);
/// Null when there is no memory.
EC_OWN ec_mapping *ec_mapping_add(void *start, int64_t bytes, const void *owner);
/// Before the memory is given back.
EC_OWN void ec_mapping_remove(ec_mapping *entry);

#endif
