// probe: says, from inside a container, what the kernel answers to calls that a shell cannot make.
//
//   probe clone3 | unshare | keyctl | int80 | x32     one line: the errno's name, or "allowed"
//   probe memory MEGABYTES                            touches that much memory
//   probe winch                                       prints the window size whenever it changes, until end of input
//   probe notify TEXT                                 tells $NOTIFY_SOCKET, then stays until SIGTERM
//   probe accept                                      answers one connection to the socket handed on as LISTEN_FDS says
//   probe pause                                       holds a pod's namespaces and takes in its orphans, until SIGTERM
//   who (this program under another name)             the effective user id
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int answer(long result) {
    puts(result >= 0 ? "allowed" : strerrorname_np(errno));
    return 0;
}

// clone3 without any flag is a fork. A child that it makes ends at once.
static int try_clone3(void) {
    struct clone_args args = { .exit_signal = SIGCHLD };
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) _exit(0);
    int error = errno;
    if (pid > 0) waitpid(pid, NULL, 0);
    errno = error;
    return answer(pid);
}

#ifdef __x86_64__
// The 32-bit gate: number 310 is unshare, as on i386. CLONE_NEWUSER is refused by the profile and nothing else.
static int try_int80(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(310L), "b"((long)CLONE_NEWUSER) : "memory", "r8", "r9", "r10", "r11");
    errno = (int)-result;
    return answer(result < 0 ? -1 : 0);
}

// The x32 gate: bit 30 set in the number of the 64-bit unshare.
static int try_x32(void) { return answer(syscall(0x40000000L | SYS_unshare, CLONE_NEWUSER)); }
#else
static int try_int80(void) { puts("no such gate"); return 0; }
static int try_x32(void) { puts("no such gate"); return 0; }
#endif

static int touch_memory(size_t bytes) {
    char *memory = malloc(bytes);
    if (!memory) return answer(-1);
    memset(memory, 1, bytes);
    printf("%d\n", memory[bytes / 2]);
    return 0;
}

static void print_size(int signal) {
    struct winsize size = { 0 };
    (void)signal;
    ioctl(0, TIOCGWINSZ, &size);
    char line[32];
    int length = snprintf(line, sizeof line, "%d %d\n", size.ws_row, size.ws_col);
    (void)!write(1, line, length);
}

static int follow_size(void) {
    struct sigaction action = { .sa_handler = print_size };
    sigaction(SIGWINCH, &action, NULL);
    print_size(0);
    char byte;
    ssize_t got;
    while ((got = read(0, &byte, 1)) > 0 || (got < 0 && errno == EINTR)) {}
    return 0;
}

static void leave(int signal) {
    (void)signal;
    _exit(0);
}

static int hold(void) {
    struct sigaction action = { .sa_handler = leave };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGCHLD, SIG_IGN); // nobody becomes a zombie
    for (;;) pause();
}

static int notify(const char *text) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path) { puts("no NOTIFY_SOCKET"); return 1; }
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (sendto(fd, text, strlen(text), 0, (struct sockaddr *)&address, sizeof address) < 0) return answer(-1);
    return hold();
}

static int accept_one(void) {
    const char *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    int own = pid && atoi(pid) == getpid();
    int fd = accept(3, NULL, NULL);
    if (fd < 0) return answer(-1);
    dprintf(fd, "%s %s\n", count ? count : "none", own ? "own" : "not own");
    return close(fd);
}

int main(int argc, char **argv) {
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    if (!strcmp(name, "who")) { printf("%d\n", geteuid()); return 0; }
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "clone3")) return try_clone3();
    if (!strcmp(what, "unshare")) return answer(unshare(CLONE_NEWUSER));
    if (!strcmp(what, "keyctl")) return answer(syscall(SYS_keyctl, 0, -3, 0)); // KEYCTL_GET_KEYRING_ID, session
    if (!strcmp(what, "int80")) return try_int80();
    if (!strcmp(what, "x32")) return try_x32();
    if (!strcmp(what, "memory") && argc > 2) return touch_memory(strtoul(argv[2], NULL, 10) << 20);
    if (!strcmp(what, "winch")) return follow_size();
    if (!strcmp(what, "pause")) return hold();
    if (!strcmp(what, "notify") && argc > 2) return notify(argv[2]);
    if (!strcmp(what, "accept")) return accept_one();
    fputs("usage: probe clone3|unshare|keyctl|int80|x32|memory MEGABYTES|winch|notify TEXT|accept|pause\n", stderr);
    return 2;
}
