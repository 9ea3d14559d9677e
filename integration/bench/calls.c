// calls: what a system call costs, in here.
//
//   calls
//
// One line: ns for getppid, which filters allow whatever its arguments (the kernel remembers that of a filter, and does
// not run it), and ns for personality, whose argument Docker's profile looks at. The least of several tries each.
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 15, CALLS = 100000 };

static double least(long number, unsigned long argument) {
    double best = 1e9;
    for (int try = 0; try < TRIES; try++) {
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        for (int call = 0; call < CALLS; call++) syscall(number, argument);
        clock_gettime(CLOCK_MONOTONIC, &end);
        double each = ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / CALLS;
        if (each < best) best = each;
    }
    return best;
}

int main(void) {
    printf("%.1f %.1f\n", least(SYS_getppid, 0), least(SYS_personality, 0xffffffff));
    return 0;
}
