// The handler of SIGBUS for mapped files: see mapped_files.h. A handler may do next to nothing: here, atomics and mmap.
#include "mapped_files.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static ec_mapping *first_mapping;
static int64_t lost_mappings;
#ifdef __GLIBC__
// Every lookup asks for it. glibc has room for a few such variables of libraries that are loaded later.
__attribute__((tls_model("initial-exec")))
#endif
static _Thread_local int64_t reading_depth;
/// What handled the signal before.
static struct sigaction previous_action;

int64_t *ec_lost_mappings(void) { return &lost_mappings; }

int64_t *ec_reading_depth(void) { return &reading_depth; }

ec_mapping *ec_mapping_at(uintptr_t address) {
    for (ec_mapping *entry = __atomic_load_n(&first_mapping, __ATOMIC_SEQ_CST); entry != NULL; entry = entry->next) {
        uintptr_t start = __atomic_load_n(&entry->start, __ATOMIC_SEQ_CST);
        uintptr_t bytes = __atomic_load_n(&entry->bytes, __ATOMIC_SEQ_CST);
        if (start != 0 && address >= start && address - start < bytes) return entry;
    }
    return NULL;
}

/// Puts zeros in the place of a mapping. What other threads read of them, they read after it is noted.
static int lose(ec_mapping *entry) {
    if (__atomic_exchange_n(&entry->is_lost, 1, __ATOMIC_SEQ_CST) == 0)
        __atomic_fetch_add(&lost_mappings, 1, __ATOMIC_SEQ_CST);
    return mmap(
               (void *)entry->start, entry->bytes, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_FIXED | MAP_ANON | MAP_NORESERVE, -1, 0)
        != MAP_FAILED;
}

/// Leaves a signal to whoever had it before.
static void pass_on(int signal, siginfo_t *info, void *context, int is_sent) {
    static int64_t passed;
    const struct sigaction *previous = &previous_action;
    int takes_info = (previous->sa_flags & SA_SIGINFO) != 0;
    int is_standard = !takes_info && (previous->sa_handler == SIG_DFL || previous->sa_handler == SIG_IGN);
    // A handler that has been told already, and now sends the signal once more, wants the process to end.
    int was_passed = __atomic_exchange_n(&passed, 1, __ATOMIC_SEQ_CST) != 0;
    if (is_standard || (was_passed && is_sent)) {
        if (is_sent && is_standard && previous->sa_handler == SIG_IGN) return;
        // What has failed is tried again after this returns, and fails for good.
        struct sigaction standard = {.sa_handler = SIG_DFL};
        sigaction(signal, &standard, NULL);
        if (is_sent) raise(signal);
    } else if (takes_info) {
        previous->sa_sigaction(signal, info, context);
    } else {
        previous->sa_handler(signal);
    }
}

static void on_bus_error(int signal, siginfo_t *info, void *context) {
    int before = errno;
    int is_sent = info->si_code <= 0 || info->si_code == SI_USER;
    int is_reading = __atomic_load_n(&reading_depth, __ATOMIC_RELAXED) > 0;
    int is_done = 0;
    if (is_reading && is_sent) {
        // A handler that was installed after this one, as Python's faulthandler may be, has this one called by sending
        // the signal again. What has failed is tried again after this returns, and then comes here itself.
        is_done = info->si_pid == getpid();
    } else if (is_reading) {
        ec_mapping *entry = ec_mapping_at((uintptr_t)info->si_addr);
        is_done = entry != NULL && lose(entry);
    }
    if (!is_done) pass_on(signal, info, context, is_sent);
    errno = before;
}

void ec_watch_mappings(void) {
    struct sigaction current;
    if (sigaction(SIGBUS, NULL, &current) != 0) return;
    if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_bus_error) return;
    previous_action = current;
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

ec_mapping *ec_mapping_add(void *start, int64_t bytes, const void *owner) {
    ec_mapping *entry = first_mapping;
    while (entry != NULL && entry->start != 0) entry = entry->next;
    if (entry == NULL) {
        entry = calloc(1, sizeof *entry);
        if (entry == NULL) return NULL;
        entry->next = first_mapping;
        __atomic_store_n(&first_mapping, entry, __ATOMIC_SEQ_CST);
    }
    entry->owner = owner;
    __atomic_store_n(&entry->bytes, (uintptr_t)bytes, __ATOMIC_SEQ_CST);
    __atomic_store_n(&entry->start, (uintptr_t)start, __ATOMIC_SEQ_CST);
    return entry;
}

void ec_mapping_remove(ec_mapping *entry) {
    __atomic_store_n(&entry->start, 0, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&entry->is_lost, 0, __ATOMIC_SEQ_CST) != 0)
        __atomic_fetch_sub(&lost_mappings, 1, __ATOMIC_SEQ_CST);
}
