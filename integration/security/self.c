// self: prints all that a process can see of itself, a line each: a name, a blank, a value. Into the file that the first
// argument names, if there is one: hooks have no output.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static void say(const char *name, long value) { printf("%s %ld\n", name, value); }

static void asked(const char *name, int option) { say(name, prctl(option, 0L, 0L, 0L, 0L)); }

static void filled(const char *name, int option) {
    int value = -1;
    prctl(option, &value, 0L, 0L, 0L);
    say(name, value);
}

static void first_line(const char *name, const char *path) {
    char text[4096] = "";
    FILE *file = fopen(path, "re");
    if (file) { if (!fgets(text, sizeof text, file)) text[0] = 0; fclose(file); }
    text[strcspn(text, "\n")] = 0;
    printf("%s %s\n", name, file ? text : strerror(errno));
}

static void status(void) {
    static const char *wanted[] = { "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs",
        "Seccomp", "Seccomp_filters", "Speculation_Store_Bypass", "SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd",
        "Cpus_allowed", "Mems_allowed", "THP_enabled", "Threads", "CoreDumping", "Umask" };
    char line[4096];
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (!colon) continue;
        *colon = 0;
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (!strcmp(line, wanted[i])) printf("%s %s", line, colon + 1 + strspn(colon + 1, "\t "));
    }
    if (file) fclose(file);
}

static void descriptors(int except) {
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        int number = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || number == dirfd(directory) || number == except) continue;
        char path[64], target[512] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", number);
        if (readlink(path, target, sizeof target - 1) < 0) continue;
        target[strcspn(target, "[0123456789")] = 0;
        printf("descriptor-%d %s %o\n", number, target, fcntl(number, F_GETFL) & O_ACCMODE);
    }
    if (directory) closedir(directory);
}

static void namespaces(void) {
    static const char *kinds[] = { "cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts" };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[64], target[64] = "";
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
        if (readlink(path, target, sizeof target - 1) < 0) strcpy(target, strerror(errno));
        printf("namespace-%s %s\n", kinds[i], target);
    }
}

static void keyring(void) {
    char text[256] = "";
    long length = syscall(SYS_keyctl, KEYCTL_DESCRIBE, KEY_SPEC_SESSION_KEYRING, text, sizeof text);
    if (length < 0) strcpy(text, strerror(errno));
    printf("keyring %s\n", text);
}

int main(int count, char **words) {
    (void)words;
    int out = count > 1 ? open(words[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
    // Not freopen: the standard streams are looked at.
    if (out >= 0) { fflush(stdout); stdout = fdopen(out, "w"); }
    // A hook is given the state; a runtime may fail where nobody reads it.
    char state[4096];
    if (count == 2) while (read(0, state, sizeof state) > 0) { }
    status();
    descriptors(out);
    namespaces();
    keyring();
    for (int which = 0; which < RLIM_NLIMITS; which++) {
        struct rlimit limit;
        if (getrlimit(which, &limit) == 0) printf("rlimit-%d %ld %ld\n", which, (long)limit.rlim_cur, (long)limit.rlim_max);
    }
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL) printf("signal-%d %s\n", number, action.sa_handler == SIG_IGN ? "ignored" : "caught");
    }
    char here[4096];
    printf("cwd %s\n", syscall(SYS_getcwd, here, sizeof here) > 0 ? here : strerror(errno));
    first_line("oom-score-adjustment", "/proc/self/oom_score_adj");
    first_line("core-dump-filter", "/proc/self/coredump_filter");
    first_line("login-uid", "/proc/self/loginuid");
    first_line("label", "/proc/self/attr/current");
    first_line("cgroup", "/proc/self/cgroup");
    first_line("comm", "/proc/self/comm");
    asked("securebits", PR_GET_SECUREBITS);
    asked("keep-capabilities", PR_GET_KEEPCAPS);
    asked("dumpable", PR_GET_DUMPABLE);
    asked("timer-slack", PR_GET_TIMERSLACK);
    asked("huge-pages-off", PR_GET_THP_DISABLE);
    asked("io-flusher", 58 /* PR_GET_IO_FLUSHER */);
    asked("memory-deny-write-execute", 66 /* PR_GET_MDWE */);
    asked("memory-merge", 68 /* PR_GET_MEMORY_MERGE */);
    filled("subreaper", PR_GET_CHILD_SUBREAPER);
    filled("parent-death-signal", PR_GET_PDEATHSIG);
    say("personality", personality(0xffffffff));
    say("nice", getpriority(PRIO_PROCESS, 0));
    say("policy", sched_getscheduler(0));
    say("io-priority", syscall(SYS_ioprio_get, 1, 0));
    say("session-leader", getsid(0) == getpid());
    say("group-leader", getpgrp() == getpid());
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
    say("terminal", terminal >= 0);
    if (terminal >= 0) close(terminal);
    stack_t stack;
    sigaltstack(NULL, &stack);
    say("signal-stack", !(stack.ss_flags & SS_DISABLE));
    for (char **each = environ; *each; each++) printf("environment-%d %s\n", (int)(each - environ), *each);
    fflush(stdout);
    // A container's first process stays: `exec` is asked then.
    if (count > 2) pause();
    return 0;
}
