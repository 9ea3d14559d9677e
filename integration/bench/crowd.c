// crowd: runs one command many times, some at once, and says what it took, without taking anything itself.
//
//   crowd RESULT WORKERS COUNT COMMAND [ARGUMENT...]
//
// An "@" in an argument is the number of the turn, from 0. One line to the file RESULT: how many workers saw a failure, wall time in ns,
// CPU time in us of all commands and of all that they waited for.
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
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

// One turn: whether the command failed.
static int turn(char **command, int number) {
    char *words[64], text[64][512];
    int count = 0;
    for (; command[count] && count < 63; count++) {
        char *at = strchr(command[count], '@');
        words[count] = command[count];
        if (!at) continue;
        snprintf(text[count], sizeof text[count], "%.*s%d%s", (int)(at - command[count]), command[count], number, at + 1);
        words[count] = text[count];
    }
    words[count] = NULL;
    pid_t pid;
    int status;
    if (posix_spawn(&pid, words[0], NULL, NULL, words, environ)) return 1;
    return waitpid(pid, &status, 0) < 0 || status != 0;
}

static int worker(char **command, int first, int step, int count) {
    int failed = 0;
    for (int number = first; number < count; number += step) failed += turn(command, number);
    return failed;
}

int main(int argc, char **argv) {
    if (argc < 5) { fputs("usage: crowd RESULT WORKERS COUNT COMMAND [ARGUMENT...]\n", stderr); return 2; }
    int result = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (result < 0) { perror(argv[1]); return 2; }
    int workers = atoi(argv[2]), count = atoi(argv[3]), failed = 0, status;
    long long begin = nanoseconds(), busy = 0;
    for (int first = 0; first < workers; first++)
        if (fork() == 0) _exit(worker(argv + 4, first, workers, count) > 0);
    struct rusage usage;
    while (wait4(-1, &status, 0, &usage) > 0) {
        failed += status != 0;
        busy += microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
    }
    dprintf(result, "%d %lld %lld\n", failed, nanoseconds() - begin, busy);
    return 0;
}
