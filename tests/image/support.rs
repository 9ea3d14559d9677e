//! Fixtures: layers written entry by entry, layouts that hold them, and scratch directories that are removed.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tar::{EntryType, Header};
use tare::testing::image::blob::digest;

/// A directory for one test, removed when dropped.
pub(crate) struct Scratch(PathBuf);

/// The directory of scratch directories: in memory, if there is room and tmpfs has user attributes (Linux 6.6).
pub(crate) fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let probe = memory.join(format!("tare-image-probe-{}", std::process::id()));
        let name = CString::new(probe.as_os_str().as_bytes()).unwrap();
        let keeps =
            fs::write(&probe, "").is_ok() && tare::sys::xattr::lsetxattr(&name, c"user.probe", b"").is_ok();
        let _ = fs::remove_file(&probe);
        let room = nix::sys::statvfs::statvfs(memory)
            .is_ok_and(|about| about.blocks_free() * about.fragment_size() > 4 << 30);
        if keeps && room { memory.into() } else { std::env::temp_dir() }
    })
}

/// The program under test; TARE_TEST_IMAGE names another one, to see what the tests say about it.
pub(crate) fn program() -> String {
    std::env::var("TARE_TEST_IMAGE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tare-image").into())
}

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = base().join(format!("tare-image-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A scratch directory that is on a disk: where files can be mounted.
    pub(crate) fn on_disk(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tare-image-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs tare-image in this directory.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new(program()).args(args).current_dir(&self.0).output().unwrap()
    }

    /// Runs a script in a new mount namespace, in this directory, with tare-image as `$IMAGE`.
    pub(crate) fn by_script(&self, shell: &str, script: &str) -> Output {
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", shell, "-ec", script])
            .env("IMAGE", env!("CARGO_BIN_EXE_tare-image"))
            .current_dir(&self.0)
            .output()
            .unwrap()
    }

    /// Unpacks `oci:image` to `bundle`, which must succeed; returns the rootfs.
    pub(crate) fn unpack(&self) -> PathBuf {
        let output = self.run(&["unpack", "oci:image", "bundle"]);
        assert!(output.status.success(), "{}", stderr(&output));
        self.join("bundle/rootfs")
    }

    /// Unpacks `oci:image` to `shared`, over layers in `store`; returns the rootfs.
    pub(crate) fn unpack_shared(&self) -> PathBuf {
        let output = self.run(&["unpack", "--overlay", "--store", "store", "oci:image", "shared"]);
        assert!(output.status.success(), "{}", stderr(&output));
        self.join("shared/rootfs")
    }

    /// Unpacks `oci:image` to `directories`, over layers that are directories in `files`; returns the rootfs.
    pub(crate) fn unpack_directories(&self) -> PathBuf {
        let output = self.run(&["unpack", "--overlay=files", "--store", "files", "oci:image", "directories"]);
        assert!(output.status.success(), "{}", stderr(&output));
        self.join("directories/rootfs")
    }

    /// Unpacks an image that must be refused; nothing may be left at or beside the destination. Returns the error.
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        let before = names(&self.0);
        let output = self.run(&[&["unpack", "oci:image", "bundle"], args].concat());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert_eq!(names(&self.0), before, "something is left behind: {}", stderr(&output));
        stderr(&output)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Bundles in it may be mounted.
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = nix::mount::umount2(&entry.path().join("rootfs"), nix::mount::MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// One entry to write. The default is a file of root with a time in 2001.
#[derive(Clone)]
pub(crate) struct Item {
    pub name: Vec<u8>,
    pub kind: EntryType,
    pub mode: u32,
    pub ids: (u64, u64),
    pub mtime: u64,
    pub link: Vec<u8>,
    pub data: Vec<u8>,
    pub device: (u32, u32),
    /// The records of a pax header before it.
    pub pax: Vec<(String, Vec<u8>)>,
}

pub(crate) const TIME: u64 = 1_000_000_000;

impl Item {
    fn new(name: &str, kind: EntryType) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            kind,
            mode: 0o644,
            ids: (0, 0),
            mtime: TIME,
            link: Vec::new(),
            data: Vec::new(),
            device: (0, 0),
            pax: Vec::new(),
        }
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn ids(mut self, uid: u64, gid: u64) -> Self {
        self.ids = (uid, gid);
        self
    }

    pub(crate) fn mtime(mut self, mtime: u64) -> Self {
        self.mtime = mtime;
        self
    }

    pub(crate) fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.pax.push((key.into(), value.to_vec()));
        self
    }

    pub(crate) fn raw_name(mut self, name: &[u8]) -> Self {
        self.name = name.to_vec();
        self
    }

    pub(crate) fn header(&self) -> Header {
        let mut header = Header::new_ustar();
        let ustar = header.as_ustar_mut().unwrap();
        let head = self.name.len().min(100);
        ustar.name[..head].copy_from_slice(&self.name[..head]);
        let tail = self.link.len().min(100);
        ustar.linkname[..tail].copy_from_slice(&self.link[..tail]);
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(self.ids.0);
        header.set_gid(self.ids.1);
        header.set_mtime(self.mtime);
        header.set_size(self.data.len() as u64);
        header.set_device_major(self.device.0).unwrap();
        header.set_device_minor(self.device.1).unwrap();
        header.set_cksum();
        header
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut pax = self.pax.clone();
        if self.name.len() > 100 && !pax.iter().any(|(key, _)| key == "path") {
            pax.push(("path".into(), self.name.clone()));
        }
        if self.link.len() > 100 {
            pax.push(("linkpath".into(), self.link.clone()));
        }
        if !pax.is_empty() {
            let records: Vec<u8> = pax.iter().flat_map(|(key, value)| record(key, value)).collect();
            let mut header = Item::new("pax", EntryType::XHeader);
            header.data = records;
            block(&header.header(), &header.data, out);
        }
        block(&self.header(), &self.data, out);
    }
}

pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let digits = (1..).find(|digits| (body.len() + digits).to_string().len() == *digits).unwrap();
    [(body.len() + digits).to_string().as_bytes(), &body].concat()
}

