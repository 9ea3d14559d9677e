//! `tare-image pull SOURCE [DEST]`.

use clap::{Arg, ArgMatches, Command};
use oci_spec::image::Digest;
use serde_json::json;

use super::arguments::{self, flag, option};
use super::progress;
use crate::cli::stdout;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::blob::compression::Compression;
use crate::image::copy::{Contents, copy};
use crate::image::document::manifest::{artifact_type, read_image, read_manifest};
use crate::image::repack::GivenOut;
use crate::image::source::reference::Reference;
use crate::image::source::registry::Access;
use crate::image::source::{self, ImageSource};
use crate::image::store::{ImportOptions, import_layers};

pub(super) const DESTINATIONS: &str =
    "oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME] or docker://NAME[:TAG]";

pub(super) fn command() -> Command {
    Command::new("pull")
        .about("Copy an image, or with --all an index and all its images, to a layout, an archive or a registry; or unpack it to the store")
        .arg(arguments::source())
        .arg(
            Arg::new("destination")
                .value_name("DEST")
                .help(format!("{DESTINATIONS} [default: the store]")),
        )
        .arg(arguments::store())
        .arg(
            flag("from-store", "take the image from the store, and not from where it was pulled from")
                .requires("destination")
                .conflicts_with_all(["platform", "all"]),
        )
        .arg(
            option(
                "compress",
                "gzip|zstd|none",
                "compression of layers from the store whose first digest cannot be had [default: none]",
            )
            .value_parser(["gzip", "zstd", "none"])
            .requires("from-store"),
        )
        .arg(arguments::layer_form().conflicts_with("destination"))
        .arg(
            flag("all", "copy all platforms and the index that names them, as they stand")
                .requires("destination")
                .conflicts_with_all(["platform", "store"]),
        )
        .arg(arguments::platform())
        .args(arguments::limits())
        .args(arguments::access())
        .arg(destination_credentials())
        .args(progress::arguments())
}

pub(super) fn destination_credentials() -> Arg {
    option("dest-creds", "USER:PASSWORD", "the credentials for DEST, if it is a registry")
}

/// Returns the settings for the destination: `--dest-creds`, or `--creds` if the source is no registry.
pub(super) fn target_of(matches: &ArgMatches, source: Option<&Reference>) -> Result<Access> {
    let access = arguments::access_of(matches)?;
    let credentials = match arguments::text(matches, "dest-creds") {
        Some(text) => Some(arguments::credentials("dest-creds", text)?),
        None if matches!(source, Some(Reference::Registry(_))) => None,
        None => access.credentials.clone(),
    };
    Ok(Access { credentials, ..access })
}

/// The value of `--compress`.
pub(super) fn compression_of(matches: &ArgMatches) -> Option<Compression> {
    arguments::text(matches, "compress").map(|name| match name {
        "zstd" => Compression::Zstd,
        "none" => Compression::Plain,
        _ => Compression::Gzip,
    })
}

/// Copies an image of the store to the destination.
fn give_out(matches: &ArgMatches, reference: &Reference, destination: &Reference) -> Result<()> {
    let store = arguments::store_of(matches)?;
    let kept = match store.kept_image(&reference.absolute()?.to_string()) {
        // `run` records it as it was typed.
        Err(error) if error.kind() == Kind::NotFound => store.kept_image(&reference.to_string()),
        kept => kept,
    };
    let kept = kept.with_context(|| reference.to_string())?;
    let given = GivenOut::new(kept, compression_of(matches)).with_context(|| reference.to_string())?;
    let image = read_image(&|blob| given.blob(blob), given.descriptor())?;
    // Nothing is asked of the image's registry: --creds are the destination's.
    let target = target_of(matches, None)?;
    let (limits, progress) = (arguments::limits_of(matches), progress::progress_of(matches));
    copy(&given, &Contents::of_image(&image), destination, &target, &limits, &progress)?;
    print_digest(matches, image.descriptor.digest())
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let reference = arguments::source_of(matches)?;
    let destination = arguments::text(matches, "destination").map(Reference::parse).transpose()?;
    match &destination {
        Some(destination) if matches.get_flag("from-store") => {
            return give_out(matches, &reference, destination);
        }
        Some(_) if arguments::path(matches, "store").is_some() => {
            let error =
                fail!(Kind::Usage, "--store cannot be used with DEST: an image is copied to one of both");
            return Err(error.with_hint("--from-store takes it from the store"));
        }
        _ => {}
    }
    let (limits, progress) = (arguments::limits_of(matches), progress::progress_of(matches));
    if let Some(destination) = destination {
        let source = source::open(&reference, &arguments::access_of(matches)?)?;
        let contents = contents_of(matches, source.as_ref(), &reference)?;
        let target = target_of(matches, Some(&reference))?;
        copy(source.as_ref(), &contents, &destination, &target, &limits, &progress)?;
        return print_digest(matches, contents.digest());
    }
    let store = arguments::store_if_there(matches)?;
    let source = arguments::open_beside(matches, &reference, store.as_ref())?;
    let image = arguments::image_of(matches, source.as_ref(), &reference, true)?;
    let store = store.map_or_else(|| arguments::store_of(matches), Ok)?;
    let options =
        ImportOptions { limits: &limits, progress: &progress, form: arguments::layer_form_of(matches) };
    let imported = import_layers(&store, source.as_ref(), &image, options)?;
    store.record_image(&reference.absolute()?.to_string(), &image, &imported)?;
    print_digest(matches, image.descriptor.digest())
}

/// Reads the contents to copy: with --all everything that the reference names, else one image or artifact of
/// it.
fn contents_of(matches: &ArgMatches, source: &dyn ImageSource, reference: &Reference) -> Result<Contents> {
    let platform = arguments::platform_of(matches)?;
    if matches.get_flag("all") {
        let top = source::resolve_entry(source, reference, &platform)?;
        return Contents::read_all(source, &top).with_context(|| reference.to_string());
    }
    let top = source::resolve_manifest(source, reference, &platform)?;
    let (manifest, _) =
        read_manifest(&|descriptor| source.blob(descriptor), &top).with_context(|| reference.to_string())?;
    match artifact_type(&manifest) {
        Some(_) => Contents::read_all(source, &top).with_context(|| reference.to_string()),
        None => Ok(Contents::of_image(&arguments::image_of(matches, source, reference, false)?)),
    }
}

/// Prints the result: the digest of the manifest.
pub(super) fn print_digest(matches: &ArgMatches, digest: &Digest) -> Result<()> {
    match (matches.get_flag("json"), matches.get_flag("quiet")) {
        (true, _) => stdout::write(&format!("{}\n", json!({ "manifest": digest }))),
        (_, true) => Ok(()),
        _ => stdout::write(&format!("{digest}\n")),
    }
}
