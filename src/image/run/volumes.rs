//! `--volume` and `--tmpfs`, as Docker and Podman spell them, as mounts of config.json.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Context, Kind, Result};
use crate::fail;

/// What Docker and Podman do to volumes, and this does not, with what is offered instead.
const NOT_OFFERED: [(&str, &str); 4] = [
    ("U", "change the owner of the files by hand"),
    ("O", "a private copy of a directory is an image's layer: --read-only and --tmpfs keep changes away"),
    ("idmap", "give the files the owner that the container's process has"),
    ("copy", "files are copied from an image by `unpack`"),
];

/// Parses `SOURCE:DESTINATION[:OPTIONS]`; a relative SOURCE begins at the working directory.
///
/// # Errors
///
/// `Kind::Usage` for what is no such text, and for named volumes; an error for a SOURCE that is not there.
pub(crate) fn parse(text: &str) -> Result<Value> {
    let place = || format!("--volume {text:?}");
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, options) = match parts[..] {
        [source, destination] => (source, destination, ""),
        [source, destination, options] => (source, destination, options),
        [_] => return Err(unnamed()).with_context(place),
        _ => return Err(fail!(Kind::Usage, "it must be SOURCE:DESTINATION[:OPTIONS]")).with_context(place),
    };
    if !source.starts_with(['/', '.']) {
        return Err(named(source)).with_context(place);
    }
    let source = std::path::absolute(source).with_context(place)?;
    if let Err(error) = std::fs::metadata(&source) {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        let error = crate::error::Error::from(error).context(format!("look at {}", source.display()));
        return Err(match is_missing {
            true => error.with_hint("the source must be there: mkdir makes a directory"),
            false => error,
        })
        .with_context(place);
    }
    let source =
        source.to_str().ok_or_else(|| fail!(Kind::Usage, "its path is no UTF-8")).with_context(place)?;
    let options = bind_options(options).with_context(place)?;
    destination_of(destination).with_context(place)?;
    Ok(json!({ "destination": destination, "type": "bind", "source": source, "options": options }))
}

fn unnamed() -> crate::error::Error {
    fail!(
        Kind::Usage,
        "volumes without a SOURCE are not offered: what the container writes is in its own layer"
    )
    .with_hint("SOURCE:DESTINATION mounts a directory of the host; --tmpfs DESTINATION mounts an empty one")
}

fn named(source: &str) -> crate::error::Error {
    let error = fail!(Kind::Usage, "named volumes are not offered: a SOURCE begins with / or .");
    match Path::new(source).try_exists() {
        Ok(true) => error.with_hint(format!("the directory here is ./{source}")),
        Ok(false) => {
            error.with_hint("a directory of the host keeps files as well: mkdir it, and name its path")
        }
        Err(why) => error.with_hint(format!("whether ./{source} is there is not known: {why}")),
    }
}

/// Checks a destination in the container.
fn destination_of(text: &str) -> Result<()> {
    match text.starts_with('/') && !text.trim_matches(['/', '.']).is_empty() {
        true => Ok(()),
        false => Err(fail!(Kind::Usage, "the destination must be an absolute path, and not the root")),
    }
}

/// The mount options for a volume's.
fn bind_options(text: &str) -> Result<Vec<String>> {
    let mut options = vec!["rbind".to_owned()];
    for option in text.split(',').filter(|option| !option.is_empty()) {
        if let Some((_, instead)) =
            NOT_OFFERED.iter().find(|(known, _)| option.split('=').next() == Some(known))
        {
            return Err(fail!(Kind::Usage, "the option {option:?} is not offered").with_hint(*instead));
        }
        match option {
            // Words for Docker's virtual machines, which mean nothing on Linux; files are copied to named volumes alone.
            "cached" | "delegated" | "consistent" | "nocopy" | "rbind" => {}
            "z" | "Z" if has_selinux() => {
                return Err(fail!(
                    Kind::Usage,
                    "the option {option:?} is not offered: files keep their labels"
                )
                .with_hint("chcon -t container_file_t labels them"));
            }
            // Without SELinux there is nothing to label.
            "z" | "Z" => {}
            "ro" | "rw" | "bind" | "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave"
            | "nosuid" | "suid" | "nodev" | "dev" | "noexec" | "exec" => options.push(option.into()),
            _ => return Err(fail!(Kind::Usage, "{option:?} is no option of a volume")),
        }
    }
    if options.iter().any(|option| option == "bind") {
        options.retain(|option| option != "rbind");
    }
    if !options.iter().any(|option| ["private", "shared", "slave"].iter().any(|end| option.ends_with(end))) {
        options.push("rprivate".into());
    }
    Ok(options)
}

fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Parses `DESTINATION[:OPTIONS]`.
pub(crate) fn parse_tmpfs(text: &str) -> Result<Value> {
    let (destination, given) = text.split_once(':').unwrap_or((text, ""));
    destination_of(destination).with_context(|| format!("--tmpfs {text:?}"))?;
    // As Docker's; what is given comes after, and wins.
    let mut options = vec!["nosuid", "nodev", "noexec"];
    options.extend(given.split(',').filter(|option| !option.is_empty()));
    Ok(json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_mean_what_they_mean_to_docker() {
        let mount = parse("/tmp:/data:ro,Z,rslave").unwrap();
        assert_eq!(mount["options"], json!(["rbind", "ro", "rslave"]));
        let here = std::env::current_dir().unwrap();
        assert_eq!(parse("./src:/data").unwrap()["source"], json!(here.join("src").to_str()));
        assert_eq!(parse(".:/data").unwrap()["options"], json!(["rbind", "rprivate"]));
        for bad in [
            "",
            "/data",
            "name:/data",
            "/tmp:data",
            "/tmp:/",
            "/tmp:/..",
            "/tmp:/d:x",
            "/tmp:/d:U",
            "/tmp:/d:ro:x",
            "/no/such:/d",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("src:/d").unwrap_err().hint(), Some("the directory here is ./src"));
    }

    #[test]
    fn a_tmpfs_has_dockers_options_and_those_that_are_given() {
        let mount = parse_tmpfs("/run:exec,size=64m").unwrap();
        assert_eq!(mount["options"], json!(["nosuid", "nodev", "noexec", "exec", "size=64m"]));
        assert!(parse_tmpfs("run").is_err() && parse_tmpfs("/").is_err() && parse_tmpfs("").is_err());
    }
}
