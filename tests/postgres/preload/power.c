/* Takes the power away from a PostgreSQL server that it is preloaded into.
 *
 * Before each write to a file of the data directory, the bytes that were there go to a journal. Each sync is
 * noted there, too. After the power has gone, no process gets through another write or sync. The test then
 * puts back, sector by sector, some of the bytes from before writes that were not synced (see power.rs). The
 * syncs themselves are left out: the machine keeps its power.
 *
 * KEYWAY_POWER_STATE names the file that is shared with the test, KEYWAY_POWER_JOURNAL the journal, and KEYWAY_POWER_DATA the data
 * directory as the kernel spells it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct state {
    _Atomic int64_t countdown; /* calls until the power goes; zero: it stays */
    _Atomic int64_t dark;      /* one once it has gone */
};

struct entry { /* followed by the path and by what was there */
    uint64_t is_sync, inode, offset, length, path_bytes, old_bytes;
};

static struct state *shared;
static int journal = -1;
static const char *data;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static ssize_t (*real_write)(int, const void *, size_t);

__attribute__((constructor)) static void begin(void) {
    real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    real_pwritev = (ssize_t(*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, "pwritev64");
    real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    const char *state_path = getenv("KEYWAY_POWER_STATE"), *journal_path = getenv("KEYWAY_POWER_JOURNAL");
    data = getenv("KEYWAY_POWER_DATA");
    if (!state_path || !journal_path || !data) return;
    int fd = open(state_path, O_RDWR | O_CLOEXEC);
    journal = open(journal_path, O_WRONLY | O_APPEND | O_CLOEXEC);
    void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED || journal < 0) {
        fputs("power.c: its files cannot be opened\n", stderr);
        _exit(99);
    }
    shared = mapped;
}

/* Whether the file is one of the data directory's, and its path. */
static int is_data(int fd, char path[PATH_MAX], struct stat *found) {
    char link[64];
    if (!shared || fstat(fd, found) || !S_ISREG(found->st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    size_t prefix = strlen(data);
    return !strncmp(path, data, prefix) && path[prefix] == '/' && !strstr(path, "/postmaster.");
}

/* The first line of the postmaster's file: its number. */
static pid_t postmaster(void) {
    char path[PATH_MAX], text[32] = {0};
    snprintf(path, sizeof path, "%s/postmaster.pid", data);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    return length > 0 ? (pid_t)atoi(text) : 0;
}

/* Counts a call. After the power has gone, it never returns. */
static void count(void) {
    int64_t before = atomic_load(&shared->countdown);
    while (before > 0 && !atomic_compare_exchange_weak(&shared->countdown, &before, before - 1)) {}
    if (before == 1) atomic_store(&shared->dark, 1);
    if (atomic_load(&shared->dark)) {
        pid_t first = postmaster();
        if (first > 1) kill(first, SIGKILL);
        _exit(9);
    }
}

static void note(int is_sync, int fd, const char *path, const struct stat *found, off_t offset, size_t length) {
    size_t path_bytes = strlen(path);
    char *old = NULL;
    ssize_t old_bytes = 0;
    if (!is_sync) {
        old = malloc(length ? length : 1);
        /* The descriptor may be for writing alone. */
        int reader = open(path, O_RDONLY | O_CLOEXEC);
        old_bytes = reader < 0 || !old ? -1 : pread(reader, old, length, offset);
        if (reader >= 0) close(reader);
        if (old_bytes < 0) old_bytes = 0;
    }
    struct entry entry = {(uint64_t)is_sync, found->st_ino, (uint64_t)offset, length, path_bytes, (uint64_t)old_bytes};
    struct iovec parts[3] = {{&entry, sizeof entry}, {(void *)path, path_bytes}, {old, (size_t)old_bytes}};
    ssize_t wanted = (ssize_t)(sizeof entry + path_bytes) + old_bytes;
    if (writev(journal, parts, 3) != wanted) {
        fputs("power.c: the journal cannot be written\n", stderr);
        _exit(99);
    }
    free(old);
    (void)fd;
}

static void before_write(int fd, off_t offset, size_t length) {
    char path[PATH_MAX];
    struct stat found;
    if (!is_data(fd, path, &found)) return;
    count();
    note(0, fd, path, &found, offset, length);
}

static int synced(int fd, int (*real)(int)) {
    char path[PATH_MAX];
    struct stat found;
    if (!is_data(fd, path, &found)) return real(fd);
    count();
    note(1, fd, path, &found, 0, 0);
    return 0;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    before_write(fd, offset, length);
    return real_pwrite(fd, bytes, length, offset);
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count_of, off_t offset) {
    size_t length = 0;
    for (int part = 0; part < count_of; part++) length += parts[part].iov_len;
    before_write(fd, offset, length);
    return real_pwritev(fd, parts, count_of, offset);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count_of, off_t offset) {
    return pwritev64(fd, parts, count_of, offset);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    off_t offset = shared ? lseek(fd, 0, SEEK_CUR) : -1;
    if (offset >= 0) before_write(fd, offset, length);
    return real_write(fd, bytes, length);
}

int fsync(int fd) { return synced(fd, (int (*)(int))dlsym(RTLD_NEXT, "fsync")); }
int fdatasync(int fd) { return synced(fd, (int (*)(int))dlsym(RTLD_NEXT, "fdatasync")); }
