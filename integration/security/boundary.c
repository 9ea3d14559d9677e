// boundary: runs a command under ptrace, and does something to it at one system call.
//
//   boundary RUNTIME TABLE list COMMAND...                     says in TABLE, a line each, `PROCESS NUMBER CALL`: every call
//                                                              of every process of the command
//   boundary RUNTIME TABLE kill PROCESS NUMBER COMMAND...      ends that process by SIGKILL before its call of that number
//   boundary RUNTIME TABLE killall PROCESS NUMBER COMMAND...   and with it all other processes of the command
//   boundary RUNTIME TABLE fail PROCESS NUMBER CALL ERRNO COMMAND...
//                                                              that call fails instead, as the errno of that number; or the
//                                                              first behind it of the same sort, where another one is there
//
// Processes and threads are counted in the order of their making, from 0; calls of each from 1. One that executes another
// program than RUNTIME is left alone from then on, and so is all that it starts. TABLE says `hit CALL` once the point was
// reached, and `program` if another program had been started before. The exit status is the command's: 128 and its signal
// if one has ended it.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __aarch64__
#include <elf.h>
#include <sys/uio.h>
#endif

enum { MOST = 256 };
enum action { LIST, KILL, KILL_ALL, FAIL };

static struct process {
    pid_t pid;
    int index; // -1: it has stopped before its maker's event has told of it
    long calls;
    int failing;
} processes[MOST];
static int known, counted;
static int started_program;
static struct stat runtime;
static FILE *table;

static void die(const char *doing) { fprintf(stderr, "boundary: %s: %s\n", doing, strerror(errno)); exit(125); }

static struct process *of(pid_t pid) {
    for (int i = 0; i < known; i++) if (processes[i].pid == pid) return &processes[i];
    if (known == MOST) { errno = E2BIG; die("processes"); }
    processes[known] = (struct process){ .pid = pid, .index = -1 };
    return &processes[known++];
}

static void forget(pid_t pid) {
    for (int i = 0; i < known; i++) if (processes[i].pid == pid) processes[i] = processes[--known];
}

static int is_runtime(pid_t pid) {
    char path[64];
    struct stat stat_of;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    // A copy of it, sealed in memory or on a mount of its own, is it too: files are told apart by their size.
    return stat(path, &stat_of) != 0 || stat_of.st_size == runtime.st_size;
}

// The call is none (-1) from here on; what it answers is set when it returns.
static void skip_call(pid_t pid) {
#if defined __x86_64__
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, 0, &registers) != 0) return;
    registers.orig_rax = -1;
    ptrace(PTRACE_SETREGS, pid, 0, &registers);
#elif defined __aarch64__
    int none = -1;
    struct iovec part = { &none, sizeof none };
    ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &part);
#else
#error another machine
#endif
}

static void answer(pid_t pid, int error) {
#if defined __x86_64__
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, 0, &registers) != 0) return;
    registers.rax = -(long)error;
    ptrace(PTRACE_SETREGS, pid, 0, &registers);
#elif defined __aarch64__
    struct user_pt_regs registers;
    struct iovec all = { &registers, sizeof registers };
    if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &all) != 0) return;
    registers.regs[0] = -(long)error;
    ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &all);
#endif
}

int main(int count, char **words) {
    if (count < 5) { fputs("boundary RUNTIME TABLE list|kill|killall|fail ...\n", stderr); return 125; }
    if (stat(words[1], &runtime) != 0) die(words[1]);
    if (!(table = fopen(words[2], "we"))) die(words[2]);
    enum action action = !strcmp(words[3], "kill") ? KILL : !strcmp(words[3], "killall") ? KILL_ALL
        : !strcmp(words[3], "fail") ? FAIL : LIST;
    int target = action == LIST ? 0 : atoi(words[4]), error = action == FAIL ? atoi(words[7]) : 0;
    long sort = action == FAIL ? atol(words[6]) : -1;
    long number = action == LIST ? 0 : atol(words[5]);
    char **command = words + (action == LIST ? 4 : action == FAIL ? 8 : 6);

    int gate[2];
    if (pipe(gate) != 0) die("pipe");
    pid_t first = fork();
    if (first < 0) die("fork");
    if (first == 0) {
        char byte;
        close(gate[1]);
        if (read(gate[0], &byte, 1) != 1) _exit(125);
        close(gate[0]);
        execvp(command[0], command);
        die(command[0]);
    }
    close(gate[0]);
    // Not PTRACE_O_EXITKILL: when this ends, what is left goes on by itself.
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK;
    if (ptrace(PTRACE_SEIZE, first, 0, options) != 0) die("ptrace");
    if (write(gate[1], "x", 1) != 1) die("write");
    close(gate[1]);

    int begun = 0, done = 0, status = 0;
    of(first)->index = counted++;
    for (;;) {
        int how;
        pid_t pid = waitpid(-1, &how, __WALL);
        if (pid < 0) break;
        if (WIFEXITED(how) || WIFSIGNALED(how)) {
            forget(pid);
            if (pid == first) { status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how); break; }
            continue;
        }
        struct process *process = of(pid);
        int stop = WSTOPSIG(how), event = how >> 16, pass = 0;
        // What need not be counted any more goes on without a stop at each call.
        int go = action == LIST || !done ? PTRACE_SYSCALL : PTRACE_CONT;
        if (event == PTRACE_EVENT_EXEC) {
            if (pid == first && !begun) begun = 1;
            else if (!is_runtime(pid)) {
                started_program = 1;
                forget(pid);
                ptrace(PTRACE_DETACH, pid, 0, 0);
                continue;
            }
        } else if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) {
            unsigned long child;
            if (ptrace(PTRACE_GETEVENTMSG, pid, 0, &child) == 0) {
                struct process *made = of((pid_t)child);
                int waits = made->index == -1 && made->failing == -1;
                made->index = counted++;
                made->failing = 0;
                if (waits) ptrace(go, (pid_t)child, 0, 0);
            }
            process = of(pid);
        } else if (event == PTRACE_EVENT_STOP) {
            if (process->index == -1) { process->failing = -1; continue; }
            if (stop != SIGTRAP) { ptrace(PTRACE_LISTEN, pid, 0, 0); continue; }
        } else if (stop == (SIGTRAP | 0x80)) {
            struct __ptrace_syscall_info info;
            if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0) memset(&info, 0, sizeof info);
            if (info.op == PTRACE_SYSCALL_INFO_EXIT && process->failing > 0) {
                answer(pid, error);
                process->failing = 0;
            } else if (info.op == PTRACE_SYSCALL_INFO_ENTRY && begun && process->index >= 0) {
                process->calls++;
                long call = (long)info.entry.nr;
                if (action == LIST) fprintf(table, "%d %ld %ld\n", process->index, process->calls, call);
                else if (!done && process->index == target
                         && (action == FAIL ? process->calls >= number && call == sort : process->calls == number)) {
                    done = 1;
                    fprintf(table, "hit %ld\n%s", call, started_program ? "program\n" : "");
                    if (action == FAIL) { skip_call(pid); process->failing = 1; }
                    else {
                        for (int i = 0; action == KILL_ALL && i < known; i++) kill(processes[i].pid, SIGKILL);
                        kill(pid, SIGKILL);
                    }
                }
            }
        } else if (event == 0) {
            pass = stop; // a signal on its way
        }
        if (process->failing > 0) go = PTRACE_SYSCALL;
        ptrace(go, pid, 0, pass);
    }
    fclose(table);
    return status;
}
