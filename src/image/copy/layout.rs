//! Copies an image into an OCI image layout, a new one or one with other images. A blob is written to
//! `HEX.partial` and renamed when it is verified; the index names the image when all its blobs are there. The
//! partial blobs of an interrupted run are continued by the next. The layout may be somebody else's:
//! everything in it is opened by descriptor, and no link is followed.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, OciLayout};
use serde_json::{Value, json};

use super::{CopySource, copy_bytes};
use crate::error::{Context, Kind, Result};
use crate::image::blob::digest::{self, Hasher, VerifyingReader};
use crate::image::document::manifest;
use crate::image::filesystem::directory::{Directory, is_temporary_name};
use crate::image::filesystem::lock::Lock;
use crate::image::limits::MAX_MANIFEST;
use crate::image::source::layout;
use crate::{fail, log};

/// The content of `oci-layout`.
pub(super) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The modes of new files and directories, before the umask.
const DIR_MODE: u32 = 0o777;
const FILE_MODE: u32 = 0o644;

/// The layout that is written to.
struct Target {
    root: Directory,
    blobs: Directory,
}

pub(super) fn write(from: &CopySource<'_>, dir: &Path, tag: Option<&str>) -> Result<()> {
    let target = Target::prepare(dir)?;
    from.for_each_blob(|blob| {
        let open = |start| {
            from.progress.bytes(blob, start);
            from.open(blob, start)
        };
        target.add_blob(blob, &open)?;
        from.progress.done(blob);
        Ok(())
    })?;
    for (document, bytes) in &from.contents.documents {
        let open =
            |start: u64| Ok(bytes.get(usize::try_from(start).unwrap_or(usize::MAX)..).unwrap_or_default());
        target.add_blob(document, &open).with_context(|| format!("manifest {}", document.digest()))?;
    }
    target.add_to_index(&from.contents.top, tag)
}

impl Target {
    /// Makes the directories and `oci-layout`; an existing layout must be of the version we know.
    fn prepare(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        let root = Directory::open(dir)?;
        // Another process may be making the same layout.
        let _lock = lock(&root, dir)?;
        match root.read_small("oci-layout", MAX_MANIFEST)? {
            Some(bytes) => {
                let about: Result<OciLayout> = manifest::parse_json(&bytes);
                about
                    .and_then(|about| layout::check_version(&about))
                    .with_context(|| format!("{}", dir.join("oci-layout").display()))?;
            }
            // A killed process leaves no more than the temporary file.
            None if root.names()?.iter().any(|name| !name.starts_with("oci-layout.")) => {
                return Err(fail!(Kind::Exists, "{} is not empty, and no image layout", dir.display()));
            }
            None => root.replace("oci-layout", OCI_LAYOUT, FILE_MODE)?,
        }
        // Only the holder of the lock replaces files here.
        root.remove_abandoned(|name| {
            matches!(name, "oci-layout.partial" | "index.json.partial") || is_temporary_name(name)
        })?;
        let blobs = root.make("blobs", DIR_MODE)?;
        blobs.make("sha256", DIR_MODE)?.remove_abandoned(is_temporary_name)?;
        Ok(Self { root, blobs })
    }

    /// Copies one blob, unless it is there; continues the partial blob of an interrupted run.
    fn add_blob<R: Read>(&self, blob: &Descriptor, open: &dyn Fn(u64) -> Result<R>) -> Result<()> {
        // A parsed digest, of an algorithm that we know, is no path that leads elsewhere.
        digest::path(blob.digest())?;
        let dir = self.blobs.make(blob.digest().algorithm().as_ref(), DIR_MODE)?;
        let name = blob.digest().digest();
        if is_there(&dir, blob)? {
            return Ok(());
        }
        let partial = format!("{name}.partial");
        let mut file = dir.lock_partial(&partial, FILE_MODE)?;
        // Another process may have completed it while this one waited for the lock.
        if is_there(&dir, blob)? {
            return dir.remove_file(&partial);
        }
        if dir.stat_of(name)?.is_some() {
            log::warn(format_args!("{}: its content is wrong, and is replaced", dir.path_of(name).display()));
        }
        let completed = complete_blob(blob, &mut file, open);
        if completed.as_ref().is_err_and(|error| error.kind() == Kind::Spec) {
            // The bytes are wrong: the next run must not continue with them.
            let _ = dir.remove_file(&partial);
        }
        completed?;
        file.sync_all().with_context(|| format!("write {}", dir.path_of(&partial).display()))?;
        dir.rename(&partial, name)
    }

    /// Adds the image to index.json. A tag is removed from the image that had it; without a tag, the digest
    /// is listed once.
    fn add_to_index(&self, image: &Descriptor, tag: Option<&str>) -> Result<()> {
        let entry = index_entry(image, tag);
        change_index(&self.root, |entries| {
            entries.retain(|known| match tag {
                Some(tag) => name_of(known) != Some(tag),
                None => name_of(known).is_some() || known["digest"] != entry["digest"],
            });
            entries.push(entry);
            Ok(true)
        })
    }
}

