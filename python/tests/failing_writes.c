// Makes calls that write files fail, for tests: built as a shared library and loaded first (LD_PRELOAD).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

/// Calls that still succeed; negative for any number of them.
static long rest = -1;
static int failure;
static long calls;

/// After `count` more calls, each fails with `code`; a negative count lets all succeed.
void fail_writes_after(long count, int code) {
    rest = count;
    failure = code;
    calls = 0;
}

/// How many calls there were since.
long writes_so_far(void) { return calls; }

/// Whether this call is to fail. Only files and folders count: what a program prints goes on.
static int fails(int descriptor) {
    struct stat status;
    if (descriptor >= 0 && (fstat(descriptor, &status) != 0 || !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))))
        return 0;
    calls++;
    if (rest < 0) return 0;
    if (rest > 0) {
        rest--;
        return 0;
    }
    errno = failure;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int descriptor, const void *bytes, size_t count) {
    return fails(descriptor) ? -1 : REAL(write)(descriptor, bytes, count);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    return fails(descriptor) ? -1 : REAL(pwrite)(descriptor, bytes, count, offset);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    return fails(descriptor) ? -1 : REAL(pwrite64)(descriptor, bytes, count, offset);
}

int fsync(int descriptor) { return fails(descriptor) ? -1 : REAL(fsync)(descriptor); }

int linkat(int from, const char *source, int to, const char *target, int flags) {
    return fails(-1) ? -1 : REAL(linkat)(from, source, to, target, flags);
}

int rename(const char *source, const char *target) { return fails(-1) ? -1 : REAL(rename)(source, target); }
