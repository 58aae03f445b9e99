#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

/// A file of this process that each case overwrites.
static int descriptor = -1;
static char path[4096];

static void remove_file(void) { unlink(path); }

static void open_file(void) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/embedcompress-fuzz-XXXXXX", folder != NULL ? folder : "/tmp");
    descriptor = mkstemp(path);
    promise(descriptor >= 0);
    atexit(remove_file);
}

static void write_file(const uint8_t *data, size_t size) {
    promise(ftruncate(descriptor, 0) == 0);
    for (size_t done = 0; done < size;) {
        const ssize_t written = pwrite(descriptor, data + done, size - done, (off_t)done);
        promise(written > 0);
        done += (size_t)written;
    }
}

void fuzz_file(const uint8_t *data, size_t size) {
    if (descriptor < 0) open_file();
    write_file(data, size);
    ec_string listed;
    if (ec_file_contents(path, &listed) != EC_OK) {
        ec_table *table;
        promise(ec_load(path, NULL, 1, &table) != EC_OK);
        return;
    }
    // A name without what JSON escapes, out of {"is_table_file":...,"tables":["name",...
    char name[256] = "";
    const char *start = strstr(listed.bytes, "\"tables\":[\"");
    if (start != NULL) {
        start += strlen("\"tables\":[\"");
        const size_t length = strcspn(start, "\"\\");
        if (length < sizeof name) memcpy(name, start, length);
    }
    ec_string_release(listed);
    for (int map = 0; map <= 1; map++) {
        ec_table *table;
        if (ec_load(path, name[0] != 0 ? name : NULL, map, &table) == EC_OK) {
            int64_t bytes;
            ec_table_warm_up(table, NULL, NULL, &bytes);
            use_table(table);
            ec_table_release(table);
        }
    }
}
