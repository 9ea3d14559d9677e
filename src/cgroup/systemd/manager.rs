//! The calls to systemd that a group needs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

use super::bus::{Answer, Bus, Message, Method, refused};
use super::escape::unit_object;
use super::properties::Property;
use super::unit::Unit;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// How long systemd may take for a job, as in runc.
pub const DEADLINE: Duration = Duration::from_secs(30);

const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A connection to the system's or the user's manager.
#[derive(Debug)]
pub struct Manager {
    bus: Bus,
}

impl Manager {
    pub fn connect(user: bool) -> Result<Self> {
        if !user && !Path::new("/run/systemd/system").is_dir() {
            let what =
                "systemd cgroup flag passed, but systemd support for managing cgroups is not available";
            return Err(Error::new(Kind::Unsupported, what).with_hint("this host does not run systemd"));
        }
        let who = if user { "the user's systemd" } else { "systemd" };
        let sockets = if user { user_sockets() } else { system_sockets() };
        Self::connect_to(sockets).with_context(|| format!("reach {who} over D-Bus"))
    }

    /// By the first of these sockets that serves; `true` is a bus, `false` systemd itself.
    pub fn connect_to(sockets: Vec<(PathBuf, bool)>) -> Result<Self> {
        let mut first = None;
        for (path, routed) in sockets {
            match Bus::connect(&path, routed, DEADLINE) {
                Ok(bus) => return Self { bus }.listening(),
                Err(error) => first.get_or_insert(error),
            };
        }
        let none = || fail!(Kind::Unsupported, "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set");
        Err(first.unwrap_or_else(none))
    }

    /// A bus passes on what is asked for; systemd itself sends its signals unasked.
    fn listening(mut self) -> Result<Self> {
        if self.bus.is_routed() {
            let method = Method {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                name: "AddMatch",
            };
            let rule = format!(
                "type='signal',sender='{SERVICE}',path='{OBJECT}',interface='{MANAGER}',member='JobRemoved'"
            );
            self.bus.call(method, &rule)?.or_fail().context("listen to systemd")?;
        }
        Ok(self)
    }

    fn method(name: &str) -> Method<'_> {
        Method { destination: SERVICE, path: OBJECT, interface: MANAGER, name }
    }

    /// 252 of `252.38-1~deb12u1` or `v252`; 0 where it cannot be told.
    pub fn version(&mut self) -> Result<u32> {
        let text: String = self.property(OBJECT, MANAGER, "Version")?;
        let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        Ok(digits[..end].parse().unwrap_or(0))
    }

    /// The group that all of this manager's units are below.
    pub fn root(&mut self) -> Result<PathBuf> {
        let text: String = self.property(OBJECT, MANAGER, "ControlGroup")?;
        Ok(text.trim_matches('/').into())
    }

    fn property<T: TryFrom<OwnedVariant>>(&mut self, path: &str, interface: &str, name: &str) -> Result<T> {
        let method =
            Method { destination: SERVICE, path, interface: "org.freedesktop.DBus.Properties", name: "Get" };
        let message = self.bus.call(method, &(interface, name))?.or_fail();
        let message = message.with_context(|| format!("read systemd's property {name}"))?;
        let value: OwnedVariant = message.read()?;
        T::try_from(value).map_err(|_| fail!(Kind::Unsupported, "systemd's property {name} has another type"))
    }

    /// Starts a unit that is not in any file, with a process in it, and waits until it is there.
    pub fn start(&mut self, unit: &Unit, properties: &[Property], pid: Option<i32>) -> Result<()> {
        let doing = || format!("unable to start unit {:?}", unit.name);
        let mut all = values(properties);
        if let Some(pid) = pid {
            all.push(("PIDs", Variant::from(vec![pid.unsigned_abs()])));
        }
        let auxiliary: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let body = (&*unit.name, "replace", all, auxiliary);
        let method = Self::method("StartTransientUnit");
        let mut answer = self.bus.call(method, &body).with_context(doing)?;
        if let Answer::Error { name, .. } = &answer
            && name.ends_with(".UnitExists")
        {
            // What a container of that name left when it failed. A living unit stays, and is refused again.
            self.forget(unit)?;
            answer = self.bus.call(method, &body).with_context(doing)?;
        }
        let job = match answer {
            Answer::Return(message) => message,
            Answer::Error { name, text } => {
                return Err(told(refused(&name, &text), &text, properties).context(doing()));
            }
        };
        self.finish(&job).inspect_err(|_| drop(self.forget(unit))).with_context(doing)
    }

    /// Stops a unit, and waits until it is gone; one that is gone already is no failure.
    pub fn stop(&mut self, unit: &Unit) -> Result<()> {
        let doing = || format!("unable to stop unit {:?}", unit.name);
        match self.bus.call(Self::method("StopUnit"), &(&*unit.name, "replace")).with_context(doing)? {
            Answer::Return(job) => self.finish(&job).with_context(doing)?,
            Answer::Error { name, .. } if name.ends_with(".NoSuchUnit") => return Ok(()),
            Answer::Error { name, text } => return Err(refused(&name, &text).context(doing())),
        }
        self.forget(unit)
    }

    /// Lets go of a failed unit, which systemd otherwise keeps for a person to look at.
    fn forget(&mut self, unit: &Unit) -> Result<()> {
        self.bus.call(Self::method("ResetFailedUnit"), &&*unit.name).map(drop)
    }

    /// Changes properties of a unit that runs.
    pub fn set(&mut self, unit: &Unit, properties: &[Property]) -> Result<()> {
        let doing = || format!("unable to change unit {:?}", unit.name);
        let body = (&*unit.name, true, values(properties));
        match self.bus.call(Self::method("SetUnitProperties"), &body).with_context(doing)? {
            Answer::Return(_) => Ok(()),
            Answer::Error { name, text } => {
                Err(told(refused(&name, &text), &text, properties).context(doing()))
            }
        }
    }

    /// Moves a process into a unit where we may not do so ourselves.
    pub fn attach(&mut self, unit: &Unit, below: &Path, pid: i32) -> Result<()> {
        let below = match below.to_string_lossy() {
            empty if empty.is_empty() => String::new(),
            path => format!("/{path}"),
        };
        let body = (&*unit.name, &*below, vec![pid.unsigned_abs()]);
        let answer = self.bus.call(Self::method("AttachProcessesToUnit"), &body)?.or_fail();
        answer.map(drop).with_context(|| format!("adding pid {pid} to unit {:?}", unit.name))
    }

    /// Where the unit's group is, as systemd itself sees it.
    pub fn group_of(&mut self, unit: &Unit) -> Result<PathBuf> {
        let interface = if unit.is_slice() { "Slice" } else { "Scope" };
        let text: String =
            self.property(&unit_object(&unit.name), &format!("{SERVICE}.{interface}"), "ControlGroup")?;
        Ok(text.trim_matches('/').into())
    }

    /// Waits for the end of the job that a method answered with.
    fn finish(&mut self, answer: &Message) -> Result<()> {
        let job: OwnedObjectPath = answer.read()?;
        self.bus.within(DEADLINE);
        loop {
            let removed = self.bus.signal("JobRemoved").context("wait for systemd's job")?;
            let (_, path, _, result): (u32, OwnedObjectPath, String, String) = removed.read()?;
            if ObjectPath::from(path) != ObjectPath::from(job.clone()) {
                continue;
            }
            return match &*result {
                "done" => Ok(()),
                other => Err(fail!(Kind::System(Errno::EIO), "systemd's job ended as: {other}")),
            };
        }
    }
}