pub(crate) fn block(header: &Header, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
}

pub(crate) fn file(name: &str, data: &str) -> Item {
    Item { data: data.as_bytes().to_vec(), ..Item::new(name, EntryType::Regular) }
}

pub(crate) fn dir(name: &str) -> Item {
    Item::new(name, EntryType::Directory).mode(0o755)
}

pub(crate) fn symlink(name: &str, target: &str) -> Item {
    Item { link: target.as_bytes().to_vec(), ..Item::new(name, EntryType::Symlink).mode(0o777) }
}

pub(crate) fn hard_link(name: &str, target: &str) -> Item {
    Item { link: target.as_bytes().to_vec(), ..Item::new(name, EntryType::Link) }
}

pub(crate) fn node(name: &str, kind: EntryType, major: u32, minor: u32) -> Item {
    Item { device: (major, minor), ..Item::new(name, kind) }
}

/// An archive of these entries, with the two zero blocks at its end.
pub(crate) fn archive(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    items.iter().for_each(|item| item.write(&mut out));
    out.resize(out.len() + 1024, 0);
    out
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

pub(crate) const PACKINGS: [Packing; 3] = [Packing::Plain, Packing::Gzip, Packing::Zstd];

impl Packing {
    pub(crate) fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => bytes.to_vec(),
            Self::Gzip => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(bytes).unwrap();
                out.finish().unwrap()
            }
            Self::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// An image to write; tests may change its documents first.
pub(crate) struct Fixture {
    pub path: PathBuf,
    pub config: Value,
    layers: Vec<Value>,
    diff_ids: Vec<String>,
}

impl Fixture {
    /// Makes an empty layout at `image` in the scratch directory.
    pub(crate) fn new(scratch: &Scratch) -> Self {
        let path = scratch.join("image");
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { path, config: json!({}), layers: Vec::new(), diff_ids: Vec::new() }
    }

    pub(crate) fn blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = digest::sha256_of(bytes);
        fs::write(self.path.join("blobs/sha256").join(digest.digest()), bytes).unwrap();
        json!({ "mediaType": media_type, "size": bytes.len(), "digest": digest.to_string() })
    }

    pub(crate) fn layer(&mut self, packing: Packing, archive: &[u8]) -> &mut Self {
        let blob = self.blob(&packing.pack(archive), packing.media_type());
        self.raw_layer(blob, digest::sha256_of(archive).as_ref())
    }

    pub(crate) fn raw_layer(&mut self, blob: Value, diff_id: &str) -> &mut Self {
        self.layers.push(blob);
        self.diff_ids.push(diff_id.into());
        self
    }

    pub(crate) fn config_json(&self) -> Value {
        json!({
            "architecture": match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": self.diff_ids },
        })
    }

    /// Writes configuration, manifest and index; returns the manifest's descriptor.
    pub(crate) fn finish(&self) -> Value {
        self.finish_with(&self.config_json(), "latest")
    }

    pub(crate) fn finish_with(&self, config: &Value, tag: &str) -> Value {
        let config = serde_json::to_vec(config).unwrap();
        let config = self.blob(&config, "application/vnd.oci.image.config.v1+json");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": self.layers,
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut descriptor = self.blob(&manifest, "application/vnd.oci.image.manifest.v1+json");
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        self.index(&[descriptor.clone()]);
        descriptor
    }

    pub(crate) fn index(&self, manifests: &[Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        fs::write(self.path.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    }
}

/// Writes an image of these layers, compressed with gzip.
pub(crate) fn image(scratch: &Scratch, layers: &[&[Item]]) {
    let mut fixture = Fixture::new(scratch);
    for items in layers {
        fixture.layer(Packing::Gzip, &archive(items));
    }
    fixture.finish();
}

/// Describes a tree, one line for each file: name, type and mode, owner, links, time, target or content, attributes.
pub(crate) fn listing(root: &Path) -> Vec<String> {
    let mut found = Listing { root, lines: Vec::new(), inodes: HashMap::new() };
    found.walk(root);
    found.lines.sort();
    found.lines
}

struct Listing<'a> {
    root: &'a Path,
    lines: Vec<String>,
    /// The first path of each file with several hard links.
    inodes: HashMap<u64, String>,
}

impl Listing<'_> {
    fn walk(&mut self, path: &Path) {
        let name = path.strip_prefix(self.root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) => return self.lines.push(format!("/{name} is listed, but: {error}")),
        };
        let kind = meta.file_type();
        let what = if kind.is_symlink() {
            format!("-> {}", fs::read_link(path).unwrap().as_os_str().as_bytes().escape_ascii())
        } else if kind.is_file() {
            format!("{} {}", meta.size(), digest::sha256_of(&fs::read(path).unwrap()))
        } else {
            meta.rdev().to_string()
        };
        let links = match kind.is_dir() || meta.nlink() == 1 {
            true => String::new(),
            false => {
                format!("={}={}", meta.nlink(), self.inodes.entry(meta.ino()).or_insert_with(|| name.clone()))
            }
        };
        let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
        let (time, nanos) = (meta.mtime(), meta.mtime_nsec());
        let attributes = attributes(path);
        self.lines
            .push(format!("/{name} {mode:o} {uid}:{gid} {links} {time}.{nanos:09} {what} {attributes}"));
        if kind.is_dir() {
            let mut below: Vec<PathBuf> =
                fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            below.sort();
            below.iter().for_each(|path| self.walk(path));
        }
    }
}

