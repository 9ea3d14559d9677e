//! The container's own terminal, made in a root that an image may have prepared against us.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{mkfifo, setsid};
use tare::sys::tty::{self, STDIN, STDOUT};
use tare::testing::init::console::set_up;
use tare::testing::inroot::Root;
use tare::testing::launch::console::{Console, Incoming};

use crate::skip::{skip, skip_part};
use crate::support::{Line, Process, Scratch};

/// Whether this user may make a mount namespace; recorded with `skip` if not.
fn can_mount(skip: fn(&str)) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("needs root");
    }
    root
}

/// Makes this process one with a mount namespace of its own, in which `root` holds /dev with a devpts.
fn inhabit(root: &Path) {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    fs::create_dir_all(root.join("dev/pts")).unwrap();
    let options = Some("newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount(Some("devpts"), &root.join("dev/pts"), Some("devpts"), MsFlags::empty(), options).unwrap();
    setsid().unwrap();
}

struct Started {
    child: Process,
    incoming: Option<Incoming>,
    _root: Scratch,
}

impl Started {
    fn line(&mut self) -> Line {
        Line::new(self.incoming.take().unwrap().receive().unwrap())
    }
}

/// In a process of its own: prepares the root with `prepare`, sets up a terminal as `mount_console` says, then lives
/// on with `life`, given the root. 0 is success; the errno of a failure else, after its call on standard error.
fn start(name: &str, prepare: impl FnOnce(&Path), life: impl FnOnce(&Path) -> i32) -> Started {
    let scratch = Scratch::new(name);
    let (socket, incoming) = Console::open(true, false, None).unwrap().unwrap().split();
    let child = Process::start(|| {
        let root = scratch.path();
        inhabit(root);
        prepare(root);
        let opened = Root::open(root).unwrap();
        match set_up(&opened, Some((31, 97)), 1000, socket.as_fd(), true) {
            Ok(()) => life(root),
            Err(failure) => {
                eprintln!("{}", failure.call);
                failure.errno as i32
            }
        }
    });
    Started { child, incoming, _root: scratch }
}

/// A name, and what makes the console.
type Prepared = (&'static str, fn(&Path));

fn fails(name: &str, errno: Errno, prepare: impl FnOnce(&Path)) {
    if can_mount(skip_part) {
        let started = start(name, prepare, |_| 0);
        assert_eq!(Errno::from_raw(started.child.code()), errno, "{name}");
    }
}

fn checked(check: impl FnOnce()) -> i32 {
    check();
    0
}

#[test]
fn the_process_sits_at_a_terminal_of_its_devpts_which_is_its_console_too() {
    if !can_mount(skip) {
        return;
    }
    let life = |root: &Path| {
        checked(|| {
            let console = fs::metadata(root.join("dev/console")).unwrap();
            let terminal = fs::metadata(root.join("dev/pts/0")).unwrap();
            assert_eq!((console.rdev(), console.ino()), (terminal.rdev(), terminal.ino()));
            assert_eq!((terminal.uid(), terminal.gid()), (1000, 5));
            assert_eq!(terminal.permissions().mode() & 0o777, 0o620);
            for fd in [0, 1, 2] {
                let stat = fs::metadata(format!("/proc/self/fd/{fd}")).unwrap();
                assert_eq!((stat.rdev(), stat.dev()), (terminal.rdev(), terminal.dev()));
            }
            // Only the controlling terminal of a session tells its session.
            assert_eq!(nix::sys::termios::tcgetsid(STDIN).unwrap(), nix::unistd::getpid());
            assert_eq!(tty::size(STDOUT).unwrap(), tty::Size { rows: 31, columns: 97 });
            fs::write(root.join("dev/console"), "by the console\n").unwrap();
        })
    };
    let mut started = start("whole", |_| (), life);
    let mut line = started.line();
    line.expect("by the console");
    assert_eq!(started.child.code(), 0);
}

#[test]
fn a_console_that_is_there_already_is_mounted_on_whatever_it_is() {
    if !can_mount(skip) {
        return;
    }
    let cases: [Prepared; 3] = [
        ("file", |path| fs::write(path, "kept").unwrap()),
        // To open it would wait for a reader.
        ("fifo", |path| mkfifo(path, Mode::from_bits_truncate(0o644)).unwrap()),
        ("device", |path| mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(1, 3)).unwrap()),
    ];
    for (name, make) in cases {
        let life = |root: &Path| checked(|| fs::write(root.join("dev/console"), "seen\n").unwrap());
        let mut started = start(name, |root| make(&root.join("dev/console")), life);
        let mut line = started.line();
        line.expect("seen");
        assert_eq!(started.child.code(), 0, "{name}");
    }
}

#[test]
fn a_console_that_is_a_symlink_is_refused() {
    for (name, target) in [
        ("absolute", "/proc/sysrq-trigger"),
        ("relative", "../../../../../../tmp/canary"),
        ("dangling", "nowhere"),
        ("inside", "pts/ptmx"),
    ] {
        fails(name, Errno::ELOOP, |root| symlink(target, root.join("dev/console")).unwrap());
        assert!(!Path::new("/tmp/canary").exists());
    }
}

#[test]
fn a_console_that_is_a_directory_is_refused() {
    fails("directory", Errno::EISDIR, |root| fs::create_dir(root.join("dev/console")).unwrap());
}

#[test]
fn a_devpts_that_is_none_is_refused() {
    let unmount = |root: &Path| nix::mount::umount(&root.join("dev/pts")).unwrap();
    fails("missing", Errno::ENOENT, |root| {
        unmount(root);
        fs::remove_dir(root.join("dev/pts")).unwrap();
    });
    // A device that any image can hold: opening it must not even be tried.
    fails("fake", Errno::ENODEV, |root| {
        unmount(root);
        let ptmx = root.join("dev/pts/ptmx");
        mknod(&ptmx, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(5, 2)).unwrap();
    });
    // Following it would make a pair of the host's.
    fails("host's", Errno::ENODEV, |root| {
        unmount(root);
        fs::remove_dir(root.join("dev/pts")).unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        symlink("/elsewhere", root.join("dev/pts")).unwrap();
    });
    fails("covered", Errno::EXDEV, |root| {
        let bind = MsFlags::MS_BIND;
        mount(Some("/dev/null"), &root.join("dev/pts/ptmx"), None::<&str>, bind, None::<&str>).unwrap();
    });
}

#[test]
fn an_engine_that_has_hung_up_is_an_error_and_no_signal() {
    if !can_mount(skip) {
        return;
    }
    let scratch = Scratch::new("hung-up");
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(ours);
    let theirs = OwnedFd::from(theirs);
    let child = Process::start(|| {
        tare::sys::process::reset_signals(u64::MAX).unwrap();
        inhabit(scratch.path());
        let root = Root::open(scratch.path()).unwrap();
        set_up(&root, None, 0, theirs.as_fd(), false).map_or_else(|failure| failure.errno as i32, |()| 0)
    });
    assert_eq!(Errno::from_raw(child.code()), Errno::EPIPE);
}

#[test]
fn the_engine_learns_the_name_within_the_container() {
    if !can_mount(skip) {
        return;
    }
    let scratch = Scratch::new("name");
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let child = Process::start(|| {
        inhabit(scratch.path());
        let root = Root::open(scratch.path()).unwrap();
        set_up(&root, None, 0, theirs.as_fd(), false).map_or(1, |()| {
            // Nothing is mounted where that was not asked for.
            i32::from(scratch.path().join("dev/console").exists())
        })
    });
    let mut name = [0; 4096];
    let (length, master) = tare::sys::socket::receive_fd(ours.as_fd(), &mut name).unwrap();
    assert_eq!(&name[..length], b"/dev/pts/0");
    // Held to the end: without it, the process would be hung up.
    let master = master.unwrap();
    assert!(tty::is_ptmx(master.as_fd()).unwrap());
    assert_eq!(child.code(), 0);
}
