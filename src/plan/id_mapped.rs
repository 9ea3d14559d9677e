//! Id-mapped mounts: how ids of the source appear in the container. The mapping comes from the mount's own
//! lists, from its option word, or from the container's user namespace.

use oci_spec::runtime::{LinuxIdMapping, Mount as SpecMount};

use super::mount_options::Options;
use super::namespaces::{IdMap, IdMaps, Namespace, NamespacePlan, id_map};
use crate::spec::ConfigError;

/// The mapping of a mount. KERNEL(5.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMapped {
    pub ids: Ids,
    /// The mounts below it too.
    pub recursive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids {
    /// `inner` is the id on the source, `host` the id that it appears as.
    Maps(IdMaps),
    /// The mappings of the joined user namespace, which only the kernel knows.
    Joined,
}

/// Returns `None` for a mount that is not id-mapped. Lists are enough, without the option word.
pub(crate) fn id_mapped(
    index: usize,
    spec: &SpecMount,
    options: &Options,
    namespaces: &NamespacePlan,
) -> Result<Option<IdMapped>, ConfigError> {
    let lists = IdMaps { uid: list(spec.uid_mappings()), gid: list(spec.gid_mappings()) };
    let has_lists = !lists.uid.is_empty() || !lists.gid.is_empty();
    let fault = |why: &str| ConfigError::new(format!("/mounts/{index}"), why);
    let ids = match (&options.id_maps, has_lists) {
        (Some(_), true) => return Err(fault("id mappings are given twice: as lists and in the options")),
        (Some(text), false) => Ids::Maps(custom(text, namespaces).map_err(|why| {
            ConfigError::new(
                format!("/mounts/{index}/options"),
                format!("invalid id mapping {text:?}: {why}"),
            )
        })?),
        (None, true) => Ids::Maps(lists),
        (None, false) if options.id_mapped.is_none() => return Ok(None),
        (None, false) => container_ids(namespaces)
            .ok_or_else(|| fault("id-mapped mounts must have both uid and gid mappings specified"))?,
    };
    Ok(Some(IdMapped { ids, recursive: options.id_mapped == Some(true) }))
}

fn list(mappings: &Option<Vec<LinuxIdMapping>>) -> Vec<IdMap> {
    mappings.iter().flatten().map(id_map).collect()
}

fn container_ids(namespaces: &NamespacePlan) -> Option<Ids> {
    match &namespaces.id_maps {
        Some(maps) => Some(Ids::Maps(maps.clone())),
        None => namespaces.joins(Namespace::USER).then_some(Ids::Joined),
    }
}

/// Reads crun's notation: `uids=0-1-10#10-11-10;gids=0-100-10`. Each range has the first id of the source,
/// the first id that it appears as, and the count. After an `@`, the second is an id inside the container's
/// user namespace.
fn custom(text: &str, namespaces: &NamespacePlan) -> Result<IdMaps, String> {
    let mut maps = IdMaps::default();
    let container_maps = namespaces.id_maps.as_ref();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (list, own, ranges) = match part.split_once('=') {
            Some(("uids", ranges)) => (&mut maps.uid, container_maps.map(|own| &own.uid), ranges),
            Some(("gids", ranges)) => (&mut maps.gid, container_maps.map(|own| &own.gid), ranges),
            _ => return Err(format!("neither uids= nor gids=: {part}")),
        };
        for range in ranges.split('#') {
            list.push(custom_range(range, own.map_or(&[], Vec::as_slice))?);
        }
    }
    if maps.uid.is_empty() || maps.gid.is_empty() {
        return Err("both uids and gids are needed".into());
    }
    Ok(maps)
}

fn custom_range(text: &str, own: &[IdMap]) -> Result<IdMap, String> {
    let (relative, absolute) = (text.starts_with('@'), text.trim_start_matches('@'));
    let numbers: Option<Vec<u32>> = absolute.split('-').map(|number| number.parse().ok()).collect();
    let Some(&[inner, host, size]) = numbers.as_deref() else {
        return Err(format!("not three numbers with dashes between: {text}"));
    };
    let host = match relative {
        true => IdMaps::host_id(own, host)
            .ok_or_else(|| format!("{host} is not mapped in the container's user namespace"))?,
        false => host,
    };
    let beyond = |first: u32| first.checked_add(size).is_none();
    if size == 0 || beyond(inner) || beyond(host) {
        return Err(format!("not a range of ids: {text}"));
    }
    Ok(IdMap { inner, host, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces() -> NamespacePlan {
        let map = |inner, host, size| IdMap { inner, host, size };
        let ids = vec![map(0, 0, 1), map(1, 2, 1000)];
        NamespacePlan { id_maps: Some(IdMaps { uid: ids.clone(), gid: ids }), ..NamespacePlan::default() }
    }

    #[test]
    fn the_option_has_ranges_absolute_or_inside_the_container() {
        let map = |inner, host, size| IdMap { inner, host, size };
        let rows = [
            ("uids=0-1-10#10-11-10;gids=0-100-10", vec![map(0, 1, 10), map(10, 11, 10)], map(0, 100, 10)),
            ("gids=5-6-7;uids=@1-3-10", vec![map(1, 4, 10)], map(5, 6, 7)),
        ];
        for (text, uid, gid) in rows {
            assert_eq!(custom(text, &namespaces()), Ok(IdMaps { uid, gid: vec![gid] }), "{text}");
        }
        for (text, why) in [
            ("uids=0-1-10", "both uids and gids are needed"),
            ("uids=0-1;gids=0-1-1", "not three numbers with dashes between: 0-1"),
            ("uids=0-1-0;gids=0-1-1", "not a range of ids: 0-1-0"),
            ("uids=0-4294967295-1;gids=0-1-1", "not a range of ids: 0-4294967295-1"),
            ("uids=@0-2000-1;gids=0-1-1", "2000 is not mapped in the container's user namespace"),
            ("0-1-1", "neither uids= nor gids=: 0-1-1"),
        ] {
            assert_eq!(custom(text, &namespaces()), Err(why.into()), "{text}");
        }
    }
}
