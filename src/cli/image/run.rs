//! `tare-image run IMAGE [COMMAND…]`.

mod arguments;
mod detach;

use std::sync::Arc;

use clap::ArgMatches;
use nix::sys::stat::{Mode, umask};

use super::arguments::{flag, image_of, limits_of, open_beside, platform_of, store_of, text};
use super::progress;
pub(super) use arguments::command;

use crate::cli::stdout;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::bundle::UnpackOptions;
use crate::image::document::manifest::{Image, read_image};
use crate::image::run::background::leave_caller;
use crate::image::run::{From, finish};
use crate::image::source::ImageSource;
use crate::image::source::reference::Reference;
use crate::image::store::{ImportOptions, LayerForm, Store, import_layers};
use crate::image::unpack::entry_adapter::EntryAdapter;
use crate::image::userns::namespace::{self, Privilege};

/// Runs the container, and returns its exit code.
pub(super) fn run(matches: &ArgMatches) -> Result<i32> {
    // What is wrong with the command line is told here, and not by a process in the background.
    let options = arguments::options_of(matches)?;
    let overrides = arguments::overrides_of(matches)?;
    if options.detach && !detach::is_background() {
        return detach::run_in_background(options.id.as_str());
    }
    let reference = arguments::reference_of(matches)?;
    let store = store_of(matches)?;
    finish::recover(&store)?;
    finish::refuse_if_taken(&store, &options.id)?;
    let unpack = UnpackOptions {
        adapter: EntryAdapter::for_privilege(Privilege::detect(), None),
        limits: limits_of(matches),
        // The layers are in the store by then.
        progress: Arc::new(()),
        overrides,
        rootfs_only: false,
        reflink_store: None,
        overlay_store: Some(store.clone()),
        layer_form: LayerForm::Auto,
    };
    let (source, image) = with_umask_kept(|| find(matches, &store, &reference))?;
    let name = reference.to_string();
    let from = From { source: source.as_ref(), image: &image, reference: &name, unpack };
    let tell = || stdout::write(&format!("{}\n", options.id));
    crate::image::run::run(&store, from, &options, &tell)
}

/// Runs a user's container, in a user namespace of its own. Returns the exit code.
pub(super) fn run_for_user(matches: &ArgMatches) -> Result<i32> {
    if !matches.get_flag("detach") {
        return namespace::run_in_namespace(None, || Ok(()));
    }
    if detach::is_background() {
        // It waits in the background too, for as long as the container runs.
        return namespace::run_in_namespace(None, leave_caller);
    }
    // The process in the namespace chooses the id; what is wrong with the command line is told by that one too.
    detach::run_in_background("")
}

/// Layers are unpacked without a umask; what is started afterwards has the caller's again.
fn with_umask_kept<T>(act: impl FnOnce() -> T) -> T {
    let before = umask(Mode::empty());
    umask(before);
    let done = act();
    umask(before);
    done
}

/// Finds the image by `--pull`: in the store, or at its source, from where the store gets it.
fn find(matches: &ArgMatches, store: &Store, reference: &Reference) -> Result<(Box<dyn ImageSource>, Image)> {
    let name = reference.to_string();
    let pull = text(matches, "pull").unwrap_or_default();
    // What a layout or an archive names is looked up at once; asking a registry takes time.
    let is_asked = pull == "always" || pull == "missing" && !matches!(reference, Reference::Registry(_));
    if !is_asked && let Some(known) = find_known(matches, store, &name, pull)? {
        return Ok(known);
    }
    if pull == "never" {
        return Err(fail!(
            Kind::NotFound,
            "{name}: the image is not in the store, and --pull never forbids to get it"
        )
        .with_hint(format!("tare-image pull {name} gets it")));
    }
    let source = open_beside(matches, reference, Some(store))?;
    let image = image_of(matches, source.as_ref(), reference, true)?;
    let known = store.known_image(&name)?;
    if known.is_none_or(|known| known.manifest() != &image.descriptor) {
        let progress = progress::terminal_only(matches);
        let options =
            ImportOptions { limits: &limits_of(matches), progress: &progress, form: LayerForm::Auto };
        let imported = import_layers(store, source.as_ref(), &image, options)?;
        store.record_image(&name, &image, &imported)?;
    }
    Ok((source, image))
}

/// Finds the image in the store, for the platform that is asked for.
fn find_known(
    matches: &ArgMatches,
    store: &Store,
    name: &str,
    pull: &str,
) -> Result<Option<(Box<dyn ImageSource>, Image)>> {
    let Some(known) = store.known_image(name)? else { return Ok(None) };
    let image =
        read_image(&|descriptor| known.blob(descriptor), known.manifest()).context(name.to_owned())?;
    match platform_of(matches)?.check(&image.config) {
        // Another platform was pulled.
        Err(error) if pull == "never" => Err(error.context(name.to_owned())),
        Err(_) => Ok(None),
        Ok(()) => Ok(Some((Box::new(known), image))),
    }
}
