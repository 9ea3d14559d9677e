//! `start`: makes the socket and the process that serves it, or finds the one that has it already.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use prost::Message;

use super::address::{self, Claim};
use super::first_call::Uncalled;
use super::parameters::{self, Parameters};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::shim::command_line::CommandLine;
use crate::shim::runtime::options::{self, Options};
use crate::shim::wire::bootstrap::BootstrapResult;
use crate::shim::{id, small_file};
use crate::sys::spawn::{Program, spawn_in_place};

/// Annotations that name the group of a container: all of a group share a shim. The order matters.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// The most that is read from standard input.
const MOST: u64 = 10 << 20;

/// Starts a shim for the bundle in the working directory, or finds the one of its group. Returns what is printed, and the
/// shim, where it is a new one.
pub(crate) fn run(line: &CommandLine, input: impl Read) -> Result<(Vec<u8>, Option<Uncalled>)> {
    id::check(&line.id)?;
    let mut bytes = Vec::new();
    input.take(MOST).read_to_end(&mut bytes).context("reading standard input")?;
    let parameters = parameters::read(&bytes, line)?;
    let group = match group(Path::new("config.json"))? {
        Some(group) => group.unwrap_or_else(|| line.id.clone()),
        // A pod that the shim is to make itself: what is asked by the sandbox service has no options.
        None => {
            options::save(Path::new("."), &parameters.options)?;
            line.id.clone()
        }
    };
    let socket =
        address::socket_path(parameters.socket_dir.as_deref(), &line.address, &line.namespace, &group);
    let address = format!("unix://{}", socket.display());
    let called = match address::claim(&socket)? {
        Claim::Free(_lock) => Some(serve(line, &parameters, &socket, &address)?),
        Claim::Taken => remember(&address).map(|()| None)?,
    };
    Ok((answer(&parameters, address), called.map(|called| Uncalled { called, socket })))
}

/// Every containerd understands a bare address. Newer ones ask by their own message, and are answered in it.
fn answer(parameters: &Parameters, address: String) -> Vec<u8> {
    if !parameters.new_protocol {
        return address.into_bytes();
    }
    BootstrapResult { version: 3, address, protocol: "ttrpc".to_owned(), ..BootstrapResult::default() }
        .encode_to_vec()
}

/// Reads the group from the annotations of a bundle; `None` where it has no configuration.
fn group(config: &Path) -> Result<Option<Option<String>>> {
    #[derive(serde::Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: Option<BTreeMap<String, String>>,
    }
    let text = match small_file::read(config) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("reading {}", config.display()))?,
    };
    let found: Annotated =
        serde_json::from_str(&text).map_err(|error| fail!(Kind::Spec, "{}: {error}", config.display()))?;
    let annotations = found.annotations.unwrap_or_default();
    let group = |name: &&str| annotations.get(*name).filter(|group| !group.is_empty()).cloned();
    Ok(Some(GROUPS.iter().find_map(group)))
}

/// Starts the process that serves, and waits until it has its socket. Returns where it writes when it is called.
fn serve(line: &CommandLine, parameters: &Parameters, socket: &Path, address: &str) -> Result<File> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").context("opening /dev/null")?;
    let own = std::env::current_exe().context("looking for the shim's own file")?;
    let path = CString::new(own.into_os_string().into_vec())
        .map_err(|_| fail!(Kind::Usage, "a path holds a NUL"))?;
    let (args, env) = (serve_arguments(&path, line, socket)?, serve_environment(parameters)?);
    lower_oom_score();
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context("making a pipe")?;
    let stdio = [null.as_fd(), null.as_fd(), null.as_fd()];
    let program = Program {
        path: &path,
        args: &args,
        env: &env,
        dir: None,
        stdio,
        more: &[writer.as_fd()],
        ends_with_us: false,
    };
    // Whatever the caller has done to SIGCHLD: the pid is the shim's until we look at how it has ended.
    crate::sys::signal::keep_exit_statuses().context("setting signals")?;
    let pid =
        spawn_in_place(&program, None).with_context(|| format!("starting {}", path.to_string_lossy()))?;
    drop(writer);
    // The bundle is written into while the shim starts.
    let up = join_cgroup(&parameters.options, pid).and_then(|()| remember(address));
    let up = up.and_then(|()| wait_for_socket(reader));
    if up.is_err() {
        let _ = fs::remove_file(ADDRESS);
        let _ = crate::sys::signal::send(pid, libc::SIGKILL);
        let _ = fs::remove_file(socket);
    }
    up
}

fn wait_for_socket(reader: std::os::fd::OwnedFd) -> Result<File> {
    let mut shim = File::from(reader);
    match shim.read_exact(&mut [0]) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(fail!(Kind::Child, "the shim has ended before it had its socket"))
        }
        read => read.context("waiting for the shim's socket").map(|()| shim),
    }
}

