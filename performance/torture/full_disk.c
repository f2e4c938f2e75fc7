/* Preloaded into a program: while the file FULL_DISK_FLAG exists, its disk is full.
 *
 * As on a full disk, files cannot grow, and what they hold already can be overwritten. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Not the program's log, so that the test can read it. */
#define LAST_STANDARD_STREAM 2

/* Shared memory has files, too, but not on the disk. */
static int is_memory(int file)
{
    char link[64], path[16] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    return readlink(link, path, sizeof path - 1) > 0 && strncmp(path, "/dev/", 5) == 0;
}

static int is_full(int file, off_t offset, off_t length)
{
    const char *flag = getenv("FULL_DISK_FLAG");
    int before = errno;
    struct stat status;
    if (file <= LAST_STANDARD_STREAM || flag == NULL || access(flag, F_OK) != 0
        || fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || is_memory(file)) {
        errno = before;
        return 0;
    }
    if (offset < 0)
        offset = fcntl(file, F_GETFL) & O_APPEND ? status.st_size : lseek(file, 0, SEEK_CUR);
    errno = before;
    if (offset + length <= status.st_size)
        return 0;
    errno = ENOSPC;
    return 1;
}

static off_t total(const struct iovec *parts, int count)
{
    off_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += (off_t) parts[i].iov_len;
    return bytes;
}

ssize_t write(int file, const void *data, size_t length)
{
    return is_full(file, -1, (off_t) length) ? -1 : syscall(SYS_write, file, data, length);
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    return is_full(file, -1, total(parts, count)) ? -1 : syscall(SYS_writev, file, parts, count);
}

ssize_t pwrite(int file, const void *data, size_t length, off_t offset)
{
    return is_full(file, offset, (off_t) length)
        ? -1 : syscall(SYS_pwrite64, file, data, length, offset);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset)
{
    return is_full(file, offset, total(parts, count))
        ? -1 : syscall(SYS_pwritev, file, parts, count, offset, 0);
}

int ftruncate(int file, off_t length)
{
    return is_full(file, 0, length) ? -1 : (int) syscall(SYS_ftruncate, file, length);
}

int posix_fallocate(int file, off_t offset, off_t length)
{
    if (is_full(file, offset, length))
        return ENOSPC;
    int before = errno;
    int result = syscall(SYS_fallocate, file, 0, offset, length) == 0 ? 0 : errno;
    errno = before;
    return result;
}

int fallocate(int file, int mode, off_t offset, off_t length)
{
    return is_full(file, offset, length)
        ? -1 : (int) syscall(SYS_fallocate, file, mode, offset, length);
}

ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off_t) __attribute__((alias("pwritev")));
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));
int posix_fallocate64(int, off_t, off_t) __attribute__((alias("posix_fallocate")));
int fallocate64(int, int, off_t, off_t) __attribute__((alias("fallocate")));
