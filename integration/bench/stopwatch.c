// stopwatch: runs one command and says what it took, without taking anything itself.
//
//   stopwatch RESULT COMMAND [ARGUMENT...]
//
// One line to the file RESULT: status, wall time in ns, CPU time in us (of the command and all that it waited for),
// maximum resident set in KiB, voluntary context switches.
//
// It is small and static on purpose: the memory of the process that starts a command counts as the command's own
// maximum until it calls execve, and a large parent is slow to copy.
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long microseconds(struct timeval time) { return time.tv_sec * 1000000LL + time.tv_usec; }

int main(int argc, char **argv) {
    if (argc < 3) { fputs("usage: stopwatch RESULT COMMAND [ARGUMENT...]\n", stderr); return 2; }
    int result = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (result < 0) { perror(argv[1]); return 2; }
    char **command = argv + 2;
    pid_t pid;
    int status;
    struct rusage usage;
    long long begin = nanoseconds();
    int error = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
    if (error) { fprintf(stderr, "stopwatch: %s: %s\n", command[0], strerror(error)); return 127; }
    wait4(pid, &status, 0, &usage);
    long long end = nanoseconds();
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    dprintf(result, "%d %lld %lld %ld %ld\n", code, end - begin,
            microseconds(usage.ru_utime) + microseconds(usage.ru_stime), usage.ru_maxrss, usage.ru_nvcsw);
    return 0;
}