fn serve_arguments(program: &CString, line: &CommandLine, socket: &Path) -> Result<Vec<CString>> {
    let socket = socket.to_string_lossy();
    let mut words =
        vec!["-namespace", &line.namespace, "-id", &line.id, "-address", &line.address, "-socket", &socket];
    if !line.publish_binary.is_empty() {
        words.extend(["-publish-binary", &line.publish_binary]);
    }
    if line.debug {
        words.push("-debug");
    }
    let words = words
        .into_iter()
        .map(|word| CString::new(word).map_err(|_| fail!(Kind::Usage, "an argument holds a NUL")));
    std::iter::once(Ok(program.clone())).chain(words).collect()
}

/// Ours, with the address for events as the newer message says it.
fn serve_environment(parameters: &Parameters) -> Result<Vec<CString>> {
    let told = !parameters.ttrpc_address.is_empty();
    let mut env: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| !(told && name == "TTRPC_ADDRESS"))
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name.into_vec()
        })
        .collect();
    if told {
        env.push(format!("TTRPC_ADDRESS={}", parameters.ttrpc_address).into_bytes());
    }
    env.into_iter()
        .map(|word| CString::new(word).map_err(|_| fail!(Kind::Usage, "the environment holds a NUL")))
        .collect()
}

/// The shim is to be killed for memory before containerd is, and what it starts gets its own score by the
/// configuration: one above that of our parent, which is containerd. A failure changes nothing else.
fn lower_oom_score() {
    let parent = nix::unistd::getppid();
    let score = fs::read_to_string(format!("/proc/{parent}/oom_score_adj")).ok();
    if let Some(score) = score.and_then(|text| text.trim().parse::<i32>().ok()) {
        let _ = fs::write("/proc/self/oom_score_adj", (score + 1).min(1000).to_string());
    }
}

/// Moves the process to the cgroup of the option `ShimCgroup`: on v1 in every hierarchy that has it.
fn join_cgroup(options: &Options, pid: i32) -> Result<()> {
    if options.shim_cgroup.is_empty() {
        return Ok(());
    }
    let name = options.shim_cgroup.trim_start_matches('/');
    let found = cgroup_files(Path::new("/sys/fs/cgroup"), name)?;
    if found.is_empty() {
        return Err(fail!(Kind::NotFound, "the shim's cgroup {} does not exist", options.shim_cgroup));
    }
    for file in found {
        fs::write(&file, pid.to_string())
            .with_context(|| format!("{}: moving the shim there", file.display()))?;
    }
    Ok(())
}

/// The file that takes processes, of cgroup v2, or of each hierarchy that has the group. What cannot be looked at is an error.
fn cgroup_files(top: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let there = |file: &Path| {
        file.try_exists().with_context(|| format!("{}: looking for the shim's cgroup", file.display()))
    };
    let unified = top.join(name).join("cgroup.procs");
    if there(&unified)? {
        return Ok(vec![unified]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(top).with_context(|| format!("listing {}", top.display()))? {
        let entry = entry.with_context(|| format!("listing {}", top.display()))?;
        // Files are of a mounted cgroup v2; links are a second name of a hierarchy.
        let is_hierarchy =
            entry.file_type().with_context(|| format!("looking at {}", entry.path().display()))?.is_dir();
        let file = entry.path().join(name).join("cgroup.procs");
        if is_hierarchy && there(&file)? {
            found.push(file);
        }
    }
    Ok(found)
}

/// Where containerd 1.6 and 1.7 look for the address when they start anew.
const ADDRESS: &str = "address";

/// Writes the address into the bundle, in which we are.
fn remember(address: &str) -> Result<()> {
    let temporary = format!(".address-{}", std::process::id());
    fs::write(&temporary, address).context("writing the address into the bundle")?;
    fs::rename(&temporary, ADDRESS).context("writing the address into the bundle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_that_cannot_be_looked_at_is_not_taken_for_a_missing_one() {
        let top = nix::unistd::mkdtemp("/tmp/tare-shim-group-XXXXXX").expect("a directory");
        fs::create_dir_all(top.join("memory/kube")).expect("a group");
        fs::write(top.join("memory/kube/cgroup.procs"), "").expect("its file");
        fs::create_dir(top.join("cpu")).expect("another hierarchy");
        fs::write(top.join("cgroup.procs"), "").expect("a file at the top");
        assert_eq!(cgroup_files(&top, "kube").expect("one"), [top.join("memory/kube/cgroup.procs")]);
        assert_eq!(cgroup_files(&top, "none").expect("none"), Vec::<PathBuf>::new());
        // Neither there nor missing: a loop of links, as EACCES would be for who is not root.
        std::os::unix::fs::symlink("kube", top.join("cpu/kube")).expect("a link to itself");
        let error = cgroup_files(&top, "kube").expect_err("a loop").to_string();
        assert!(error.contains("cpu/kube/cgroup.procs"), "{error}");
        fs::remove_dir_all(top).expect("removing the directory");
    }
}
