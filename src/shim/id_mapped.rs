//! Root filesystems for pods with a user namespace: containerd's options `uidmap` and `gidmap` say as whom the files of an
//! image are seen. KERNEL(5.19) for layers of an overlay.

use std::fs::{self, DirBuilder, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::kernel::mount::{Attributes, MOUNT_ATTR_IDMAP};
use crate::sys::mount::{mount_setattr, move_mount, open_tree_clone};
use crate::sys::process::{CloneSide, clone3, exit_now, parent_death_signal, pidfd_send_signal};

/// Where a bundle's layers stand, as they are mapped, until the overlay is made of them.
const LAYERS: &str = ".layers";

/// Mappings as /proc/PID/uid_map takes them: lines of three numbers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IdMaps {
    uid: String,
    gid: String,
}

impl IdMaps {
    /// Takes the two options from the others.
    pub(super) fn take(data: &mut Vec<String>) -> Result<Option<Self>> {
        let mut maps = [None, None];
        for (map, name) in maps.iter_mut().zip(["uidmap=", "gidmap="]) {
            while let Some(at) = data.iter().position(|option| option.starts_with(name)) {
                *map = Some(lines(&data.remove(at)[name.len()..])?);
            }
        }
        match maps {
            [None, None] => Ok(None),
            [Some(uid), Some(gid)] => Ok(Some(Self { uid, gid })),
            _ => Err(fail!(Kind::Usage, "there is one of the options uidmap and gidmap: they go together")),
        }
    }

    /// Makes a user namespace that has these mappings: mount_setattr(2) takes them only so. Only a process in it can be
    /// given mappings; afterwards the descriptor alone keeps it.
    fn namespace(&self) -> Result<OwnedFd> {
        let (pid, pidfd) =
            match clone3(libc::CLONE_NEWUSER as u64, None).context("making a user namespace")? {
                CloneSide::Child => {
                    let _ = parent_death_signal(libc::SIGKILL);
                    nix::unistd::pause();
                    exit_now(0)
                }
                CloneSide::Parent { pid, pidfd } => (pid, pidfd),
            };
        let made = self.write(pid).and_then(|()| {
            let path = format!("/proc/{pid}/ns/user");
            File::open(&path).map(OwnedFd::from).with_context(|| format!("opening {path}"))
        });
        let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        let _ = crate::sys::spawn::wait(pid);
        made
    }

    fn write(&self, pid: i32) -> Result<()> {
        for (name, map) in [("uid_map", &self.uid), ("gid_map", &self.gid)] {
            let path = format!("/proc/{pid}/{name}");
            fs::write(&path, map).with_context(|| format!("writing {path}: {}", map.trim_end()))?;
        }
        Ok(())
    }
}

/// `0:100000:65536`, or several with commas: as it is inside, as it is on the disk, how many.
fn lines(text: &str) -> Result<String> {
    let line = |one: &str| {
        let numbers: Vec<u32> = one.split(':').map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
        let [inside, outside, count] = numbers[..] else { return None };
        Some(format!("{inside} {outside} {count}\n"))
    };
    text.split(',')
        .map(line)
        .collect::<Option<String>>()
        .ok_or_else(|| fail!(Kind::Usage, "{text:?} is no mapping of ids: three numbers, as 0:100000:65536"))
}

/// Layers that are mapped, at places of their own for as long as this lives.
pub(super) struct Layers(PathBuf);

impl Drop for Layers {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            crate::log::plain(format_args!("{error}"));
        }
    }
}

/// Maps the lower layers of an overlay, and puts where they stand into its options. The upper one is the container's own.
pub(super) fn map_layers(maps: &IdMaps, data: &mut [String], bundle: &Path) -> Result<Layers> {
    let Some(option) = data.iter_mut().find(|option| option.starts_with("lowerdir=")) else {
        return Err(fail!(Kind::Usage, "an overlay without lowerdir has nothing to map"));
    };
    let namespace = maps.namespace()?;
    let dir = bundle.join(LAYERS);
    remove(&dir)?;
    let layers = Layers(dir.clone());
    make(&dir)?;
    let mut places = Vec::new();
    for (number, layer) in option["lowerdir=".len()..].split(':').enumerate() {
        let place = dir.join(number.to_string());
        make(&place)?;
        let opened = open(layer, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .with_context(|| format!("opening the layer {layer}"))?;
        let target = open(&place, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .with_context(|| format!("opening {}", place.display()))?;
        move_mapped(&opened, &namespace, &target).with_context(|| format!("mapping the ids of {layer}"))?;
        places.push(place.to_string_lossy().into_owned());
    }
    *option = format!("lowerdir={}", places.join(":"));
    Ok(layers)
}

/// Covers what is mounted at a place by the same, mapped.
pub(super) fn map_place(maps: &IdMaps, place: &OwnedFd) -> Result<()> {
    let namespace = maps.namespace()?;
    move_mapped(place, &namespace, place).context("mapping the ids of a mount")
}

fn move_mapped(from: &OwnedFd, namespace: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let tree = open_tree_clone(from.as_fd(), c"", false, 0)?;
    let change = Attributes { set: MOUNT_ATTR_IDMAP, ..Attributes::default() };
    mount_setattr(tree.as_fd(), change, Some(namespace.as_fd()), false)?;
    Ok(move_mount(tree.as_fd(), to.as_fd())?)
}

fn make(dir: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(dir).with_context(|| format!("making {}", dir.display()))
}

/// Removes what a shim that was killed has left of them.
pub(super) fn clear(bundle: &Path) -> Result<()> {
    remove(&bundle.join(LAYERS))
}

fn remove(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| format!("listing {}", dir.display()))?,
    };
    for entry in entries {
        let place = entry.with_context(|| format!("listing {}", dir.display()))?.path();
        match umount2(&place, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH) {
            // Nothing is mounted there.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(errno).with_context(|| format!("unmounting {}", place.display())),
        }
        fs::remove_dir(&place).with_context(|| format!("removing {}", place.display()))?;
    }
    fs::remove_dir(dir).with_context(|| format!("removing {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_maps_are_taken_from_the_options_or_none() {
        let options = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut data = options(&["lowerdir=/a", "uidmap=0:100000:65536", "gidmap=0:5:1,1:9:2", "index=off"]);
        let maps = IdMaps::take(&mut data).expect("good ones").expect("two");
        assert_eq!(maps, IdMaps { uid: "0 100000 65536\n".to_owned(), gid: "0 5 1\n1 9 2\n".to_owned() });
        assert_eq!(data, ["lowerdir=/a", "index=off"]);
        assert_eq!(IdMaps::take(&mut data).expect("none"), None);
        for wrong in
            ["uidmap=0:1:2", "uidmap=0:1", "uidmap=", "uidmap=a:b:c", "uidmap=0:1:2,", "uidmap=-1:0:1"]
        {
            let other = if wrong == "uidmap=0:1:2" { "ro" } else { "gidmap=0:1:2" };
            IdMaps::take(&mut options(&[wrong, other])).expect_err(wrong);
        }
    }
}
