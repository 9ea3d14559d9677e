//! Arguments that several commands share. For each, one function makes the clap argument, and one whose name
//! ends in `_of` reads its value from the parsed command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::archive::path::clean;
use crate::image::document::manifest::Image;
use crate::image::document::platform::Platform;
use crate::image::limits::Limits;
use crate::image::source::reference::Reference;
use crate::image::source::registry::{Access, Credentials};
use crate::image::source::{self, ImageSource};
use crate::image::store::{KnownFirst, LayerForm, Store};
use crate::image::userns::namespace::{MappedIds, Privilege};

const FORMS: &str =
    "oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], docker://NAME[:TAG|@DIGEST]";

pub(super) fn source() -> Arg {
    Arg::new("source").value_name("SOURCE").required(true).help(FORMS)
}

pub(super) fn source_of(matches: &ArgMatches) -> Result<Reference> {
    Reference::parse(text(matches, "source").unwrap_or_default())
}

pub(super) fn text<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

pub(super) fn path(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches.get_one(name).cloned()
}

pub(super) fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn path_option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    option(name, value, help).value_parser(value_parser!(PathBuf))
}

pub(super) fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

pub(super) fn platform() -> Arg {
    option("platform", "OS/ARCH[/VARIANT]", "the platform to choose [default: this machine's]")
}

/// Returns the platform of --platform, or this machine's.
pub(super) fn platform_of(matches: &ArgMatches) -> Result<Platform> {
    text(matches, "platform").map_or_else(|| Ok(Platform::host()), Platform::parse)
}

/// Returns the image that `reference` names, for the platform of --platform or of this machine. An image for
/// another platform is an error if it will run here (`is_to_run`) or --platform was given; otherwise a
/// source's only image is used, whatever its platform.
pub(super) fn image_of(
    matches: &ArgMatches,
    source: &dyn ImageSource,
    reference: &Reference,
    is_to_run: bool,
) -> Result<Image> {
    let platform = platform_of(matches)?;
    let image = source::resolve_image(source, reference, &platform)?;
    if is_to_run || matches.contains_id("platform") {
        platform.check(&image.config).with_context(|| reference.to_string())?;
    }
    Ok(image)
}

/// Opens the source that a reference names. What the store has of a registry's image, nobody is asked for.
pub(super) fn open_beside(
    matches: &ArgMatches,
    reference: &Reference,
    store: Option<&Store>,
) -> Result<Box<dyn ImageSource>> {
    let source = source::open(reference, &access_of(matches)?)?;
    Ok(match (reference, store) {
        (Reference::Registry(_), Some(store)) => Box::new(KnownFirst::new(source, store)),
        _ => source,
    })
}

/// The options for connections to registries.
pub(super) fn access() -> [Arg; 6] {
    [
        Arg::new("tls-verify")
            .long("tls-verify")
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(value_parser!(bool))
            .help("false: accept any certificate, and plain HTTP"),
        path_option("cert-dir", "DIR", "certificates for the registry: *.crt, and *.cert with *.key"),
        path_option("authfile", "FILE", "the file with credentials"),
        option("creds", "USER:PASSWORD", "the credentials themselves"),
        option("retries", "NUMBER", "how often to repeat a request that failed temporarily [default: 5]")
            .value_parser(value_parser!(u32)),
        option("timeout", "SECONDS", "give up when a registry has sent nothing for this long [default: 60]")
            .value_parser(value_parser!(u64)),
    ]
}

/// Returns the access like `access_of`, without credentials: `login` has them from its own options.
pub(super) fn login_access_of(matches: &ArgMatches) -> Access {
    Access {
        tls_verify: matches.get_one("tls-verify").copied(),
        cert_dir: path(matches, "cert-dir"),
        auth_file: path(matches, "authfile"),
        credentials: None,
        retries: matches.get_one("retries").copied().unwrap_or(5),
        timeout: timeout_of(matches),
    }
}

/// How long a registry or a helper may be silent.
pub(super) fn timeout_of(matches: &ArgMatches) -> Duration {
    Duration::from_secs(matches.get_one("timeout").copied().unwrap_or(60))
}

pub(super) fn access_of(matches: &ArgMatches) -> Result<Access> {
    let credentials = text(matches, "creds").map(|text| credentials("creds", text)).transpose()?;
    Ok(Access { credentials, ..login_access_of(matches) })
}

/// Parses the value of `--creds` or `--dest-creds`, which `option` names.
pub(super) fn credentials(option: &str, text: &str) -> Result<Credentials> {
    Credentials::parse(text).ok_or_else(|| fail!(Kind::Usage, "--{option}: must be USER:PASSWORD"))
}

pub(super) fn store() -> Arg {
    path_option(
        "store",
        "DIR",
        "the directory of shared layers [default: /var/lib/tare, or tare in the user's data directory]",
    )
}

/// The option for the form of layers in a store.
pub(super) fn layer_form() -> Arg {
    Arg::new("overlay")
        .long("overlay")
        .value_name("files|erofs|auto")
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("auto")
        .value_parser(["files", "erofs", "auto"])
        .help("whether layers come into the store as files, or as an index that the kernel mounts [default: auto, which is erofs where this host can]")
}

