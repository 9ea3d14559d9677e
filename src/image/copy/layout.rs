//! Into an OCI image layout, new or with other images in it already. A blob is written under another name and gets
//! its own when it is verified; the index names the image when all its blobs are there. A broken run's half blobs
//! are gone on with by the next.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor};
use serde_json::{Value, json};

use super::{From, pour};
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::digest::{self, Hasher, Verified};
use crate::image::document::manifest;
use crate::image::io_error::out_of_io;
use crate::image::source::layout;

pub const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

pub fn write(from: &From<'_>, dir: &Path, tag: Option<&str>) -> Result<()> {
    prepare(dir)?;
    from.each(&super::blobs(from.image), |blob| fetch(from, dir, blob))?;
    let image = from.image;
    let path = place(dir, &image.descriptor)?;
    if !path.exists() {
        replace(&path, &image.manifest_bytes)?;
    }
    add_to_index(dir, &image.descriptor, tag)
}

/// Makes what a layout has; an existing one must be of our version.
fn prepare(dir: &Path) -> Result<()> {
    if dir.join("oci-layout").exists() {
        layout::Layout::open(dir)?;
    } else if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(fail!(Kind::Exists, "{} is not empty, and no image layout", dir.display()));
    }
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).with_context(|| format!("make {}", blobs.display()))?;
    replace(&dir.join("oci-layout"), LAYOUT)
}

fn place(dir: &Path, blob: &Descriptor) -> Result<PathBuf> {
    Ok(dir.join("blobs").join(digest::path(blob.digest())?))
}

/// Brings one blob in, from where a broken run left it.
fn fetch(from: &From<'_>, dir: &Path, blob: &Descriptor) -> Result<()> {
    let path = place(dir, blob)?;
    if fs::metadata(&path).is_ok_and(|about| about.len() == blob.size()) {
        from.watch.done(blob);
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    let partial = partial(&path);
    let place = || format!("open {}", partial.display());
    let options =
        || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(&partial);
    let file = options().with_context(place)?;
    let mut file =
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).with_context(place)?;
    let fetched = fill(from, blob, &mut file);
    if fetched.as_ref().is_err_and(|error| error.kind() == Kind::Spec) {
        // Wrong bytes are nothing to go on with.
        let _ = fs::remove_file(&partial);
    }
    fetched?;
    file.sync_all().with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, &path).with_context(|| format!("put {} in its place", path.display()))?;
    from.watch.done(blob);
    Ok(())
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Reads what is there, and then the rest, through one verification.
fn fill(from: &From<'_>, blob: &Descriptor, file: &mut File) -> Result<()> {
    let known = file.metadata()?.len().min(blob.size());
    let mut hasher = Hasher::like(blob.digest())?;
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; 128 << 10];
    let mut before = (&mut *file).take(known);
    loop {
        match before.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    file.set_len(known)?;
    file.seek(SeekFrom::Start(known))?;
    from.watch.bytes(blob, known);
    let rest = from.open(blob, known)?;
    let mut verified = Verified::after(rest, blob, hasher, known);
    pour(&mut verified, file, "blob").map(drop)
}

/// Writes a small file beside its place and moves it there.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("tare-{}", std::process::id()));
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    written
        .inspect_err(|_| drop(fs::remove_file(&temporary)))
        .with_context(|| format!("write {}", path.display()))
}

/// Names the image in index.json: a tag moves from what had it; without a tag the digest is listed once.
fn add_to_index(dir: &Path, image: &Descriptor, tag: Option<&str>) -> Result<()> {
    let lock = File::open(dir).with_context(|| format!("open {}", dir.display()))?;
    let _lock =
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("lock the layout")?;
    let path = dir.join("index.json");
    let mut index: Value = match File::open(&path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(crate::image::limits::MANIFEST).read_to_end(&mut bytes).map_err(out_of_io)?;
            manifest::index(&bytes, None).with_context(|| format!("{}", path.display()))?;
            manifest::parse(&bytes)?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => empty_index(),
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    let entry = entry(image, tag);
    if let Some(entries) = index["manifests"].as_array_mut() {
        let name = |entry: &Value| entry["annotations"][ANNOTATION_REF_NAME].as_str().map(str::to_owned);
        entries.retain(|known| match tag {
            Some(tag) => name(known).as_deref() != Some(tag),
            None => name(known).is_some() || known["digest"] != entry["digest"],
        });
        entries.push(entry);
    }
    replace(&path, index.to_string().as_bytes())
}

pub fn empty_index() -> Value {
    json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] })
}

/// What an index says of an image.
pub fn entry(image: &Descriptor, tag: Option<&str>) -> Value {
    let mut entry =
        json!({ "mediaType": image.media_type(), "digest": image.digest(), "size": image.size() });
    if let Some(tag) = tag {
        entry["annotations"] = json!({ ANNOTATION_REF_NAME: tag });
    }
    entry
}
