//! `tare-image unpack SOURCE BUNDLE`.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::error::Result;
use crate::image::bundle;
use crate::image::limits::Limits;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::source;

pub fn command() -> Command {
    Command::new("unpack")
        .about("Unpack an image to a new bundle: config.json and rootfs")
        .arg(Arg::new("source").value_name("SOURCE").required(true).help("oci:DIR[:TAG|@DIGEST]"))
        .arg(
            Arg::new("bundle")
                .value_name("BUNDLE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("the directory to make; it may exist if it is empty"),
        )
        .arg(
            Arg::new("platform")
                .long("platform")
                .value_name("OS/ARCH[/VARIANT]")
                .help("the platform to choose [default: this machine's]"),
        )
        .args(limits())
}

fn limits() -> [Arg; 3] {
    let arg = |name: &'static str, value: &'static str, help: &'static str, parser: ValueParser| {
        Arg::new(name).long(name).value_name(value).help(help).value_parser(parser)
    };
    [
        arg(
            "max-size",
            "BYTES",
            "refuse an image larger than this unpacked (k, M, G, T) [default: 64G]",
            ValueParser::new(size),
        ),
        arg(
            "max-entries",
            "NUMBER",
            "refuse an image with more entries [default: 8000000]",
            value_parser!(u64).into(),
        ),
        arg(
            "max-ratio",
            "NUMBER",
            "refuse a layer that grows more than this when decompressed [default: 200]",
            value_parser!(u64).into(),
        ),
    ]
}

/// Bytes, with the suffixes that the kernel's own options know.
fn size(text: &str) -> Result<u64, String> {
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

fn limits_of(matches: &ArgMatches) -> Limits {
    let default = Limits::default();
    let number = |name: &str, default: u64| matches.get_one(name).copied().unwrap_or(default);
    Limits {
        size: number("max-size", default.size),
        entries: number("max-entries", default.entries),
        ratio: number("max-ratio", default.ratio),
    }
}

pub fn run(matches: &ArgMatches) -> Result<()> {
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let reference = Reference::parse(text("source").unwrap_or_default())?;
    let platform = text("platform").map_or_else(|| Ok(Platform::host()), Platform::parse)?;
    let source = source::open(&reference)?;
    let image = source::image(source.as_ref(), &reference, &platform)?;
    let path: PathBuf = matches.get_one("bundle").cloned().unwrap_or_default();
    bundle::unpack(source.as_ref(), &image, &path, &limits_of(matches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("2k"), Ok(2048));
        assert_eq!(size("1G"), Ok(1 << 30));
        for bad in ["", "k", "-1", "1x", "99999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
