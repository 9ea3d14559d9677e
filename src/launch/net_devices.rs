//! Moves the host's network devices into the container's network namespace with their addresses.
//!
//! The kernel drops a device's addresses when it moves; this file gives back the permanent ones of global
//! scope (runtime-spec, config-linux.md, "Network Devices"). When the namespace ends, the kernel decides what
//! happens to the devices. If the creation of the container fails, they return.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::LinkFlags;
use nix::errno::Errno;

use super::init_fds::is_own_namespace;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::init::args::InitFds;
use crate::log;
use crate::plan::Plan;
use crate::plan::namespaces::Namespace;
use crate::plan::net_devices::NetDevice;
use crate::sys::netlink::Netlink;
use crate::sys::process::setns;

/// The network namespace that the devices move to.
#[derive(Debug)]
pub(crate) enum Destination {
    /// There are no devices to move.
    Nowhere,
    /// A namespace that the container joins.
    Joined(OwnedFd),
    /// The namespace that is made with the container's process.
    New,
}

impl Destination {
    /// Finds the destination. Must be called before the clone, which takes the descriptors.
    pub(crate) fn from_plan(plan: &Plan, fds: &InitFds) -> Result<Self> {
        if plan.net_devices.is_empty() {
            return Ok(Self::Nowhere);
        }
        let network = plan.namespaces.joins.iter().position(|join| join.namespace == Namespace::NETWORK);
        match network.and_then(|index| fds.joins.get(index)) {
            Some(fd) => fd.try_clone().map(Self::Joined).context("keep the network namespace"),
            None => Ok(Self::New),
        }
    }

    /// Moves all devices or none. `pid` is the container's process, which waits meanwhile.
    pub(crate) fn receive(self, devices: &[NetDevice], pid: i32) -> Result<Moved> {
        let namespace = match self {
            Self::Nowhere => return Ok(Moved::default()),
            Self::Joined(namespace) => namespace,
            Self::New => open(&format!("/proc/{pid}/ns/net"))?,
        };
        let mut moved = Moved::between(namespace)?;
        for device in devices {
            let result = moved.move_device(device);
            if let Err(error) = result.with_context(|| format!("/linux/netDevices/{}", device.name)) {
                moved.return_all();
                return Err(error);
            }
        }
        Ok(moved)
    }
}

/// The devices that have been moved into the container.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// `None` if there was no device to move.
    sides: Option<Sides>,
    devices: Vec<Device>,
}

/// A netlink socket in each of the two namespaces, and the namespaces.
#[derive(Debug)]
struct Sides {
    here: Netlink,
    there: Netlink,
    namespace: OwnedFd,
    own: OwnedFd,
}

#[derive(Debug)]
struct Device {
    /// Its name on the host.
    name: String,
    /// Its index in the container.
    index: u32,
    addresses: Vec<AddressMessage>,
    was_up: bool,
}

impl Moved {
    fn between(namespace: OwnedFd) -> Result<Self> {
        let our_namespace = open("/proc/self/ns/net")?;
        if is_own_namespace(&namespace, Namespace::NETWORK)? {
            let why = "unable to move network devices without a private NET namespace";
            return Err(fail!(Kind::Spec, "/linux/netDevices: {why}"));
        }
        let here = Netlink::open().context("open a netlink socket")?;
        setns(namespace.as_fd(), Namespace::NETWORK.0).context("enter the container's network namespace")?;
        let socket = Netlink::open();
        // If this fails, this process is in the wrong namespace, so the whole command ends.
        setns(our_namespace.as_fd(), Namespace::NETWORK.0)
            .context("return from the container's network namespace")?;
        let there = socket.context("open a netlink socket in the container's network namespace")?;
        Ok(Self { sides: Some(Sides { here, there, namespace, own: our_namespace }), devices: Vec::new() })
    }

