//! The arguments of `run`, with Docker's names and meanings.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{detach, flag, text};
use crate::cli::image::arguments::{access, limits, option, path, platform, store};
use crate::cli::image::progress;
use crate::container_id::ContainerId;
use crate::error::{Context, Kind, Result};
use crate::fail;
use crate::image::bundle::config_overrides::ConfigOverrides;
use crate::image::run::network::{self, Network, ports};
use crate::image::run::resources::{self, Resources};
use crate::image::run::runtime::Runtime;
use crate::image::run::{RunOptions, environment, volumes};
use crate::image::source::reference::Reference;
use crate::image::userns::namespace::{self, Privilege};
use crate::log;

pub(in crate::cli::image) fn command() -> Command {
    Command::new("run")
        .about("Run a command in a new container of an image")
        .args(process_arguments())
        .args(container_arguments())
        .args(runtime_arguments())
        .arg(store())
        .arg(platform())
        .args(limits())
        .args(access())
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

fn repeated(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    option(name, value, help).action(ArgAction::Append)
}

/// The options for the process.
fn process_arguments() -> Vec<Arg> {
    vec![
        flag("interactive", "pass standard input on").short('i'),
        flag("tty", "give the process a terminal").short('t'),
        flag("detach", "run in the background, and print the container's name").short('d'),
        repeated("env", "NAME[=VALUE]", "set a variable; without a value it has that of this process")
            .short('e'),
        repeated("env-file", "FILE", "set the variables of a file, one in each line")
            .value_parser(value_parser!(PathBuf)),
        option("workdir", "DIR", "the working directory").short('w'),
        option("user", "USER[:GROUP]", "the user and group, by names of the image or numbers").short('u'),
        option(
            "entrypoint",
            "WORD",
            "instead of the image's entrypoint and command; a word, or a JSON array of them",
        ),
    ]
}

/// The options for the container.
fn container_arguments() -> Vec<Arg> {
    vec![
        flag("rm", "remove the container when it has ended"),
        option("name", "NAME", "the container's name [default: 12 random digits]"),
        option("hostname", "NAME", "the container's host name [default: its name]"),
        repeated("volume", "SOURCE:DIR[:OPTIONS]", "mount a file or directory of the host").short('v'),
        repeated("tmpfs", "DIR[:OPTIONS]", "mount an empty directory in memory"),
        flag("read-only", "mount the root filesystem read-only"),
        option(
            "network",
            "none|host|bridge|NAME",
            "the network; NAME is one of /etc/cni/net.d [default: bridge for root, pasta or slirp4netns for users, none where there is neither]",
        ),
        repeated("publish", "[[IP:]PORT:]PORT[/udp]", "lead a port of the host to one of the container")
            .short('p'),
        option("memory", "SIZE", "the most memory, for example 512m")
            .short('m')
            .value_parser(resources::parse_memory),
        option("cpus", "NUMBER", "the most CPUs, for example 1.5").value_parser(resources::parse_cpus),
        option("pids-limit", "NUMBER", "the most processes; -1 for any number [default: 2048]")
            .allow_hyphen_values(true)
            .value_parser(resources::parse_pids),
        option("pull", "missing|always|never", "when to get the image from its registry")
            .value_parser(["missing", "always", "never"])
            .default_value("missing"),
    ]
}

/// The options that say which runtime is used, and where it keeps its state.
pub(in crate::cli::image) fn runtime_arguments() -> [Arg; 2] {
    [
        option("runtime", "PROGRAM", "the runtime [default: tare, beside this program or in PATH]")
            .value_parser(value_parser!(PathBuf)),
        option("root", "DIR", "where the runtime keeps its state [default: its own place]")
            .value_parser(value_parser!(PathBuf)),
    ]
}

/// The words after the options: the image, and the command.
fn words(matches: &ArgMatches) -> impl Iterator<Item = &String> {
    matches.get_many::<String>("words").into_iter().flatten()
}

/// The reference that IMAGE means: a name without a transport is of a registry.
pub(super) fn reference_of(matches: &ArgMatches) -> Result<Reference> {
    let text = words(matches).next().map(String::as_str).unwrap_or_default();
    match Reference::parse(text) {
        Err(error) if error.hint().is_some_and(|hint| hint.starts_with("from a registry")) => {
            Reference::parse(&format!("docker://{text}"))
        }
        parsed => parsed,
    }?
    .absolute()
}

/// What the command line asks for.
pub(super) fn options_of(matches: &ArgMatches) -> Result<RunOptions> {
    let many = |name: &str| matches.get_many::<String>(name).into_iter().flatten();
    let mut mounts = many("volume").map(|text| volumes::parse(text)).collect::<Result<Vec<_>>>()?;
    mounts.extend(many("tmpfs").map(|text| volumes::parse_tmpfs(text)).collect::<Result<Vec<_>>>()?);
    let published = many("publish").map(|text| ports::parse(text)).collect::<Result<Vec<_>>>()?.concat();
    let network = network_of(matches, !published.is_empty())?;
    let ports = if network == Network::Host { Vec::new() } else { published.clone() };
    if ports.len() < published.len() {
        log::warn(format_args!(
            "--publish has no effect with --network host: the container's ports are the host's own"
        ));
    }
    Ok(RunOptions {
        id: id_of(matches)?,
        runtime: Runtime::find(path(matches, "runtime"), path(matches, "root"))?,
        interactive: matches.get_flag("interactive"),
        tty: matches.get_flag("tty"),
        detach: matches.get_flag("detach"),
        remove: matches.get_flag("rm"),
        hostname: text(matches, "hostname").map(check_hostname).transpose()?,
        read_only: matches.get_flag("read-only"),
        network,
        ports,
        mounts,
        resources: resources_of(matches),
    })
}

fn resources_of(matches: &ArgMatches) -> Resources {
    let mut default = Resources::default();
    if matches!(Privilege::detect(), Privilege::OwnNamespace(_)) {
        // Few users have a control group of their own.
        default.pids = -1;
    }
    Resources {
        memory: matches.get_one("memory").copied().unwrap_or(default.memory),
        cpu_quota: matches.get_one("cpus").copied().unwrap_or(default.cpu_quota),
        pids: matches.get_one("pids-limit").copied().unwrap_or(default.pids),
    }
}

/// The network of --network, or the default one. `publishes` says whether ports are to be led to it.
fn network_of(matches: &ArgMatches, publishes: bool) -> Result<Network> {
    let is_user = matches!(Privilege::detect(), Privilege::OwnNamespace(_));
    match text(matches, "network") {
        Some(text) => match Network::parse(text)? {
            Network::Plugins(name) if is_user => Err(network::user_mode::not_for_users(&name)),
            Network::User(_) if !is_user => {
                Err(fail!(Kind::Usage, "--network: pasta and slirp4netns are for users")
                    .with_hint("root's containers have --network bridge"))
            }
            Network::None if publishes => {
                Err(fail!(Kind::Usage, "--publish: --network none has nothing that a port could lead to"))
            }
            network => Ok(network),
        },
        None if is_user => {
            let hint = "--network host gives it the host's network, with the container's ports as they are";
            match network::user_mode::find()? {
                Ok(program) => Ok(Network::User(program)),
                Err(why) => no_network(publishes, why, hint),
            }
        }
        None if !network::has_bridge() => no_network(
            publishes,
            "there are no plugins of CNI (package containernetworking-plugins)",
            "install them, or --network host, whose ports are the container's",
        ),
        None => Network::parse("bridge"),
    }
}

/// No network, where nothing was said and there is none to be had. A service that nobody could reach is not
/// begun.
fn no_network(publishes: bool, why: &str, hint: &'static str) -> Result<Network> {
    if publishes {
        return Err(
            fail!(Kind::Unsupported, "--publish: the container has no network: {why}").with_hint(hint)
        );
    }
    log::warn(format_args!("the container has no network: {why}; --network says which it shall have"));
    Ok(Network::None)
}

/// A host name becomes a line of /etc/hosts.
fn check_hostname(name: &str) -> Result<String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match !name.is_empty() && name.len() <= 64 && name.chars().all(is_allowed) {
        true => Ok(name.into()),
        false => {
            Err(fail!(Kind::Usage, "--hostname {name:?}: up to 64 letters, digits, - and . make a name"))
        }
    }
}

