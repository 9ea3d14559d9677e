//! Copies an image into a tar file: an image layout for `oci-archive:`, what `docker load` reads for
//! `docker-archive:`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use oci_spec::image::{Descriptor, Digest};
use serde_json::json;
use tar::{EntryType, Header};

use super::layout::{OCI_LAYOUT, empty_index, index_entry};
use super::{CopySource, ReadToEnd, copy_bytes};
use crate::error::{Context, Error, Kind, Result};
use crate::fail;
use crate::image::blob::digest::{self, VerifyingReader};
use crate::image::filesystem::directory::Directory;
use crate::image::filesystem::lock::Lock;
use crate::image::io_error::from_io_error;
use crate::image::limits::Usage;
use crate::image::unpack::layer_stream::LayerStream;

/// A tar file that is being written: `.NAME.partial` beside its destination.
struct Output {
    builder: tar::Builder<BufWriter<File>>,
    _lock: Lock<File>,
    dir: Directory,
    temporary: OsString,
    path: PathBuf,
}

impl Output {
    fn create(path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or_else(|| fail!(Kind::Usage, "the path names no file"))?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(".partial");
        let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = Directory::open(parent.unwrap_or_else(|| Path::new(".")))?;
        let check = || match dir.stat_of(name)? {
            Some(_) => Err(exists(path)),
            None => Ok(()),
        };
        check()?;
        let lock = dir.lock_partial(&temporary, 0o644)?;
        // Another process may have made it while this one waited for the lock.
        check().inspect_err(|_| drop(dir.remove_file(&temporary)))?;
        let opening = || format!("open {}", dir.path_of(&temporary).display());
        lock.set_len(0).with_context(opening)?;
        let file = lock.try_clone().with_context(opening)?;
        Ok(Self {
            builder: tar::Builder::new(BufWriter::with_capacity(128 << 10, file)),
            _lock: lock,
            dir,
            temporary,
            path: path.into(),
        })
    }

    /// A file without a name, beside the destination.
    fn temporary_file(&self) -> Result<File> {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let made = openat(&self.dir, c".", flags, Mode::S_IRUSR | Mode::S_IWUSR);
        Ok(made.with_context(|| format!("make a temporary file beside {}", self.path.display()))?.into())
    }

    fn header(name: &str, size: u64) -> Result<Header> {
        let mut header = Header::new_ustar();
        header.set_path(name).with_context(|| name.to_owned())?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(size);
        // Time 0: the same image gives the same archive, byte for byte.
        header.set_mtime(0);
        header.set_cksum();
        Ok(header)
    }

    fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.add_stream(name, bytes.len() as u64, bytes)
    }

    fn add_stream(&mut self, name: &str, size: u64, from: impl Read) -> Result<()> {
        let header = Self::header(name, size)?;
        let written = self.builder.append(&header, from);
        written.map_err(from_io_error).with_context(|| format!("write {name}"))
    }

    fn add_symlink(&mut self, name: &str, target: &str) -> Result<()> {
        let mut header = Self::header(name, 0)?;
        header.set_entry_type(EntryType::Symlink);
        header.set_link_name(target).with_context(|| name.to_owned())?;
        header.set_cksum();
        self.builder.append(&header, std::io::empty()).with_context(|| format!("write {name}"))
    }

    fn publish(&mut self) -> Result<()> {
        let mut finish = || {
            self.builder.finish()?;
            let out = self.builder.get_mut();
            out.flush()?;
            out.get_ref().sync_all()
        };
        finish().with_context(|| format!("write {}", self.path.display()))?;
        // A file that somebody else has made there meanwhile is not replaced.
        let name = self.path.file_name().unwrap_or_default();
        match self.dir.rename_new(&self.temporary, name) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => Err(exists(&self.path)),
            renamed => renamed,
        }
    }
}

fn exists(path: &Path) -> Error {
    fail!(Kind::Exists, "{} exists", path.display())
}

/// Makes the file at `path` from the members that `fill` adds; after a failure there is no file.
fn write_archive(path: &Path, fill: impl FnOnce(&mut Output) -> Result<()>) -> Result<()> {
    let mut output = Output::create(path)?;
    let done = fill(&mut output).and_then(|()| output.publish());
    // Under the lock still: the next process makes a file of its own.
    done.inspect_err(|_| drop(output.dir.remove_file(&output.temporary)))
}