pub(super) fn layer_form_of(matches: &ArgMatches) -> LayerForm {
    match text(matches, "overlay") {
        Some("files") => LayerForm::Files,
        Some("erofs") => LayerForm::Erofs,
        _ => LayerForm::Auto,
    }
}

/// Opens the store of --store, or the default one, and makes it if it is missing.
pub(super) fn store_of(matches: &ArgMatches) -> Result<Store> {
    Store::open(&store_path(matches)?)
}

/// Opens the store like `store_of`, if it is there.
pub(super) fn store_if_there(matches: &ArgMatches) -> Result<Option<Store>> {
    let path = store_path(matches)?;
    if path.join("layers").is_dir() { Store::open(&path).map(Some) } else { Ok(None) }
}

fn store_path(matches: &ArgMatches) -> Result<PathBuf> {
    let path = path(matches, "store").map_or_else(default_store, Ok)?;
    Ok(match Privilege::detect() {
        // Such layers keep their owners in an attribute, so they cannot be shared with bundles that have real
        // owners.
        Privilege::OwnNamespace(MappedIds::Single) => path.join("single"),
        _ => path,
    })
}

/// Opens the store like `store_of`, if it exists; `None` if the default store does not exist.
///
/// # Errors
///
/// `Kind::NotFound` if `--store` names a store that does not exist.
pub(super) fn named_store_of(matches: &ArgMatches) -> Result<Option<Store>> {
    let named = path(matches, "store");
    let store = named.clone().map_or_else(default_store, Ok)?;
    match store.join("layers").is_dir() || store.join("single/layers").is_dir() {
        true => store_of(matches).map(Some),
        false if named.is_some() => {
            Err(fail!(Kind::NotFound, "{}: there is no store of tare-image", store.display()))
        }
        false => Ok(None),
    }
}

/// Opens the store like `store_of`; `None` if there is no store yet.
pub(super) fn existing_store_of(matches: &ArgMatches) -> Result<Option<Store>> {
    let path = path(matches, "store").map_or_else(default_store, Ok)?;
    if path.join("layers").is_dir() { Store::open(&path).map(Some) } else { Ok(None) }
}

/// Opens the stores of --store or the default place that exist: a user has one more for bundles without
/// subordinate ids.
///
/// # Errors
///
/// `Kind::NotFound` if there is none.
pub(super) fn existing_stores_of(matches: &ArgMatches) -> Result<Vec<Store>> {
    let path = path(matches, "store").map_or_else(default_store, Ok)?;
    let found = [path.clone(), path.join("single")].into_iter().filter(|path| path.join("layers").is_dir());
    let stores = found.map(|path| Store::open_existing(&path)).collect::<Result<Vec<_>>>()?;
    match stores.is_empty() {
        true => Err(fail!(Kind::NotFound, "{}: there is no store of tare-image", path.display())
            .with_hint("tare-image pull SOURCE makes one, as unpack --overlay does")),
        false => Ok(stores),
    }
}

fn default_store() -> Result<PathBuf> {
    if matches!(Privilege::detect(), Privilege::Root | Privilege::ForeignNamespace) {
        return Ok("/var/lib/tare".into());
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let missing =
        || fail!(Kind::Usage, "neither XDG_DATA_HOME nor HOME says where the store is: name it with --store");
    Ok(data.or_else(home).ok_or_else(missing)?.join("tare"))
}

/// Returns the values of `name` as paths in an image or bundle, without leading slash, `.` and `..`.
pub(super) fn inner_paths(matches: &ArgMatches, name: &str) -> Vec<Vec<u8>> {
    let paths = matches.get_many::<OsString>(name).into_iter().flatten();
    paths.map(|path| clean(path.as_bytes())).collect()
}

/// The option `--mask` of diff and repack.
pub(super) fn mask() -> Arg {
    option("mask", "PATH", "leave out changes at this path and below it")
        .action(ArgAction::Append)
        .value_parser(value_parser!(OsString))
}

pub(super) fn bundle() -> Arg {
    Arg::new("bundle").value_name("BUNDLE").required(true).value_parser(value_parser!(PathBuf))
}

pub(super) fn limits() -> [Arg; 3] {
    let number = |name, help| option(name, "NUMBER", help).value_parser(value_parser!(u64));
    [
        option("max-size", "BYTES", "refuse an image larger than this unpacked (k, M, G, T) [default: 64G]")
            .value_parser(ValueParser::new(parse_size)),
        number("max-entries", "refuse an image with more entries [default: 8000000]"),
        number(
            "max-ratio",
            "refuse a layer that decompresses to more than this many times its size [default: 200]",
        ),
    ]
}

pub(super) fn limits_of(matches: &ArgMatches) -> Limits {
    let default = Limits::default();
    let number = |name: &str, default: u64| matches.get_one(name).copied().unwrap_or(default);
    Limits {
        size: number("max-size", default.size),
        entries: number("max-entries", default.entries),
        ratio: number("max-ratio", default.ratio),
        ..default
    }
}

/// Parses a number of bytes with the suffixes of the kernel's own options: k, M, G and T are powers of 1024.
fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        Some((at, 't' | 'T')) => (&text[..at], 40),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a size"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("2k"), Ok(2048));
        assert_eq!(parse_size("1G"), Ok(1 << 30));
        for bad in ["", "k", "-1", "1x", "99999999T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
