//! Converts the image's configuration to config.json (image-spec, conversion.md): its values are kept, and
//! `defaults` has everything that images do not set.

use std::collections::BTreeMap;

use oci_spec::image::{Config, ImageConfiguration};
use serde_json::{Value, json};

use super::user::User;
use super::{defaults, seccomp};
use crate::log;
use crate::weak::{Defence, stands};

/// The working directory of the process, absolute: a relative one counts from the root.
pub(crate) fn working_dir(config: &ImageConfiguration) -> String {
    let dir = image_config(config).and_then(|config| config.working_dir().clone()).unwrap_or_default();
    if dir.starts_with('/') { dir } else { format!("/{dir}") }
}

/// Returns `Config.User`; empty if the image has none.
pub(crate) fn user(config: &ImageConfiguration) -> &str {
    image_config(config).and_then(|config| config.user().as_deref()).unwrap_or_default()
}

/// The whole of config.json, for a process with the ids of `user`.
pub(crate) fn runtime(config: &ImageConfiguration, user: &User) -> Value {
    let mut mounts = defaults::mounts();
    if let Value::Array(mounts) = &mut mounts {
        mounts.extend(volumes(config).iter().map(|path| defaults::volume(path)));
    }
    let mut runtime = json!({
        "ociVersion": defaults::OCI_VERSION,
        "process": process(config, user),
        "root": { "path": "rootfs" },
        "mounts": mounts,
        "annotations": annotations(config),
        "linux": {
            "namespaces": defaults::NAMESPACES.map(|kind| json!({ "type": kind })),
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "maskedPaths": defaults::masked_paths(),
            "readonlyPaths": crate::spec::READONLY,
        },
    });
    match seccomp::default_profile(&config.architecture().to_string()) {
        Some(profile) => runtime["linux"]["seccomp"] = profile,
        None => log::warn(format_args!(
            "there is no seccomp profile for {}: config.json has none",
            config.architecture()
        )),
    }
    runtime
}

fn image_config(config: &ImageConfiguration) -> Option<&Config> {
    config.config().as_ref()
}

fn process(config: &ImageConfiguration, user: &User) -> Value {
    let mut ids = json!({ "uid": user.uid, "gid": user.gid });
    if !user.additional_gids.is_empty() {
        ids["additionalGids"] = json!(user.additional_gids);
    }
    json!({
        "terminal": false,
        "user": ids,
        "args": args(config),
        "env": env(config),
        "cwd": working_dir(config),
        "capabilities": {
            "bounding": defaults::CAPABILITIES,
            "effective": defaults::CAPABILITIES,
            "permitted": defaults::CAPABILITIES,
        },
        "noNewPrivileges": true,
    })
}

fn args(config: &ImageConfiguration) -> Vec<String> {
    let part = |pick: fn(&Config) -> &Option<Vec<String>>| {
        image_config(config).and_then(|config| pick(config).clone()).unwrap_or_default()
    };
    let args = [part(Config::entrypoint), part(Config::cmd)].concat();
    if args.is_empty() { defaults::ARGS.map(Into::into).to_vec() } else { args }
}

/// Returns the image's environment unchanged, with a PATH added if it has none.
fn env(config: &ImageConfiguration) -> Vec<String> {
    let mut env = image_config(config).and_then(|config| config.env().clone()).unwrap_or_default();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.insert(0, defaults::PATH.into());
    }
    env
}

/// The image's volumes, sorted by path, so that a volume inside another is mounted after it.
pub(crate) fn volumes(config: &ImageConfiguration) -> Vec<String> {
    let mut volumes = image_config(config).and_then(|config| config.volumes().clone()).unwrap_or_default();
    volumes.retain(|path| path.starts_with('/') && !path.trim_matches('/').is_empty());
    volumes.sort();
    volumes
}

/// The annotations: those derived from other fields, and the image's labels.
fn annotations(config: &ImageConfiguration) -> BTreeMap<String, String> {
    let mut all = derived_annotations(config);
    let labels = image_config(config).and_then(|config| config.labels().clone()).unwrap_or_default();
    for (key, value) in labels {
        if stands(Defence::Labels) && is_acted_on(&key) {
            log::warn(format_args!("label {key} is left out: runtimes act on annotations of this name"));
        } else {
            all.insert(key, value);
        }
    }
    all
}

/// The annotations that conversion.md derives from other fields. A label of the same name takes precedence.
fn derived_annotations(config: &ImageConfiguration) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            all.insert(format!("org.opencontainers.image.{key}"), value);
        }
    };
    add("os", Some(config.os().to_string()));
    add("architecture", Some(config.architecture().to_string()));
    add("variant", config.variant().clone());
    add("os.version", config.os_version().clone());
    add("os.features", config.os_features().as_ref().map(|features| features.join(",")));
    add("author", config.author().clone());
    add("created", config.created().clone());
    add("stopSignal", image_config(config).and_then(|config| config.stop_signal().clone()));
    add(
        "exposedPorts",
        image_config(config).and_then(|config| config.exposed_ports().clone()).map(join_sorted),
    );
    all
}

fn join_sorted(mut ports: Vec<String>) -> String {
    ports.sort();
    ports.join(",")
}

