// steps FILE PROGRAM [ARGUMENT...]: appends to FILE, in hexadecimal, each address of the program's code that is executed,
// in the order of first execution, by it and by what it clones; not by other programs that they execute.
//
// Every instruction is a stop: a command takes seconds. Exit status: the program's.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define HIGHEST (1u << 25) // the binary is linked to low addresses, where nothing else is

static uint8_t seen[HIGHEST];

static int same(const struct stat *own, pid_t pid) {
    char path[64];
    struct stat its;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    return stat(path, &its) == 0 && its.st_ino == own->st_ino && its.st_size == own->st_size;
}

int main(int argc, char **argv) {
    struct stat own;
    FILE *out = argc < 3 ? NULL : fopen(argv[1], "a");
    if (!out || stat(argv[2], &own) < 0) { fprintf(stderr, "usage: steps FILE PROGRAM [ARGUMENT...]\n"); return 125; }
    pid_t first = fork();
    if (first == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execv(argv[2], argv + 2);
        _exit(125);
    }
    int status;
    waitpid(first, &status, 0);
    ptrace(PTRACE_SETOPTIONS, first, 0,
           PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC);
    ptrace(PTRACE_CONT, first, 0, 0);
    for (;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0) return 125;
        if (!WIFSTOPPED(status)) {
            if (pid != first) continue;
            // What it leaves behind is let go by our end.
            fclose(out);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        if (status >> 16 == PTRACE_EVENT_EXEC && !same(&own, pid)) { ptrace(PTRACE_DETACH, pid, 0, 0); continue; }
        struct user_regs_struct registers;
        if (ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0) {
            uint64_t at = registers.rip;
            if (at < HIGHEST && !seen[at]) { seen[at] = 1; fprintf(out, "%llx\n", (unsigned long long)at); }
        }
        int signal = WSTOPSIG(status);
        ptrace(PTRACE_SINGLESTEP, pid, 0, signal == SIGTRAP || signal == SIGSTOP ? 0 : signal);
    }
}
