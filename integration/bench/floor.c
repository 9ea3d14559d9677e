// floor: the least work that a runtime can do for one ordinary container; what a runtime takes beyond it is its own.
//
//   floor ROOTFS CGROUP2-DIRECTORY|- PROGRAM [ARGUMENT...]        ("-": no cgroup is made)
//
// It makes the container of bundle.py: pid, net, ipc, uts, mount and cgroup namespaces; proc, /dev with its nodes,
// devpts, shm, mqueue, sysfs and the cgroup mount; masked and read-only paths; pivot_root; capabilities dropped;
// no_new_privs. Every decision was taken when it was compiled: no JSON, no state on disk, no error worth reading.
//
// Exit status: the program's, or 125 after a line on standard error.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRY(x) do { if ((x) < 0) { dprintf(2, "floor:%d: %s: %s\n", __LINE__, #x, strerror(errno)); _exit(125); } } while (0)

static void node(const char *path, int major, int minor) {
    TRY(mknod(path, S_IFCHR | 0666, makedev(major, minor)));
}

static void mask(const char *path, int directory) {
    int r = directory ? mount("tmpfs", path, "tmpfs", MS_RDONLY, "") : mount("/dev/null", path, "", MS_BIND, "");
    if (r < 0 && errno != ENOENT && errno != ENOTDIR) TRY(r);
}

static void readonly(const char *path) {
    if (mount(path, path, "", MS_BIND | MS_REC, "") < 0) { if (errno == ENOENT) return; TRY(-1); }
    TRY(mount("", path, "", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, ""));
}

// The host's cgroup2 mount is cloned: making it anew in the initial cgroup namespace waits for an RCU grace period.
static int clone_cgroup_mount(const char *dir) {
    int fd = syscall(SYS_open_tree, AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    TRY(fd);
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };
    TRY(syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr));
    return fd;
}

static void child(const char *rootfs, const char *cgroup, char **argv) {
    TRY(mount("", "/", "", MS_REC | MS_PRIVATE, ""));
    int cgroup_mount = cgroup ? clone_cgroup_mount(cgroup) : -1;
    TRY(mount(rootfs, rootfs, "", MS_BIND | MS_REC, ""));
    TRY(chdir(rootfs));
    mkdir("proc", 0755); mkdir("dev", 0755); mkdir("sys", 0755);
    TRY(mount("proc", "proc", "proc", 0, ""));
    TRY(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    mkdir("dev/pts", 0755); mkdir("dev/shm", 0755); mkdir("dev/mqueue", 0755);
    TRY(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"));
    TRY(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k"));
    TRY(mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, ""));
    TRY(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, ""));
    if (cgroup) TRY(syscall(SYS_move_mount, cgroup_mount, "", AT_FDCWD, "sys/fs/cgroup", MOVE_MOUNT_F_EMPTY_PATH));
    umask(0);
    node("dev/null", 1, 3); node("dev/zero", 1, 5); node("dev/full", 1, 7);
    node("dev/random", 1, 8); node("dev/urandom", 1, 9); node("dev/tty", 5, 0);
    umask(022);
    TRY(symlink("/proc/self/fd", "dev/fd"));
    TRY(symlink("/proc/self/fd/0", "dev/stdin"));
    TRY(symlink("/proc/self/fd/1", "dev/stdout"));
    TRY(symlink("/proc/self/fd/2", "dev/stderr"));
    TRY(symlink("pts/ptmx", "dev/ptmx"));
    TRY(syscall(SYS_pivot_root, ".", "."));
    TRY(umount2(".", MNT_DETACH));
    TRY(chdir("/"));
    mask("/proc/acpi", 1); mask("/proc/asound", 1); mask("/proc/kcore", 0); mask("/proc/keys", 0);
    mask("/proc/latency_stats", 0); mask("/proc/timer_list", 0); mask("/proc/timer_stats", 0);
    mask("/proc/sched_debug", 0); mask("/sys/firmware", 1); mask("/proc/scsi", 1);
    readonly("/proc/bus"); readonly("/proc/fs"); readonly("/proc/irq"); readonly("/proc/sys"); readonly("/proc/sysrq-trigger");
    TRY(sethostname("floor", 5));
    setsid();
    const uint32_t keep = 1u << CAP_AUDIT_WRITE | 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE;
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        if (cap >= 32 || !(keep >> cap & 1)) if (prctl(PR_CAPBSET_DROP, cap) < 0 && errno != EINVAL) TRY(-1);
    struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct data[2] = { { keep, keep, 0 }, { 0, 0, 0 } };
    TRY(syscall(SYS_capset, &header, data));
    TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    execv(argv[0], argv);
    TRY(-1);
}

int main(int argc, char **argv) {
    if (argc < 4) { fprintf(stderr, "usage: floor ROOTFS CGROUP2_DIR|- PROGRAM [ARG...]\n"); return 125; }
    char cgroup[4096];
    int pidfd = -1, has_cgroup = strcmp(argv[2], "-") != 0;
    struct clone_args args = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PIDFD,
        .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD,
    };
    if (has_cgroup) {
        snprintf(cgroup, sizeof cgroup, "%s/floor-%d", argv[2], getpid());
        TRY(mkdir(cgroup, 0755));
        int fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        TRY(fd);
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd;
    }
    long pid = syscall(SYS_clone3, &args, sizeof args);
    TRY(pid);
    if (pid == 0) child(argv[1], has_cgroup ? argv[2] : NULL, argv + 3);
    siginfo_t info = { 0 };
    TRY(waitid(P_PIDFD, pidfd, &info, WEXITED));
    if (has_cgroup) TRY(rmdir(cgroup));
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}
