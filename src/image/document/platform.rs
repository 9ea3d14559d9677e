//! Platforms: `os/architecture[/variant]`, spelled as GOOS and GOARCH are (image-spec, image-index.md).

use std::fmt;

use oci_spec::image::{Descriptor, ImageConfiguration};

use crate::error::{Kind, Result};
use crate::fail;

/// The platform for which an image is requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    pub(crate) variant: Option<String>,
}

impl Platform {
    /// The platform that this program runs on.
    pub(crate) fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(fail!(Kind::Usage, "platform {text:?}: must be OS/ARCHITECTURE[/VARIANT]")),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(fail!(Kind::Usage, "platform {text:?}: has an empty part"));
        }
        let architecture = as_go_says(architecture);
        Ok(Self { os: os.into(), architecture: architecture.into(), variant: variant.map(Into::into) })
    }

    /// Whether an image that declares this platform runs on the requested one. A field that the image does
    /// not declare always matches.
    fn is_for(&self, os: &str, architecture: &str) -> bool {
        (os.is_empty() || os == self.os)
            && (architecture.is_empty() || as_go_says(architecture) == self.architecture)
    }

    /// Selects the manifest of an index that fits this platform best; the first of several equal ones.
    pub(crate) fn select_manifest<'a>(
        &self,
        manifests: impl IntoIterator<Item = &'a Descriptor>,
    ) -> Option<&'a Descriptor> {
        manifests
            .into_iter()
            .filter_map(|manifest| self.fit(manifest).map(|fit| (fit, manifest)))
            .min_by_key(|&(fit, _)| fit)
            .map(|(_, manifest)| manifest)
    }

    /// Ranks how well a manifest fits: 0 is best, None does not fit. A manifest without a platform fits
    /// worst, but does fit: descriptors of single images often name no platform.
    fn fit(&self, manifest: &Descriptor) -> Option<u32> {
        let Some(platform) = manifest.platform() else { return Some(100) };
        if !self.is_for(&platform.os().to_string(), &platform.architecture().to_string()) {
            return None;
        }
        match (&self.variant, platform.variant()) {
            (Some(wanted), Some(found)) => (wanted == found).then_some(0),
            (Some(_), None) => Some(1),
            (None, None) => Some(0),
            // The oldest variant runs everywhere (amd64/v1, arm/v5); of arm64 there is only v8 in practice.
            (None, Some(found)) => {
                let number = found.strip_prefix('v').and_then(|number| number.parse::<u32>().ok());
                Some(number.map_or(50, |number| number.min(50)))
            }
        }
    }

    /// Checks that an image's configuration names this platform.
    ///
    /// # Errors
    ///
    /// `Kind::Unsupported` if it names another platform.
    pub(crate) fn check(&self, config: &ImageConfiguration) -> Result<()> {
        let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
        if self.is_for(&os, &architecture) {
            return Ok(());
        }
        let os = if os.is_empty() { &self.os } else { &os };
        let architecture =
            if architecture.is_empty() { &self.architecture } else { as_go_says(&architecture) };
        let error = fail!(Kind::Unsupported, "the image is for {os}/{architecture}, not for {self}");
        Err(error.with_hint(format!("to take it nevertheless: --platform {os}/{architecture}")))
    }
}

/// Converts the kernel's name of an architecture to the name in Go, which image-spec uses.
fn as_go_says(architecture: &str) -> &str {
    match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Formats the platform of a descriptor as `os/architecture[/variant]`.
pub(crate) fn format_platform(platform: &oci_spec::image::Platform) -> String {
    let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
    Platform { os, architecture, variant: platform.variant().clone() }.to_string()
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifests(platforms: &[&str]) -> Vec<Descriptor> {
        let to_manifest = |text: &&str| {
            let platform = Platform::parse(text).unwrap();
            let json = serde_json::json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "size": 1,
                "digest": format!("sha256:{:064}", text.len()),
                "platform": { "os": platform.os, "architecture": platform.architecture, "variant": platform.variant },
            });
            serde_json::from_value(json).unwrap()
        };
        platforms.iter().map(to_manifest).collect()
    }

    fn chosen(wanted: &str, platforms: &[&str]) -> Option<usize> {
        let manifests = manifests(platforms);
        let found = Platform::parse(wanted).unwrap().select_manifest(&manifests)?;
        manifests.iter().position(|one| std::ptr::eq(one, found))
    }

    #[test]
    fn the_best_fit_is_chosen() {
        assert_eq!(chosen("linux/amd64", &["linux/arm64", "linux/amd64"]), Some(1));
        assert_eq!(chosen("linux/amd64", &["linux/amd64/v3", "linux/amd64/v2"]), Some(1));
        assert_eq!(chosen("linux/amd64", &["linux/amd64/v3", "linux/amd64"]), Some(1));
        assert_eq!(chosen("linux/arm/v7", &["linux/arm/v6", "linux/arm/v7"]), Some(1));
        assert_eq!(chosen("linux/arm64", &["linux/arm64/v8"]), Some(0));
        assert_eq!(chosen("linux/arm/v7", &["linux/arm/v6"]), None);
        assert_eq!(chosen("linux/amd64", &["linux/x86_64"]), Some(0));
        assert_eq!(chosen("linux/riscv64", &["linux/amd64", "windows/amd64"]), None);
    }

    #[test]
    fn a_hint_names_a_platform_that_works() {
        let config = |os: &str, architecture: &str| -> ImageConfiguration {
            let json = serde_json::json!({ "os": os, "architecture": architecture, "rootfs": { "type": "layers", "diff_ids": [] } });
            serde_json::from_value(json).unwrap()
        };
        let host = Platform::parse("linux/amd64").unwrap();
        for (os, architecture) in [("", "amd64"), ("linux", ""), ("linux", "x86_64"), ("", "")] {
            assert!(host.check(&config(os, architecture)).is_ok(), "{os}/{architecture}");
        }
        for (os, architecture) in [("", "arm64"), ("windows", ""), ("linux", "aarch64")] {
            let error = host.check(&config(os, architecture)).unwrap_err();
            let hint = error.hint().unwrap().rsplit(' ').next().unwrap().to_owned();
            assert!(Platform::parse(&hint).unwrap().check(&config(os, architecture)).is_ok(), "{hint}");
        }
    }

    #[test]
    fn a_platform_has_two_or_three_parts() {
        for bad in ["", "linux", "linux/", "a/b/c/d", "/amd64"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Platform::parse("linux/aarch64/v8").unwrap().to_string(), "linux/arm64/v8");
    }
}
