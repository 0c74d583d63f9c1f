/* Ends a program, as SIGKILL does, when it changes a file for the KILL_AT-th time: loaded before its libraries
 * (LD_PRELOAD), it stands in front of the functions of libc that change files. Of a write, half is done before.
 *
 *   KILL_BELOW   only changes below this folder count
 *   KILL_AT      which one, from 1; none where it is not set
 *   KILL_LOG     a file that gets a line for each, where it is set
 *
 * A rename that does not go through libc stands between two that do: the fsync of the file before it, and that
 * of the folder after it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_long changes;

static int is_below(const char *path) {
    const char *folder = getenv("KILL_BELOW");
    size_t length = folder ? strlen(folder) : 0;
    return length && strncmp(path, folder, length) == 0 && (path[length] == '/' || !path[length]);
}

static void of_descriptor(int file, char path[PATH_MAX]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
}

static void of_name(int folder, const char *name, char path[PATH_MAX]) {
    char above[PATH_MAX] = "";
    if (name[0] != '/') {
        if (folder != AT_FDCWD)
            of_descriptor(folder, above);
        else if (!getcwd(above, sizeof above))
            above[0] = 0;
    }
    if (snprintf(path, PATH_MAX, "%s%s%s", above, above[0] ? "/" : "", name) >= PATH_MAX)
        path[0] = 0;
}

/* Counts a change; whether it is the one to end at. */
static int is_last(const char *what, const char *path) {
    if (!is_below(path))
        return 0;
    long at = atomic_fetch_add(&changes, 1) + 1;
    const char *log = getenv("KILL_LOG"), *wanted = getenv("KILL_AT");
    int file = log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    if (file >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%s %s\n", what, path);
        syscall(SYS_write, file, line, length);
        syscall(SYS_close, file);
    }
    return wanted && atol(wanted) == at;
}

static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static void at_name(const char *what, int folder, const char *name) {
    char path[PATH_MAX];
    of_name(folder, name, path);
    if (is_last(what, path))
        end();
}

static void at_descriptor(const char *what, int file) {
    char path[PATH_MAX];
    of_descriptor(file, path);
    if (is_last(what, path))
        end();
}

ssize_t write(int file, const void *bytes, size_t count) {
    char path[PATH_MAX];
    of_descriptor(file, path);
    if (is_last("write", path)) {
        syscall(SYS_write, file, bytes, count / 2);
        end();
    }
    return REAL(write)(file, bytes, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    at_descriptor("pwrite", file);
    return REAL(pwrite64)(file, bytes, count, at);
}

int ftruncate64(int file, off64_t length) {
    at_descriptor("ftruncate", file);
    return REAL(ftruncate64)(file, length);
}

int fsync(int file) {
    at_descriptor("fsync", file);
    return REAL(fsync)(file);
}

int fdatasync(int file) {
    at_descriptor("fdatasync", file);
    return REAL(fdatasync)(file);
}

int fchmod(int file, mode_t mode) {
    at_descriptor("fchmod", file);
    return REAL(fchmod)(file, mode);
}

int rename(const char *from, const char *to) {
    at_name("rename", AT_FDCWD, from);
    return REAL(rename)(from, to);
}

int unlink(const char *name) {
    at_name("unlink", AT_FDCWD, name);
    return REAL(unlink)(name);
}

int unlinkat(int folder, const char *name, int flags) {
    at_name("unlink", folder, name);
    return REAL(unlinkat)(folder, name, flags);
}

int rmdir(const char *name) {
    at_name("rmdir", AT_FDCWD, name);
    return REAL(rmdir)(name);
}

int mkdir(const char *name, mode_t mode) {
    at_name("mkdir", AT_FDCWD, name);
    return REAL(mkdir)(name, mode);
}

static mode_t mode_of(int flags, va_list more) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

int open64(const char *name, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    if (flags & (O_CREAT | O_TRUNC))
        at_name("open", AT_FDCWD, name);
    return REAL(open64)(name, flags, mode);
}

int openat64(int folder, const char *name, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    if (flags & (O_CREAT | O_TRUNC))
        at_name("open", folder, name);
    return REAL(openat64)(folder, name, flags, mode);
}
