//! Rules for `mounts`. The plan decides what a word does to a mount; here it is only checked whether the
//! words, the type, the source and the mappings of one mount fit together.

use std::path::{Component, Path};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount, Spec};

use super::config_error::quote;
use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use super::mappings;
use super::mount_options;
use super::namespaces::Namespaces;
use super::spelling;

pub(super) fn rules(spec: &Spec, diagnostics: &mut Diagnostics) {
    let namespaces = Namespaces::new(spec.linux().as_ref());
    let own_users = namespaces.has(LinuxNamespaceType::User);
    let at = JsonPointer::ROOT.key("mounts");
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let at = at.item(index);
        destination(mount.destination(), &at.key("destination"), diagnostics);
        source(mount, &at, diagnostics);
        options(mount, &at.key("options"), diagnostics);
        id_mapped(mount, own_users, &at, diagnostics);
    }
}

fn has(mount: &Mount, words: &[&str]) -> bool {
    mount.options().iter().flatten().any(|option| words.contains(&option.as_str()))
}

fn is_bind(mount: &Mount) -> bool {
    has(mount, &["bind", "rbind"]) || mount.typ().as_deref() == Some("bind")
}

fn destination(path: &Path, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    if path.as_os_str().is_empty() {
        return diagnostics.error(at, "must not be empty");
    }
    if !path.is_absolute() {
        let old = "relative destination path is deprecated, using it as relative to /";
        diagnostics.warn(at, format!("{}: {old}", quote(path.display())));
    }
    if !path.components().any(|component| matches!(component, Component::Normal(_))) {
        diagnostics
            .error(at, format!("{} is the root itself, which cannot be mounted over", quote(path.display())));
    }
}

fn source(mount: &Mount, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    if is_bind(mount) {
        if mount.source().is_none() {
            diagnostics.error(&at.key("source"), "a bind mount must have a source");
        }
    } else if mount.typ().is_none() && !has(mount, &["remount"]) {
        diagnostics.error(at, "neither a filesystem type nor the option \"bind\" or \"rbind\"");
    }
}

fn options(mount: &Mount, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let bind = is_bind(mount);
    for (index, option) in mount.options().iter().flatten().enumerate() {
        // Buildah writes an empty option if there is nothing between two commas.
        if option.is_empty() {
            continue;
        }
        if bind && !has_mappings(option) && mount_options::find(option).is_none() {
            let message = "bind mounts cannot have any filesystem-specific options applied";
            if option.contains('=') {
                // runc refuses these only since 1.2, so there are configurations that have them.
                diagnostics.warn(&at.item(index), format!("{message}: {} does nothing here", quote(option)));
            } else {
                let hint = spelling::hint(mount_options::meant(option, &[]));
                diagnostics.error(&at.item(index), format!("{message}: {}{hint}", quote(option)));
            }
        }
        if option == "tmpcopyup" && (bind || mount.typ().as_deref() != Some("tmpfs")) {
            diagnostics.warn(&at.item(index), "\"tmpcopyup\" is for tmpfs alone and does nothing here");
        }
    }
}

/// Whether the option is crun's `idmap=uids=…;gids=…`, which the plan reads.
fn has_mappings(option: &str) -> bool {
    option.starts_with("idmap=") || option.starts_with("ridmap=")
}

fn id_mapped(mount: &Mount, own_users: bool, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let given = |list: &Option<Vec<LinuxIdMapping>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let (uids, gids) = (given(mount.uid_mappings()), given(mount.gid_mappings()));
    let custom = mount.options().iter().flatten().any(|option| has_mappings(option));
    let asked = custom || has(mount, &["idmap", "ridmap"]);
    mappings::rules(mount.uid_mappings().as_deref().unwrap_or_default(), &at.key("uidMappings"), diagnostics);
    mappings::rules(mount.gid_mappings().as_deref().unwrap_or_default(), &at.key("gidMappings"), diagnostics);
    if !(uids || gids || asked) {
        return;
    }
    if !is_bind(mount) {
        diagnostics.error(at, "id-mapped mounts are only supported for bind-mounts");
    }
    // The word alone means the mappings of the container's user namespace.
    if uids != gids || !(uids || custom || own_users) {
        diagnostics.error(at, "id-mapped mounts must have both uid and gid mappings specified");
    }
}
