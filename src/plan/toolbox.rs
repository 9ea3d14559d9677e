//! The root of a `debug` process: the tools of another tree, and the container's own files below
//! [`CONTAINER`].

use std::ffi::{CStr, CString};

/// Where the container's root is, in the toolbox.
pub(crate) const CONTAINER: &CStr = c"container";

/// The program of a `debug` process without a command, if the toolbox has it; otherwise `sh`.
pub(crate) const SHELL: &str = "bash";

/// Where a `debug` process looks for its program.
pub(crate) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:\
     /run/current-system/sw/bin";

/// What of the host is tools and not data. Not /run and /var, whose sockets can be connected to on a read-only
/// mount too; not /root, /home and most of /etc, which have secrets.
const HOST: [&CStr; 44] = [
    c"bin",
    c"sbin",
    c"lib",
    c"lib32",
    c"lib64",
    c"libx32",
    c"usr",
    c"nix/store",
    c"gnu/store",
    c"run/current-system",
    c"etc/alternatives",
    c"etc/bash.bashrc",
    c"etc/bash_completion",
    c"etc/bash_completion.d",
    c"etc/bashrc",
    c"etc/bindresvport.blacklist",
    c"etc/ca-certificates",
    c"etc/crypto-policies",
    c"etc/ethertypes",
    c"etc/gai.conf",
    c"etc/gdb",
    c"etc/host.conf",
    c"etc/inputrc",
    c"etc/iproute2",
    c"etc/ld-musl-aarch64.path",
    c"etc/ld-musl-x86_64.path",
    c"etc/ld.so.cache",
    c"etc/ld.so.conf",
    c"etc/ld.so.conf.d",
    c"etc/locale.alias",
    c"etc/localtime",
    c"etc/magic",
    c"etc/nanorc",
    c"etc/nsswitch.conf",
    c"etc/pki/ca-trust/extracted",
    c"etc/profile",
    c"etc/profile.d",
    c"etc/protocols",
    c"etc/services",
    c"etc/ssl/certs",
    c"etc/ssl/openssl.cnf",
    c"etc/terminfo",
    c"etc/vim",
    c"etc/xattr.conf",
];

/// What a root of the toolbox's own has at these names.
const OWN: [&str; 6] = ["container", "dev", "proc", "run", "sys", "tmp"];

/// A tree with tools, and what of it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toolbox {
    /// The tree's root, absolute.
    pub root: CString,
    /// Paths below it, without a leading slash; those that are missing are left out. Later ones are not below
    /// earlier ones.
    pub entries: Vec<CString>,
}

impl Toolbox {
    /// The tools of this host.
    pub(crate) fn of_host() -> Self {
        Self { root: CString::from(c"/"), entries: HOST.into_iter().map(CString::from).collect() }
    }

    /// The root file system of an image, whose root and /etc have these `names`. Its files in /etc are shown
    /// one by one: some of them are the container's.
    pub(crate) fn of_image(root: CString, names: &[CString], etc: &[CString]) -> Self {
        let own = |name: &&CString| !OWN.contains(&name.to_str().unwrap_or_default());
        let is_etc = |name: &&CString| name.as_c_str() == c"etc";
        let below = names.iter().filter(own).filter(|name| !is_etc(name)).cloned();
        let in_etc = etc.iter().filter_map(|name| CString::new([b"etc/", name.to_bytes()].concat()).ok());
        Self { root, entries: below.chain(in_etc).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_secrets_and_sockets_are_no_tools() {
        let has = |path: &CStr| {
            let is_above = |entry: &CString| {
                let rest = path.to_bytes().strip_prefix(entry.to_bytes());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            };
            Toolbox::of_host().entries.iter().any(is_above)
        };
        for secret in [
            c"etc/shadow",
            c"etc/ssh/ssh_host_rsa_key",
            c"etc/ssl/private",
            c"root/.ssh",
            c"home",
            c"run/docker.sock",
            c"var/lib",
            c"proc",
            c"dev",
            c"sys",
            c"boot",
        ] {
            assert!(!has(secret), "{secret:?}");
        }
        assert!(has(c"usr/bin/strace") && has(c"etc/ld.so.cache"));
    }

    #[test]
    fn an_image_shows_all_but_what_the_toolbox_has_itself() {
        let names = [c"bin", c"proc", c"etc", c"tmp", c"root"].map(CString::from);
        let toolbox = Toolbox::of_image(c"/i".into(), &names, &[c"passwd".into()]);
        assert_eq!(toolbox.entries, [c"bin", c"root", c"etc/passwd"].map(CString::from));
    }
}