fn values(properties: &[Property]) -> Vec<(&str, Variant<'static>)> {
    properties.iter().map(|property| (&*property.name, property.value.clone())).collect()
}

/// Where systemd names the property that it does not take, the config field that asked for it is named too.
fn told(error: Error, text: &str, properties: &[Property]) -> Error {
    let asked = || properties.iter().filter(|property| !property.pointer.is_empty());
    let named = asked().filter(|property| text.contains(&*property.name));
    if let Some(property) = named.max_by_key(|property| property.name.len()) {
        let what = format!("{} = {}", property.name, property.value);
        return error.context(what).context(property.pointer.clone());
    }
    let free = asked().filter(|property| property.pointer.starts_with("/annotations/"));
    let free: Vec<_> = free.map(Property::to_string).collect();
    if free.is_empty() { error } else { error.with_hint(format!("check {}", free.join(", "))) }
}

/// systemd's own socket first: it needs no bus, and root may.
fn system_sockets() -> Vec<(PathBuf, bool)> {
    let mut all = vec![("/run/dbus/system_bus_socket".into(), true)];
    if let Some(path) = address("DBUS_SYSTEM_BUS_ADDRESS") {
        all = vec![(path, true)];
    }
    if nix::unistd::geteuid().is_root() {
        all.insert(0, ("/run/systemd/private".into(), false));
    }
    all
}

fn user_sockets() -> Vec<(PathBuf, bool)> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let mut all: Vec<(PathBuf, bool)> = Vec::new();
    all.extend(runtime.as_ref().map(|dir| (dir.join("systemd/private"), false)));
    all.extend(address("DBUS_SESSION_BUS_ADDRESS").map(|path| (path, true)));
    all.extend(runtime.map(|dir| (dir.join("bus"), true)));
    all
}

/// The path in `unix:path=/run/user/1000/bus,guid=…`, the first of a list.
fn address(variable: &str) -> Option<PathBuf> {
    let text = std::env::var(variable).ok()?;
    let unix = text.split(';').find_map(|address| address.strip_prefix("unix:"))?;
    unix.split(',').find_map(|pair| pair.strip_prefix("path=")).map(PathBuf::from)
}