/// The extended attributes of `path` itself.
pub(crate) fn attributes(path: &Path) -> String {
    use tare::sys::xattr::{lgetxattr, llistxattr};
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let names = llistxattr(&path).unwrap();
    let names = names.split_inclusive(|&byte| byte == 0).map(|name| CStr::from_bytes_with_nul(name).unwrap());
    let mut all: Vec<String> = names
        .map(|name| format!("{}={}", name.to_string_lossy(), lgetxattr(&path, name).unwrap().escape_ascii()))
        .collect();
    all.sort();
    all.join(" ")
}

/// Runs `body` as on a kernel without a system call: a seccomp filter holds for this thread and what it starts.
pub(crate) fn without_call<T: Send>(call: i64, body: impl FnOnce() -> T + Send) -> T {
    use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
    let rules = [(call, Vec::new())].into();
    let missing = SeccompAction::Errno(nix::libc::ENOSYS.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, arch).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let program: seccompiler::BpfProgram = filter.try_into().unwrap();
            apply_filter(&program).unwrap();
            body()
        });
        thread.join().unwrap()
    })
}

/// Whether this host mounts the indexes of layers: it is tried with an image of one file.
pub(crate) fn mounts_indexes(scratch: &Scratch) -> bool {
    let own = Scratch::new(&format!("{}-erofs", scratch.path().file_name().unwrap().display()));
    image(&own, &[&[file("a", "x")]]);
    own.run(&["unpack", "-q", "--overlay=erofs", "--store", "store", "oci:image", "bundle"]).status.success()
}
