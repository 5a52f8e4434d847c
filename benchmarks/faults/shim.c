/* Stands between a program and the C library, and makes writing below one folder fail, or kills, at a chosen moment.
 *
 * Loaded with LD_PRELOAD, so that it meets native code (torch, safetensors, SQLite) as well as Python. Every operation
 * that changes something below the folder is counted; from the armed one on each fails with the armed error, as on a
 * disk that is full or read-only and stays so. With the error -1 the process group is killed before that operation,
 * with -2 after it. The count is shared with forks.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

struct state {
    volatile long count;
    long armed; /* 0 = never */
    int error;
    char prefix[PATH_MAX];
};
static struct state *shared;

enum kind { WRITES, MAKES, NAMES, REMOVES };

void fault_arm(const char *prefix, long armed, int error) {
    if (!shared)
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared->count = 0;
    shared->armed = armed;
    shared->error = error;
    snprintf(shared->prefix, sizeof shared->prefix, "%s", prefix);
}

long fault_count(void) { return shared ? shared->count : 0; }

static int below(const char *path) {
    return shared && shared->prefix[0] && path && !strncmp(path, shared->prefix, strlen(shared->prefix));
}

static int below_fd(int fd) {
    char link[64], path[PATH_MAX];
    if (!shared || !shared->prefix[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

static int below_at(int folder, const char *path) {
    if (folder == AT_FDCWD || (path && path[0] == '/')) return below(path);
    return below_fd(folder);
}

/* Returns whether the operation is to fail; *after says that the process is to be killed once it is done. */
static int due(enum kind kind, int *after) {
    long now = __sync_add_and_fetch(&shared->count, 1);
    *after = 0;
    if (!shared->armed || now < shared->armed) return 0;
    if (shared->error == -1) kill(0, SIGKILL);
    if (shared->error == -2) { *after = 1; return 0; }
    if (shared->error == ENOSPC && kind == REMOVES) return 0;
    if (shared->error == EACCES && kind == WRITES) return 0;
    errno = shared->error;
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define RUN(inside, kind, failed, call) \
    do { int after = 0; if ((inside) && due(kind, &after)) return failed; \
         __typeof__(call) result = call; if (after) kill(0, SIGKILL); return result; } while (0)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write); RUN(below_fd(fd), WRITES, -1, real(fd, data, size));
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite); RUN(below_fd(fd), WRITES, -1, real(fd, data, size, at));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64); RUN(below_fd(fd), WRITES, -1, real(fd, data, size, at));
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev); RUN(below_fd(fd), WRITES, -1, real(fd, parts, count));
}
int fsync(int fd) { REAL(fsync); RUN(below_fd(fd), WRITES, -1, real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); RUN(below_fd(fd), WRITES, -1, real(fd)); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); RUN(below_fd(fd), WRITES, -1, real(fd, size)); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); RUN(below_fd(fd), WRITES, -1, real(fd, size)); }
int posix_fallocate(int fd, off_t at, off_t size) {
    REAL(posix_fallocate); RUN(below_fd(fd), WRITES, errno, real(fd, at, size));
}
int posix_fallocate64(int fd, off64_t at, off64_t size) {
    REAL(posix_fallocate64); RUN(below_fd(fd), WRITES, errno, real(fd, at, size));
}
int mkdir(const char *path, mode_t mode) { REAL(mkdir); RUN(below(path), MAKES, -1, real(path, mode)); }
int rename(const char *from, const char *to) { REAL(rename); RUN(below(to), NAMES, -1, real(from, to)); }
int link(const char *from, const char *to) { REAL(link); RUN(below(to), MAKES, -1, real(from, to)); }
int symlink(const char *from, const char *to) { REAL(symlink); RUN(below(to), MAKES, -1, real(from, to)); }
int unlink(const char *path) { REAL(unlink); RUN(below(path), REMOVES, -1, real(path)); }
int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat); RUN(below_at(folder, path), REMOVES, -1, real(folder, path, flags));
}
int rmdir(const char *path) { REAL(rmdir); RUN(below(path), REMOVES, -1, real(path)); }

#define MODE(flags) \
    mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); \
    mode = va_arg(more, mode_t); va_end(more); }
#define CHANGES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))
int open(const char *path, int flags, ...) {
    MODE(flags) REAL(open); RUN(CHANGES(flags) && below(path), MAKES, -1, real(path, flags, mode));
}
int open64(const char *path, int flags, ...) {
    MODE(flags) REAL(open64); RUN(CHANGES(flags) && below(path), MAKES, -1, real(path, flags, mode));
}
int openat(int folder, const char *path, int flags, ...) {
    MODE(flags) REAL(openat); RUN(CHANGES(flags) && below_at(folder, path), MAKES, -1, real(folder, path, flags, mode));
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags) REAL(openat64);
    RUN(CHANGES(flags) && below_at(folder, path), MAKES, -1, real(folder, path, flags, mode));
}
FILE *fopen(const char *path, const char *how) {
    REAL(fopen); RUN(strpbrk(how, "wa+") && below(path), MAKES, NULL, real(path, how));
}
FILE *fopen64(const char *path, const char *how) {
    REAL(fopen64); RUN(strpbrk(how, "wa+") && below(path), MAKES, NULL, real(path, how));
}