pub(super) fn write_oci(from: &CopySource<'_>, path: &Path, tag: Option<&str>) -> Result<()> {
    write_archive(path, |output| {
        output.add_file("oci-layout", OCI_LAYOUT)?;
        let contents = from.contents;
        let mut index = empty_index();
        index["manifests"] = json!([index_entry(&contents.top, tag)]);
        output.add_file("index.json", index.to_string().as_bytes())?;
        let name = |blob: &Descriptor| digest::path(blob.digest()).map(|path| format!("blobs/{path}"));
        for (document, bytes) in &contents.documents {
            output.add_file(&name(document)?, bytes)?;
        }
        // A file is in an archive only once, even if an artifact's blob is a manifest that the index names
        // too.
        let is_document = |blob: &Descriptor| {
            contents.documents.iter().any(|(document, _)| document.digest() == blob.digest())
        };
        for blob in contents.blobs.iter().filter(|blob| !is_document(blob)) {
            let mut write = || {
                let verified = VerifyingReader::new(from.open(blob, 0)?, blob)?;
                // The tar builder stops at the blob's size; it is verified only when its end is read.
                output.add_stream(&name(blob)?, blob.size(), ReadToEnd(verified))
            };
            write().with_context(|| format!("blob {}", blob.digest()))?;
            from.progress.done(blob);
        }
        Ok(())
    })
}

pub(super) fn write_docker(from: &CopySource<'_>, path: &Path, tag: Option<&str>) -> Result<()> {
    let several = || fail!(Kind::Unsupported, "a docker-archive holds images, no index and no artifact");
    let image = from.contents.image.as_ref().ok_or_else(several)?;
    write_archive(path, |output| {
        let config = format!("{}.json", digest::sha256_of(&image.config_bytes).digest());
        output.add_file(&config, &image.config_bytes)?;
        let used = Usage::default();
        let mut layers = Vec::new();
        let mut written = HashMap::new();
        let blobs = image.manifest.layers();
        for (number, (blob, diff_id)) in blobs.iter().zip(image.config.rootfs().diff_ids()).enumerate() {
            let diff_id = digest::parse(diff_id)?;
            let place = || {
                let (number, short) = (number + 1, digest::short(blob.digest()));
                format!("layer {number} of {} ({}:{short})", blobs.len(), blob.digest().algorithm())
            };
            // `docker load` wants a name for each layer: a repeated one gets a symlink to the first.
            let name = format!("{}.tar", diff_id.digest());
            if written.insert(name.clone(), ()).is_none() {
                add_layer(from, output, (blob, &diff_id), &name, &used).with_context(place)?;
                from.progress.done(blob);
            } else {
                let again = format!("{}/{}", layers.len(), name);
                output.add_symlink(&again, &format!("../{name}"))?;
                layers.push(again);
                continue;
            }
            layers.push(name);
        }
        let tags: Vec<String> = tag.map(repo_tag).transpose()?.into_iter().collect();
        let manifest = json!([{ "Config": config, "RepoTags": tags, "Layers": layers }]);
        output.add_file("manifest.json", manifest.to_string().as_bytes())
    })
}

/// The name as docker spells it, with a tag.
fn repo_tag(name: &str) -> Result<String> {
    Ok(crate::image::source::registry::parse_name(name)?.whole())
}

/// Adds a layer, decompressed as docker-archive needs it. The tar header needs the unknown size first, so the
/// layer is written to a temporary file before.
fn add_layer(
    from: &CopySource<'_>,
    output: &mut Output,
    (blob, diff_id): (&Descriptor, &Digest),
    name: &str,
    used: &Usage,
) -> Result<()> {
    let mut file = output.temporary_file()?;
    let mut plain = LayerStream::open(Box::new(from.open(blob, 0)?), blob, diff_id, from.limits, used)?;
    let size = copy_bytes(&mut plain, &mut file, name)?;
    plain.finish()?;
    file.seek(SeekFrom::Start(0))?;
    output.add_stream(name, size, file)
}