/// Changes the images that the index of a layout lists; the index is written if `change` says that it did
/// something. Other processes wait meanwhile.
pub(super) fn change_index(
    root: &Directory,
    change: impl FnOnce(&mut Vec<Value>) -> Result<bool>,
) -> Result<()> {
    let path = root.path_of("index.json");
    let _lock = lock(root, &path)?;
    let mut index: Value = match root.read_small("index.json", MAX_MANIFEST)? {
        Some(bytes) => {
            manifest::parse_index(&bytes, None).with_context(|| format!("{}", path.display()))?;
            manifest::parse_json(&bytes)?
        }
        None => empty_index(),
    };
    if index["manifests"].is_null() {
        // Go writes an empty list as null.
        index["manifests"] = json!([]);
    }
    let is_changed = match index["manifests"].as_array_mut() {
        Some(entries) => change(entries)?,
        None => false,
    };
    if is_changed { root.replace("index.json", index.to_string().as_bytes(), FILE_MODE) } else { Ok(()) }
}

/// The name that an index gives an image.
pub(super) fn name_of(entry: &Value) -> Option<&str> {
    entry["annotations"][ANNOTATION_REF_NAME].as_str()
}

/// Opens a layout to change its index.
pub(super) fn open(dir: &Path) -> Result<Directory> {
    let root = Directory::open(dir)?;
    let path = root.path_of("oci-layout");
    let missing = || fail!(Kind::NotFound, "{}: it is no image layout: it has no oci-layout", dir.display());
    let about: OciLayout =
        manifest::parse_json(&root.read_small("oci-layout", MAX_MANIFEST)?.ok_or_else(missing)?)
            .with_context(|| path.display().to_string())?;
    layout::check_version(&about).with_context(|| path.display().to_string())?;
    Ok(root)
}

/// Locks the layout against other processes that change it.
fn lock(dir: &Directory, path: &Path) -> Result<Lock<std::os::fd::OwnedFd>> {
    let locking = || format!("lock {}", path.display());
    let fd = dir.as_fd().try_clone_to_owned().with_context(locking)?;
    Lock::wait(fd).with_context(locking)
}

/// Whether the layout has the blob. It is read as a whole: the index must not come to name a blob that a full
/// disk, a crash or another program has left wrong.
fn is_there(dir: &Directory, blob: &Descriptor) -> Result<bool> {
    let name = blob.digest().digest();
    match dir.stat_of(name)? {
        Some(found) if u64::try_from(found.st_size) == Ok(blob.size()) => {}
        _ => return Ok(false),
    }
    // Anything but a regular file is replaced.
    let Ok(mut file) = dir.open_file(name) else { return Ok(false) };
    let mut hasher = Hasher::for_digest(blob.digest())?;
    hash_start(&mut file, blob.size(), &mut hasher)
        .with_context(|| format!("read {}", dir.path_of(name).display()))?;
    Ok(hasher.finish() == *blob.digest())
}

/// Hashes the first `size` bytes of a file.
fn hash_start(file: &mut File, size: u64, hasher: &mut Hasher) -> Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; 128 << 10];
    let mut start = file.take(size);
    loop {
        match start.read(&mut buffer)? {
            0 => return Ok(()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Completes a partial blob. If its bytes turn out to be wrong, the whole blob is copied once more: they may
/// be what a crash has left.
fn complete_blob<R: Read>(blob: &Descriptor, file: &mut File, open: &dyn Fn(u64) -> Result<R>) -> Result<()> {
    let present = file.metadata()?.len().min(blob.size());
    match append_rest(blob, file, present, open) {
        Err(error) if present > 0 && error.kind() == Kind::Spec => append_rest(blob, file, 0, open),
        done => done,
    }
}

/// Hashes the first `present` bytes of the file, puts the rest of the blob behind them and verifies the
/// whole.
fn append_rest<R: Read>(
    blob: &Descriptor,
    file: &mut File,
    present: u64,
    open: &dyn Fn(u64) -> Result<R>,
) -> Result<()> {
    let mut hasher = Hasher::for_digest(blob.digest())?;
    hash_start(file, present, &mut hasher)?;
    file.set_len(present)?;
    file.seek(SeekFrom::Start(present))?;
    let mut verified = VerifyingReader::resume(open(present)?, blob, hasher, present);
    copy_bytes(&mut verified, file, "blob").map(drop)
}

/// An index without images.
pub(super) fn empty_index() -> Value {
    json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] })
}

/// The descriptor of an image in an index, with its tag as `org.opencontainers.image.ref.name`.
pub(super) fn index_entry(image: &Descriptor, tag: Option<&str>) -> Value {
    let mut entry =
        json!({ "mediaType": image.media_type(), "digest": image.digest(), "size": image.size() });
    if let Some(tag) = tag {
        entry["annotations"] = json!({ ANNOTATION_REF_NAME: tag });
    }
    entry
}
