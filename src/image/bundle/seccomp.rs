//! The default seccomp profile: which system calls a program of an image may make.
//!
//! The profile is a list of allowed calls, chosen from the kernel's tables by one question: does an
//! unprivileged program on an ordinary machine make this call, and is it harmless with the default
//! capabilities? Calls that act on the host fail with EPERM. All others, those of newer kernels included,
//! fail with ENOSYS, which programs and C libraries handle.

use serde_json::{Value, json};

/// Files: open, read, write, name, describe, watch.
const FILES: &str = "
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
    faccessat2 fadvise64 fadvise64_64 arm_fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat
    fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr
    fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd
    getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
    ioctl lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr _llseek lremovexattr
    lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat oldfstat
    oldlstat oldstat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead
    readdir readlink readlinkat readv removexattr removexattrat rename renameat renameat2 rmdir sendfile
    sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statmount listmount statx symlink
    symlinkat sync sync_file_range sync_file_range2 arm_sync_file_range syncfs tee truncate truncate64
    umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev chroot io_cancel
    io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit cachestat
";

/// Waiting: polls, events, pipes, timers, clocks.
const WAITING: &str = "
    alarm clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
    clock_nanosleep_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
    epoll_wait epoll_wait_old eventfd eventfd2 getitimer gettimeofday nanosleep _newselect pause pipe
    pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select setitimer signalfd signalfd4 time
    timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
    timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times adjtimex
";

/// Processes and threads, their signals, limits and schedules.
const PROCESSES: &str = "
    arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue futex_time64
    futex_wait futex_waitv futex_wake get_robust_list get_thread_area getcpu getpgid getpgrp getpid
    getppid getpriority getrandom getrlimit ugetrlimit getrusage getsid gettid ioprio_get ioprio_set kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self membarrier modify_ldt nice
    pidfd_getfd pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease ptrace process_vm_readv
    process_vm_writev restart_syscall riscv_flush_icache riscv_hwprobe rseq rt_sigaction rt_sigpending
    rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
    rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
    sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
    sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_thread_area
    set_tid_address set_tls setpgid setpriority setrlimit setsid sgetmask sigaction sigaltstack signal
    sigpending sigprocmask sigreturn sigsuspend ssetmask sysinfo tgkill tkill uname olduname oldolduname
    vfork wait4 waitid waitpid breakpoint cacheflush usr26 usr32 uretprobe
";

/// User and group ids of a process.
const IDENTITY: &str = "
    getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32
    getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
    setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
    setreuid32 setuid setuid32
";

/// Mapping, protecting and locking memory.
const MEMORY: &str = "
    brk madvise map_shadow_stack memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    process_madvise remap_file_pages
";

/// Communication between processes. `socket` has conditions, see `sockets`; `socketcall`, which would bypass
/// them, is not here: libraries of 32-bit systems have used the single calls since Linux 4.3.
const COMMUNICATION: &str = "
    accept accept4 bind connect getpeername getsockname getsockopt ipc listen mq_getsetattr mq_notify
    mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl
    msgget msgrcv msgsnd recv recvfrom recvmmsg recvmmsg_time64 recvmsg semctl semget semop semtimedop
    semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown
    socketpair
";

/// Calls that act on the host or on other namespaces. They fail with EPERM, which tools report to the user.
const FORBIDDEN: &str = "
    acct add_key bpf clock_adjtime clock_adjtime64 clock_settime clock_settime64 delete_module
    fanotify_init finit_module fsconfig fsmount fsopen fspick get_mempolicy init_module ioperm iopl kcmp
    kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages mount mount_setattr move_mount
    move_pages open_by_handle_at open_tree perf_event_open pivot_root quotactl quotactl_fd reboot
    request_key set_mempolicy set_mempolicy_home_node setdomainname sethostname setns settimeofday stime
    swapoff swapon syslog umount umount2 unshare userfaultfd vhangup vm86 vm86old
";

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// All CLONE_NEW* flags that clone(2) takes.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// The `linux.seccomp` object for an image of this architecture (as GOARCH spells it); None for an
/// architecture without a profile.
pub fn default_profile(architecture: &str) -> Option<Value> {
    let architectures = match architecture {
        "amd64" => json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]),
        "386" => json!(["SCMP_ARCH_X86"]),
        "arm64" => json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
        "arm" => json!(["SCMP_ARCH_ARM"]),
        "riscv64" => json!(["SCMP_ARCH_RISCV64"]),
        _ => return None,
    };
    let allowed: Vec<&str> =
        [FILES, WAITING, PROCESSES, IDENTITY, MEMORY, COMMUNICATION].into_iter().flat_map(names).collect();
    let forbidden: Vec<&str> = names(FORBIDDEN).collect();
    let mut syscalls = vec![
        json!({ "names": allowed, "action": "SCMP_ACT_ALLOW" }),
        json!({ "names": forbidden, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM }),
        allow_if(
            "clone",
            &json!({ "index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }),
        ),
    ];
    syscalls.extend(personalities());
    syscalls.extend(sockets());
    Some(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": architectures,
        "syscalls": syscalls,
    }))
}

fn names(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split_whitespace()
}

fn allow_if(name: &str, condition: &Value) -> Value {
    json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": [condition] })
}

/// personality(2) with the arguments PER_LINUX and UNAME26, each with PER_LINUX32 too, and 0xffffffff, which
/// asks for the current one.
fn personalities() -> impl Iterator<Item = Value> {
    [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff_u64]
        .into_iter()
        .map(|value| allow_if("personality", &json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" })))
}

/// socket(2) for all address families but two: AF_ALG (38), the kernel's cryptography, is a large attack
/// surface that hardly any program needs, and AF_VSOCK (40) reaches the hypervisor past every network
/// namespace.
fn sockets() -> [Value; 3] {
    [(38, "SCMP_CMP_LT"), (39, "SCMP_CMP_EQ"), (40, "SCMP_CMP_GT")]
        .map(|(value, op)| allow_if("socket", &json!({ "index": 0, "value": value, "op": op })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_call_has_one_verdict() {
        let mut seen = HashSet::new();
        let all = [FILES, WAITING, PROCESSES, IDENTITY, MEMORY, COMMUNICATION, FORBIDDEN]
            .into_iter()
            .flat_map(names);
        for name in all.chain(["clone", "personality", "socket"]) {
            assert!(seen.insert(name), "{name} is listed twice");
        }
        for name in ["clone3", "io_uring_setup", "socketcall"] {
            assert!(!seen.contains(name), "{name}");
        }
    }

    #[test]
    fn the_profile_is_one_that_the_specification_knows() {
        for architecture in ["amd64", "386", "arm64", "arm", "riscv64"] {
            let profile = default_profile(architecture).unwrap();
            serde_json::from_value::<oci_spec::runtime::LinuxSeccomp>(profile).unwrap();
        }
        assert_eq!(default_profile("s390x"), None);
    }
}
