//! The calls to systemd that a group needs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

use super::bus::{Bus, Message, Method, Reply, error_from_reply};
use super::object_path::unit_object;
use crate::cgroup::plan::pointer::CGROUPS_PATH;
use crate::cgroup::plan::systemd::properties::Property;
use crate::cgroup::plan::systemd::unit::Unit;
use crate::error::{Context, Error, Kind, Result};
use crate::fail;

/// How long systemd may take for a job, as in runc.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A connection to the system's or the user's manager.
#[derive(Debug)]
pub struct Client {
    bus: Bus,
    /// The time for a job.
    timeout: Duration,
}

impl Client {
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

    /// Connects to the first of these sockets that works; `true` is a bus, `false` systemd itself.
    pub fn connect_to(sockets: Vec<(PathBuf, bool)>) -> Result<Self> {
        let mut failed = Vec::new();
        for (path, routed) in sockets {
            match Bus::connect(&path, routed, TIMEOUT) {
                Ok(bus) => return Self { bus, timeout: TIMEOUT }.subscribe_to_jobs(),
                Err(error) => failed.push(error),
            }
        }
        let others = failed.iter().skip(1).map(Error::to_string).collect::<Vec<_>>().join("; ");
        let none = || {
            fail!(Kind::Unsupported, "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
                .with_hint("a login sets both, `su` neither: `machinectl shell USER@`, or `loginctl enable-linger` and XDG_RUNTIME_DIR=/run/user/UID")
        };
        let error = failed.into_iter().next().unwrap_or_else(none);
        Err(if others.is_empty() { error } else { error.with_hint(others) })
    }

    /// Subscribes to signals: a bus passes on only those that are asked for. systemd itself sends them
    /// unasked.
    fn subscribe_to_jobs(mut self) -> Result<Self> {
        self.bus.await_signal(Self::method("JobRemoved"));
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
            self.bus.call(method, &rule)?.or_error().context("listen to systemd")?;
        }
        Ok(self)
    }

