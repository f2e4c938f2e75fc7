/* Preloaded into PostgreSQL: each flush of a file takes SLOW_FLUSH_MS milliseconds longer. */

#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int flush(long call, int file)
{
    const char *text = getenv("SLOW_FLUSH_MS");
    double milliseconds = text ? atof(text) : 0;
    struct timespec left = {
        .tv_sec = (time_t) (milliseconds / 1000),
        .tv_nsec = (long) (milliseconds * 1e6) % 1000000000L,
    };
    while (nanosleep(&left, &left) != 0) {
        /* A signal, which PostgreSQL's processes send each other, does not shorten the delay. */
    }
    return (int) syscall(call, file);
}

int fdatasync(int file)
{
    return flush(SYS_fdatasync, file);
}

int fsync(int file)
{
    return flush(SYS_fsync, file);
}