/// The id of --name, or a random one.
fn id_of(matches: &ArgMatches) -> Result<ContainerId> {
    if let Some(name) = text(matches, "name") {
        let is_plain = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && !name.contains('+');
        return match is_plain {
            true => ContainerId::parse(name).context("--name"),
            false => Err(fail!(
                Kind::Usage,
                "--name {name:?}: letters, digits and _ . - make a name, the first a letter or a digit"
            )),
        };
    }
    if let Some(id) = detach::id() {
        return ContainerId::parse(&id);
    }
    let mut bytes = [0_u8; 6];
    let random = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    random.context("read /dev/urandom")?;
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    ContainerId::parse(&id)
}

/// What the command line sets instead of the image's configuration.
pub(super) fn overrides_of(matches: &ArgMatches) -> Result<ConfigOverrides> {
    let cmd: Vec<String> = words(matches).skip(1).cloned().collect();
    Ok(ConfigOverrides {
        entrypoint: text(matches, "entrypoint").map(entrypoint).transpose()?,
        cmd: (!cmd.is_empty()).then_some(cmd),
        env: environment_of(matches)?,
        user: text(matches, "user").map(Into::into),
        workdir: text(matches, "workdir").map(check_workdir).transpose()?,
        tty: matches.get_flag("tty"),
        rootless: match Privilege::detect() {
            // It runs in this namespace, whose ids are the container's own.
            Privilege::OwnNamespace(_) => Some(namespace::current_mapping()?.nested()),
            _ => None,
        },
        ..ConfigOverrides::default()
    })
}

/// The files first: what is said for a variable alone wins.
fn environment_of(matches: &ArgMatches) -> Result<Vec<String>> {
    let files = matches.get_many::<PathBuf>("env-file").into_iter().flatten();
    let mut variables = files.map(|path| environment::read_file(path)).collect::<Result<Vec<_>>>()?.concat();
    for text in matches.get_many::<String>("env").into_iter().flatten() {
        variables.push(environment::variable(text)?);
    }
    Ok(variables)
}

fn entrypoint(text: &str) -> Result<Vec<String>> {
    match text {
        // As Docker: none, not even the image's.
        "" => Ok(Vec::new()),
        text if text.starts_with('[') => {
            serde_json::from_str(text).map_err(|e| fail!(Kind::Usage, "--entrypoint {text:?}: {e}"))
        }
        text => Ok(vec![text.into()]),
    }
}

fn check_workdir(text: &str) -> Result<String> {
    match text.starts_with('/') {
        true => Ok(text.into()),
        false => Err(fail!(Kind::Usage, "--workdir {text:?}: it must be an absolute path")),
    }
}