    fn move_device(&mut self, device: &NetDevice) -> Result<()> {
        let Some(sides) = &self.sides else { return Ok(()) };
        let index = sides.here.index_of(&device.name).context("find the network device")?;
        let was_up = is_up(&sides.here, index).context("look at the network device")?;
        // The addresses are read before the move: it takes the device down, and then the kernel drops IPv6
        // addresses.
        let addresses = sides.here.addresses(index).context("read its addresses")?;
        let addresses: Vec<_> = addresses.into_iter().filter(is_kept).collect();
        let index = move_link(&sides.here, &sides.there, sides.namespace.as_fd(), index, &device.inside)
            .with_context(|| format!("move it into the container as {}", device.inside))
            .map_err(with_hint)?;
        let name = device.name.clone();
        self.devices.push(Device { name, index, addresses: addresses.clone(), was_up });
        restore_state(&sides.there, index, addresses, true)
    }

    /// Moves the devices back. A failure is only a warning.
    pub(crate) fn return_all(self) {
        let Some(Sides { here, there, own, .. }) = self.sides else { return };
        for device in self.devices {
            let back = move_link(&there, &here, own.as_fd(), device.index, &device.name).map_err(Error::from);
            let back = back.and_then(|index| restore_state(&here, index, device.addresses, device.was_up));
            if let Err(error) = back {
                log::warn(format_args!("network device {} could not return: {error}", device.name));
            }
        }
    }
}

fn open(path: &str) -> Result<OwnedFd> {
    File::open(path).map(OwnedFd::from).with_context(|| format!("open {path}"))
}

fn is_up(netlink: &Netlink, index: u32) -> Result<bool, Errno> {
    let links = netlink.links()?;
    Ok(links.iter().any(|(other, flags)| *other == index && flags.contains(LinkFlags::Up)))
}

/// Moves one device. Returns its index on the other side.
fn move_link(
    from: &Netlink,
    to: &Netlink,
    namespace: BorrowedFd<'_>,
    index: u32,
    name: &str,
) -> Result<u32, Errno> {
    let is_template = name.contains('%');
    // The name is checked first: the kernel finds a conflict only after the move, and leaves the device there
    // under its old name.
    if !is_template && to.index_of(name) != Err(Errno::ENODEV) {
        return Err(Errno::EEXIST);
    }
    let before = if is_template { to.links()? } else { Vec::new() };
    from.move_to(index, namespace, name)?;
    if !is_template {
        return to.index_of(name);
    }
    // The kernel chose the name, and perhaps a new index: the moved device is the one that was not there
    // before.
    let new = |index: &u32| !before.iter().any(|(old, _)| old == index);
    to.links()?.into_iter().map(|(index, _)| index).find(new).ok_or(Errno::ENODEV)
}

fn with_hint(error: Error) -> Error {
    match error.errno() {
        Some(Errno::EEXIST) => error
            .with_hint("a device of this name is there already; with %d in the name, the kernel numbers it"),
        Some(Errno::EINVAL) => error.with_hint("some devices are bound to their network namespace"),
        _ => error,
    }
}

/// Whether an address moves along: a permanent one of global scope. Others belong to the network that the
/// device leaves.
fn is_kept(address: &AddressMessage) -> bool {
    let flag = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    };
    let short = || AddressFlags::from_bits_retain(address.header.flags.bits().into());
    let flags = address.attributes.iter().find_map(flag).unwrap_or_else(short);
    address.header.scope == AddressScope::Universe && flags.contains(AddressFlags::Permanent)
}

/// Gives a device its addresses again, and brings it up if it was up.
fn restore_state(netlink: &Netlink, index: u32, addresses: Vec<AddressMessage>, up: bool) -> Result<()> {
    for mut address in addresses {
        address.header.index = index;
        // The label contains the old name, and the lifetimes are those of every permanent address.
        let goes = |attribute: &AddressAttribute| {
            matches!(attribute, AddressAttribute::Label(_) | AddressAttribute::CacheInfo(_))
        };
        address.attributes.retain(|attribute| !goes(attribute));
        match netlink.add_address(address) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).context("give it its address again"),
        }
    }
    if up { netlink.up(index).context("bring it up") } else { Ok(()) }
}