/// Whether runtimes, engines or their plugins change what they do by annotations of this name: an image must
/// not set them (CVE-2026-53488).
///
/// Two kinds are recognized by their form: Kubernetes's names have a `/` (`cdi.k8s.io/`,
/// `module.wasm.image/`, those of NRI plugins), and some of them are a domain written forwards
/// (`cpu-load-balancing.crio.io`). The others begin with the domain of the program that reads them, written
/// backwards. Whole domains of these are left out, because the next version of the program may read any name
/// in its domain. All other names are only information.
fn is_acted_on(key: &str) -> bool {
    const OWNERS: [&str; 18] = [
        "com.github.containers.",
        "com.microsoft.",
        "com.nvidia.",
        "dev.gvisor.",
        "io.containerd.",
        "io.containers.",
        "io.cri-o.",
        "io.crio.",
        "io.crun.",
        "io.katacontainers.",
        "io.kubernetes.",
        "io.microsoft.",
        "io.podman.",
        "io.youki.",
        "org.criu.",
        "org.systemd.",
        "org.tare.",
        "run.oci.",
    ];
    const DOMAINS: [&str; 3] = [".crio.io", ".k8s.io", ".kubernetes.io"];
    key.contains('/')
        || OWNERS.iter().any(|owner| key.starts_with(owner))
        || DOMAINS.iter().any(|domain| key.ends_with(domain))
}

/// Makes an image without layers with this configuration, for tests.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) fn image(config: &Value) -> ImageConfiguration {
    let document = json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    serde_json::from_value(document).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(config: &Value) -> Value {
        runtime(&image(config), &User::default())
    }

    #[test]
    fn entrypoint_and_cmd_are_joined_and_the_environment_is_verbatim() {
        let all = converted(
            &json!({ "Entrypoint": ["/e", "1"], "Cmd": ["c"], "Env": ["PATH=/x", "A=b c", "EMPTY="] }),
        );
        assert_eq!(all["process"]["args"], json!(["/e", "1", "c"]));
        assert_eq!(all["process"]["env"], json!(["PATH=/x", "A=b c", "EMPTY="]));
    }

    #[test]
    fn what_the_image_leaves_out_gets_a_default() {
        for empty in
            [json!({}), json!(null), json!({ "Env": null, "Cmd": null, "Volumes": null, "Labels": null })]
        {
            let all = converted(&empty);
            assert_eq!(all["process"]["args"], json!(["sh"]));
            assert_eq!(all["process"]["env"], json!([defaults::PATH]));
            assert_eq!(all["process"]["cwd"], "/");
        }
    }

    #[test]
    fn a_relative_working_directory_starts_at_the_root() {
        assert_eq!(converted(&json!({ "WorkingDir": "srv/app" }))["process"]["cwd"], "/srv/app");
    }

    #[test]
    fn volumes_become_mounts_in_order() {
        let all = converted(&json!({ "Volumes": { "/data/sub": {}, "/data": {}, "/": {} } }));
        let mounts = all["mounts"].as_array().unwrap();
        let last: Vec<_> = mounts[7..].iter().map(|mount| mount["destination"].as_str().unwrap()).collect();
        assert_eq!(last, ["/data", "/data/sub"]);
    }

    #[test]
    fn a_label_is_no_annotation_that_programs_act_on() {
        for acted_on in [
            "run.oci.handler",
            "run.oci.hooks.stderr",
            "io.crun.x",
            "org.systemd.property.ExecStopPost",
            "org.criu.config",
            "dev.gvisor.spec.mount.x.source",
            "dev.gvisor.internal.x",
            "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel",
            "io.kubernetes.cri.container-type",
            "module.wasm.image/variant",
            "io.containerd.runc.v2.group",
            "io.katacontainers.config.hypervisor.path",
            "com.github.containers.virtcontainers.x",
            "io.microsoft.virtualmachine.x",
            "io.podman.annotations.seccomp",
            "cdi.k8s.io/vendor",
            "nvidia.cdi.k8s.io/x",
            "devices.nri.io/container.x",
            "cpu-load-balancing.crio.io",
            "io.containers.trace-syscall",
            "org.tare.x",
        ] {
            let all = converted(&json!({ "Labels": { acted_on: "x" } }));
            assert_eq!(all["annotations"].get(acted_on), None, "{acted_on}");
        }
        for told in [
            "maintainer",
            "org.label-schema.name",
            "io.buildah.version",
            "com.example.team",
            "org.opencontainers.image.source",
        ] {
            let all = converted(&json!({ "Labels": { told: "x" } }));
            assert_eq!(all["annotations"][told], "x");
        }
    }

    #[test]
    fn labels_win_over_implied_annotations_but_cannot_command_a_runtime() {
        let all = converted(&json!({
            "StopSignal": "SIGQUIT",
            "ExposedPorts": { "80/tcp": {}, "443/tcp": {} },
            "Labels": { "org.opencontainers.image.os": "mine", "run.oci.hooks": "x", "a": "b" },
        }));
        let notes = &all["annotations"];
        assert_eq!(notes["org.opencontainers.image.os"], "mine");
        assert_eq!(notes["org.opencontainers.image.stopSignal"], "SIGQUIT");
        assert_eq!(notes["org.opencontainers.image.exposedPorts"], "443/tcp,80/tcp");
        assert_eq!(notes["a"], "b");
        assert_eq!(notes.get("run.oci.hooks"), None);
    }
}
