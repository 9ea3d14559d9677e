//! `tare-image run IMAGE [COMMAND…]`.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use nix::errno::Errno;

use super::arguments::{self, flag, option, path, text};
use super::progress;
use crate::container_id::ContainerId;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::bundle::UnpackOptions;
use crate::image::bundle::config_overrides::ConfigOverrides;
use crate::image::document::manifest::Image;
use crate::image::run::network::Network;
use crate::image::run::runtime::Runtime;
use crate::image::run::{RunOptions, finish, run as run_container};
use crate::image::source::reference::Reference;
use crate::image::source::{self, ImageSource};
use crate::image::store::{Store, import_layers};
use crate::image::unpack::entry_adapter::EntryAdapter;
use crate::image::userns::namespace::Privilege;

pub(super) fn command() -> Command {
    Command::new("run")
        .about("Run a command in a new container of an image")
        .args([
            flag("interactive", "pass standard input on").short('i'),
            flag("tty", "give the process a terminal").short('t'),
            flag("rm", "remove the container when it has ended"),
            option("name", "NAME", "the container's name [default: 12 random digits]"),
            option("hostname", "NAME", "the container's host name [default: its name]"),
            flag("read-only", "mount the root filesystem read-only"),
            option("network", "none|host", "the network").default_value("none"),
            option("pull", "missing|always|never", "when to get the image from its registry")
                .value_parser(["missing", "always", "never"])
                .default_value("missing"),
        ])
        .args(runtime_arguments())
        .arg(arguments::store())
        .arg(arguments::platform())
        .args(arguments::limits())
        .args(arguments::access())
        .arg(progress::quiet())
        .arg(
            Arg::new("words")
                .value_name("IMAGE [COMMAND]")
                .required(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .help("the image, and the command to run instead of the image's own"),
        )
}

/// The options that say which runtime is used, and where it keeps its state.
fn runtime_arguments() -> [Arg; 2] {
    [
        option("runtime", "PROGRAM", "the runtime [default: tare, beside this program or in PATH]")
            .value_parser(value_parser!(PathBuf)),
        option("root", "DIR", "where the runtime keeps its state [default: its own place]")
            .value_parser(value_parser!(PathBuf)),
    ]
}

/// Runs the container, and returns its exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<i32> {
    let mut words = matches.get_many::<String>("words").into_iter().flatten();
    let reference = reference(words.next().map(String::as_str).unwrap_or_default())?;
    let store = arguments::store_of(matches)?;
    finish::recover(&store)?;
    let options = RunOptions {
        id: id(matches)?,
        runtime: Runtime::find(path(matches, "runtime"), path(matches, "root"))?,
        interactive: matches.get_flag("interactive"),
        tty: matches.get_flag("tty"),
        remove: matches.get_flag("rm"),
        hostname: text(matches, "hostname").map(Into::into),
        read_only: matches.get_flag("read-only"),
        network: if text(matches, "network") == Some("host") { Network::Host } else { Network::None },
    };
    let cmd: Vec<String> = words.cloned().collect();
    let overrides = ConfigOverrides {
        cmd: (!cmd.is_empty()).then_some(cmd),
        tty: options.tty,
        ..ConfigOverrides::default()
    };
    let unpack = UnpackOptions {
        adapter: EntryAdapter::for_privilege(Privilege::detect(), None),
        limits: arguments::limits_of(matches),
        progress: std::sync::Arc::new(()),
        overrides,
        rootfs_only: false,
        reflink_store: None,
        overlay_store: Some(store.clone()),
    };
    let (source, image) = find(matches, &store, &reference)?;
    run_container(&store, source.as_ref(), &reference.to_string(), &image, &options, &unpack)
}

/// The reference that IMAGE means: one without a transport is of a registry.
fn reference(text: &str) -> Result<Reference> {
    match Reference::parse(text) {
        Err(error) if error.hint().is_some_and(|hint| hint.starts_with("from a registry")) => {
            Reference::parse(&format!("docker://{text}"))
        }
        parsed => parsed,
    }?
    .absolute()
}

/// The id of --name, or a random one.
fn id(matches: &ArgMatches) -> Result<ContainerId> {
    if let Some(name) = text(matches, "name") {
        return match name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            true => ContainerId::parse(name).context("--name"),
            false => Err(fail!(Kind::Usage, "--name {name:?}: a name begins with a letter or a digit")),
        };
    }
    let mut bytes = [0_u8; 6];
    let random = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    random.context("read /dev/urandom")?;
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    ContainerId::parse(&id).map_err(|_| Errno::EINVAL.into())
}

/// Finds the image by `--pull`: in the store, or at its source, from where the store gets it.
fn find(matches: &ArgMatches, store: &Store, reference: &Reference) -> Result<(Box<dyn ImageSource>, Image)> {
    let name = reference.to_string();
    let pull = text(matches, "pull").unwrap_or("missing");
    // What a layout or an archive names is looked up at once; asking a registry takes time.
    let is_asked = pull == "always" || pull == "missing" && !matches!(reference, Reference::Registry(_));
    let known = if is_asked { None } else { store.known_image(&name)? };
    if let Some(known) = known {
        let manifest = known.manifest().clone();
        let image =
            crate::image::document::manifest::read_image(&|descriptor| known.blob(descriptor), &manifest)?;
        let platform = arguments::platform_of(matches)?;
        match platform.check(&image.config) {
            Err(error) if pull == "never" => return Err(error.context(name)),
            Err(_) => {}
            Ok(()) => return Ok((Box::new(known), image)),
        }
    }
    if pull == "never" {
        return Err(fail!(
            Kind::NotFound,
            "{name}: the image is not in the store, and --pull never forbids to get it"
        ));
    }
    let source = source::open(reference, &arguments::access_of(matches)?)?;
    let image = arguments::image_of(matches, source.as_ref(), reference, true)?;
    let is_known = store.known_image(&name)?.is_some_and(|known| known.manifest() == &image.descriptor);
    if !is_known {
        let progress = progress::terminal_only(matches);
        let imported =
            import_layers(store, source.as_ref(), &image, &arguments::limits_of(matches), &progress)?;
        store.record_image(&name, &image, &imported)?;
    }
    Ok((source, image))
}
