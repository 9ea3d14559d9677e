//! Copies an image into an OCI image layout, a new one or one with other images. A blob is written to `HEX.partial` and
//! renamed when it is verified; the index names the image when all its blobs are there. The partial blobs of an
//! interrupted run are continued by the next.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor};
use serde_json::{Value, json};

use super::{CopySource, copy_bytes};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest::{self, Hasher, Verified};
use crate::image::document::manifest;
use crate::image::filesystem::partial_file;
use crate::image::filesystem::replace::replace_file;
use crate::image::io_error::from_io_error;
use crate::image::source::layout;

/// The content of `oci-layout`.
pub(super) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

pub(super) fn write(from: &CopySource<'_>, dir: &Path, tag: Option<&str>) -> Result<()> {
    prepare(dir)?;
    from.for_each_blob(|blob| fetch(from, dir, blob))?;
    for (document, bytes) in &from.contents.documents {
        let path = blob_path(dir, document)?;
        if !path.exists() {
            make_parent(&path)?;
            replace_file(&path, bytes)?;
        }
    }
    add_to_index(dir, &from.contents.top, tag)
}

/// Makes the directories and `oci-layout`; an existing layout must be of the version we know.
fn prepare(dir: &Path) -> Result<()> {
    let making = || format!("make {}", dir.display());
    fs::create_dir_all(dir).with_context(making)?;
    // Another process may be making the same layout.
    let _lock = lock(dir)?;
    if dir.join("oci-layout").exists() {
        layout::Layout::open(dir)?;
    } else {
        let names = fs::read_dir(dir).with_context(making)?.flatten().map(|entry| entry.file_name());
        // A killed process leaves no more than the temporary file.
        if names.into_iter().any(|name| !name.as_encoded_bytes().starts_with(b"oci-layout.")) {
            return Err(fail!(Kind::Exists, "{} is not empty, and no image layout", dir.display()));
        }
        replace_file(&dir.join("oci-layout"), OCI_LAYOUT)?;
    }
    fs::create_dir_all(dir.join("blobs/sha256")).with_context(making)
}

/// Locks the layout against other processes that change it.
fn lock(dir: &Path) -> Result<Flock<File>> {
    let locking = || format!("lock {}", dir.display());
    let file = File::open(dir).with_context(locking)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).with_context(locking)
}

fn blob_path(dir: &Path, blob: &Descriptor) -> Result<PathBuf> {
    Ok(dir.join("blobs").join(digest::path(blob.digest())?))
}

/// The directory of the digest's algorithm.
fn make_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), |parent| {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))
    })
}

/// Copies one blob; continues the partial blob of an interrupted run.
fn fetch(from: &CopySource<'_>, dir: &Path, blob: &Descriptor) -> Result<()> {
    let path = blob_path(dir, blob)?;
    if is_there(&path, blob) {
        from.progress.done(blob);
        return Ok(());
    }
    make_parent(&path)?;
    let partial = partial(&path);
    let mut file = partial_file::lock(&partial)?;
    // Another process may have completed it while this one waited for the lock.
    if is_there(&path, blob) {
        let _ = fs::remove_file(&partial);
        from.progress.done(blob);
        return Ok(());
    }
    let fetched = complete_blob(from, blob, &mut file);
    if fetched.as_ref().is_err_and(|error| error.kind() == Kind::Spec) {
        // The bytes are wrong: the next run must not continue with them.
        let _ = fs::remove_file(&partial);
    }
    fetched?;
    file.sync_all().with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, &path).with_context(|| format!("put {} in its place", path.display()))?;
    from.progress.done(blob);
    Ok(())
}

fn is_there(path: &Path, blob: &Descriptor) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() == blob.size())
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Hashes the bytes that the file already has, then appends the rest of the blob to it and verifies the whole.
fn complete_blob(from: &CopySource<'_>, blob: &Descriptor, file: &mut File) -> Result<()> {
    let present = file.metadata()?.len().min(blob.size());
    let mut hasher = Hasher::for_digest(blob.digest())?;
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; 128 << 10];
    let mut before = (&mut *file).take(present);
    loop {
        match before.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    file.set_len(present)?;
    file.seek(SeekFrom::Start(present))?;
    from.progress.bytes(blob, present);
    let rest = from.open(blob, present)?;
    let mut verified = Verified::after(rest, blob, hasher, present);
    copy_bytes(&mut verified, file, "blob").map(drop)
}

/// Adds the image to index.json. A tag is removed from the image that had it; without a tag, the digest is listed once.
fn add_to_index(dir: &Path, image: &Descriptor, tag: Option<&str>) -> Result<()> {
    let _lock = lock(dir)?;
    let path = dir.join("index.json");
    let mut index: Value = match File::open(&path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(crate::image::limits::MAX_MANIFEST).read_to_end(&mut bytes).map_err(from_io_error)?;
            manifest::parse_index(&bytes, None).with_context(|| format!("{}", path.display()))?;
            manifest::parse_json(&bytes)?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => empty_index(),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    let entry = index_entry(image, tag);
    if let Some(entries) = index["manifests"].as_array_mut() {
        let name = |entry: &Value| entry["annotations"][ANNOTATION_REF_NAME].as_str().map(str::to_owned);
        entries.retain(|known| match tag {
            Some(tag) => name(known).as_deref() != Some(tag),
            None => name(known).is_some() || known["digest"] != entry["digest"],
        });
        entries.push(entry);
    }
    replace_file(&path, index.to_string().as_bytes())
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