    const fn method(name: &str) -> Method<'_> {
        Method { destination: SERVICE, path: OBJECT, interface: MANAGER, name }
    }

    /// Returns 252 for `252.38-1~deb12u1` or `v252`; 0 if the version is unknown.
    pub fn version(&mut self) -> Result<u32> {
        let text: String = self.property(OBJECT, MANAGER, "Version")?;
        let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        Ok(digits[..end].parse().unwrap_or(0))
    }

    /// Returns the group that contains all units of this manager.
    pub fn root(&mut self) -> Result<PathBuf> {
        let text: String = self.property(OBJECT, MANAGER, "ControlGroup")?;
        Ok(text.trim_matches('/').into())
    }

    fn property<T: TryFrom<OwnedVariant>>(&mut self, path: &str, interface: &str, name: &str) -> Result<T> {
        let method =
            Method { destination: SERVICE, path, interface: "org.freedesktop.DBus.Properties", name: "Get" };
        let message = self.bus.call(method, &(interface, name))?.or_error();
        let message = message.with_context(|| format!("read systemd's property {name}"))?;
        let value: OwnedVariant = message.read()?;
        T::try_from(value).map_err(|_| fail!(Kind::Unsupported, "systemd's property {name} has another type"))
    }

    /// Starts a transient unit with a process in it, and waits until it is running.
    pub fn start(&mut self, unit: &Unit, properties: &[Property], pid: Option<i32>) -> Result<()> {
        let mut all = as_variants(properties);
        if let Some(pid) = pid {
            all.push(("PIDs", Variant::from(vec![pid.unsigned_abs()])));
        }
        let auxiliary: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let body = (&*unit.name, "replace", all, auxiliary);
        let started = self.start_with(unit, &body).map_err(|failure| match failure {
            StartError::Refused { name, text } => explain_refusal(&name, &text, properties),
            StartError::Other(error) => (error, None),
        });
        started.map_err(|(error, pointer)| {
            let error = error.context(format!("unable to start unit {:?}", unit.name));
            error.context(pointer.unwrap_or_else(|| CGROUPS_PATH.to_owned()))
        })
    }

    fn start_with<B: serde::Serialize + zbus::Type>(
        &mut self,
        unit: &Unit,
        body: &B,
    ) -> Result<(), StartError> {
        let method = Self::method("StartTransientUnit");
        let mut answer = self.bus.call(method, body)?;
        if let Reply::Error { name, .. } = &answer
            && name.ends_with(".UnitExists")
        {
            // A failed container of that name may have left a unit. A running unit stays, and is refused
            // again.
            self.reset_failed(unit)?;
            answer = self.bus.call(method, body)?;
        }
        match answer {
            Reply::Return(job) => Ok(self.wait_for_job(&job).inspect_err(|_| self.cancel_start(unit))?),
            Reply::Error { name, text } => Err(StartError::Refused { name, text }),
        }
    }

    /// Stops a unit whose start has failed or is still pending: the job must not be executed after nobody
    /// waits for it any more.
    fn cancel_start(&mut self, unit: &Unit) {
        self.bus.set_deadline(self.timeout.min(Duration::from_secs(5)));
        let _ = self.bus.call(Self::method("StopUnit"), &(&*unit.name, "replace"));
        let _ = self.reset_failed(unit);
    }

    /// Stops a unit, and waits until it is gone. A missing unit is no failure.
    pub fn stop(&mut self, unit: &Unit) -> Result<()> {
        let doing = || format!("unable to stop unit {:?}", unit.name);
        match self.bus.call(Self::method("StopUnit"), &(&*unit.name, "replace")).with_context(doing)? {
            Reply::Return(job) => self.wait_for_job(&job).with_context(doing)?,
            Reply::Error { name, .. } if name.ends_with(".NoSuchUnit") => return Ok(()),
            Reply::Error { name, text } => return Err(error_from_reply(&name, &text).context(doing())),
        }
        self.reset_failed(unit)
    }

    /// Removes a failed unit, which systemd otherwise keeps for inspection.
    fn reset_failed(&mut self, unit: &Unit) -> Result<()> {
        self.bus.call(Self::method("ResetFailedUnit"), &&*unit.name).map(drop)
    }

    /// Changes properties of a running unit.
    pub fn set(&mut self, unit: &Unit, properties: &[Property]) -> Result<()> {
        let doing = || format!("unable to change unit {:?}", unit.name);
        let body = (&*unit.name, true, as_variants(properties));
        match self.bus.call(Self::method("SetUnitProperties"), &body).with_context(doing)? {
            Reply::Return(_) => Ok(()),
            Reply::Error { name, text } => {
                let (error, pointer) = explain_refusal(&name, &text, properties);
                let error = error.context(doing());
                Err(match pointer {
                    Some(pointer) => error.context(pointer),
                    None => error,
                })
            }
        }
    }

    /// Moves a process into a unit if we may not do so ourselves.
    pub fn attach(&mut self, unit: &Unit, below: &Path, pid: i32) -> Result<()> {
        let below = match below.to_string_lossy() {
            empty if empty.is_empty() => String::new(),
            path => format!("/{path}"),
        };
        let body = (&*unit.name, &*below, vec![pid.unsigned_abs()]);
        let answer = self.bus.call(Self::method("AttachProcessesToUnit"), &body)?.or_error();
        answer.map(drop).with_context(|| format!("adding pid {pid} to unit {:?}", unit.name))
    }

    /// Returns the path of the unit's group, as systemd itself reports it.
    pub fn control_group(&mut self, unit: &Unit) -> Result<PathBuf> {
        let interface = if unit.is_slice() { "Slice" } else { "Scope" };
        let text: String =
            self.property(&unit_object(&unit.name), &format!("{SERVICE}.{interface}"), "ControlGroup")?;
        Ok(text.trim_matches('/').into())
    }

    /// Waits for the end of the job that a method has returned.
    fn wait_for_job(&mut self, answer: &Message) -> Result<()> {
        let job: OwnedObjectPath = answer.read()?;
        self.bus.set_deadline(self.timeout);
        loop {
            let removed = self.bus.signal();
            let removed = removed.with_context(|| format!("wait for systemd's job {}", job.as_str()))?;
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

fn as_variants(properties: &[Property]) -> Vec<(&str, Variant<'static>)> {
    properties.iter().map(|property| (&*property.name, property.value.clone())).collect()
}

/// Why a unit was not started.
enum StartError {
    Refused { name: String, text: String },
    Other(Error),
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Explains a refusal of systemd. If it names the refused property, the error gets the config field that
/// asked for it.
fn explain_refusal(name: &str, text: &str, properties: &[Property]) -> (Error, Option<String>) {
    let error = error_from_reply(name, text);
    let asked = || properties.iter().filter(|property| !property.pointer.is_empty());
    let named = asked().filter(|property| text.contains(&*property.name));
    if let Some(property) = named.max_by_key(|property| property.name.len()) {
        let what = format!("{} = {}", property.name, property.value);
        return (error.context(what), Some(property.pointer.clone()));
    }
    let free = asked().filter(|property| property.pointer.starts_with("/annotations/"));
    let free: Vec<_> = free.map(Property::to_string).collect();
    match free.is_empty() {
        true => (error, None),
        false => (error.with_hint(format!("check {}", free.join(", "))), None),
    }
}

/// Returns the sockets of the system's manager. For root, systemd's own socket comes first: it needs no bus.
fn system_sockets() -> Vec<(PathBuf, bool)> {
    let mut all = vec![("/run/dbus/system_bus_socket".into(), true)];
    if let Some(path) = socket_path_from_env("DBUS_SYSTEM_BUS_ADDRESS") {
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
    all.extend(socket_path_from_env("DBUS_SESSION_BUS_ADDRESS").map(|path| (path, true)));
    all.extend(runtime.map(|dir| (dir.join("bus"), true)));
    // The variable often names the usual path.
    all.dedup();
    all
}

/// Returns the path in `unix:path=/run/user/1000/bus,guid=…`, the first of a list.
fn socket_path_from_env(variable: &str) -> Option<PathBuf> {
    let text = std::env::var(variable).ok()?;
    let unix = text.split(';').find_map(|address| address.strip_prefix("unix:"))?;
    unix.split(',').find_map(|pair| pair.strip_prefix("path=")).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc::{Receiver, channel};

    use zbus::wire::serialized::Context as Wire;
    use zbus::wire::{LE, to_bytes};

    use super::super::bus::tests::answer;
    use super::*;

    const NAMES: [&str; 4] = ["StartTransientUnit", "StopUnit", "ResetFailedUnit", "SetUnitProperties"];

    /// A systemd that takes jobs and never does them; with `refusal`, one that refuses the first call so.
    /// Tells what it is asked for.
    fn idle_systemd(name: &str, refusal: Option<&'static str>) -> (Client, Receiver<&'static str>) {
        let path = std::env::temp_dir().join(format!("tare-systemd-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let (asked, calls) = channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 8192];
            let _ = stream.read(&mut bytes);
            let _ = stream.write_all(b"DATA\r\nOK 0123\r\n");
            let job = to_bytes(Wire::new(LE, 0), &ObjectPath::try_from("/job/1").unwrap()).unwrap();
            while let Ok(length @ 1..) = stream.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]);
                let called = NAMES.into_iter().find(|name| text.contains(name)).unwrap();
                let serial = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
                let message = match (called, refusal) {
                    ("StartTransientUnit" | "SetUnitProperties", Some(text)) => {
                        answer(serial, 3, &to_bytes(Wire::new(LE, 0), &text).unwrap(), "s")
                    }
                    ("ResetFailedUnit", _) => answer(serial, 2, b"", ""),
                    _ => answer(serial, 2, &job, "o"),
                };
                let _ = asked.send(called);
                let _ = stream.write_all(&message);
            }
        });
        let mut client = Client::connect_to(vec![(path.clone(), false)]).unwrap();
        std::fs::remove_file(path).unwrap();
        client.timeout = Duration::from_millis(100);
        (client, calls)
    }

    fn unit() -> Unit {
        Unit::from_path(
            Some(Path::new("system.slice:tare:x")),
            &crate::container_id::ContainerId::parse("x").unwrap(),
            false,
        )
        .unwrap()
    }

    #[test]
    fn a_job_that_never_ends_is_given_up_and_taken_back() {
        let (mut client, calls) = idle_systemd("endless", None);
        let start = std::time::Instant::now();
        let error = client.start(&unit(), &[], Some(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/linux/cgroupsPath: unable to start unit \"tare-x.scope\": wait for systemd's job /job/1: no answer in time"
        );
        assert!(start.elapsed() < Duration::from_secs(3));
        // Done later, it would make a scope that nobody knows.
        assert_eq!(
            calls.try_iter().collect::<Vec<_>>(),
            ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]
        );
        let error = client.stop(&unit()).unwrap_err().to_string();
        assert_eq!(
            error,
            "unable to stop unit \"tare-x.scope\": wait for systemd's job /job/1: no answer in time"
        );
    }

    #[test]
    fn a_refused_property_is_told_with_its_field() {
        let memory = Property::new("MemoryMax", 7_u64, "/linux/resources/memory/limit");
        let free = Property::new("Nice", 7_u64, "/annotations/org.systemd.property.Nice");
        let properties = [memory, free];
        let (mut client, _) = idle_systemd("refuses", Some("MemoryMax= out of range."));
        let want = "unit \"tare-x.scope\": MemoryMax = uint64 7: MemoryMax= out of range (Failed)";
        let error = client.start(&unit(), &properties, Some(1)).unwrap_err().to_string();
        assert_eq!(error, format!("/linux/resources/memory/limit: unable to start {want}"));
        let error = client.set(&unit(), &properties).unwrap_err().to_string();
        assert_eq!(error, format!("/linux/resources/memory/limit: unable to change {want}"));
        // Where it does not say which, those that nobody has checked are named.
        let (mut client, _) = idle_systemd("mumbles", Some("Unexpected message contents"));
        let error = client.start(&unit(), &properties, Some(1)).unwrap_err();
        assert!(error.to_string().starts_with("/linux/cgroupsPath: unable to start unit"), "{error}");
        assert_eq!(error.hint(), Some("check Nice = uint64 7 (/annotations/org.systemd.property.Nice)"));
    }
}
