//! Rules for `linux.resources` that hold for every cgroup manager and both versions of cgroups. 0 means "not
//! set" for fields where it is Go's zero value.

use oci_spec::runtime::{
    LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxHugepageLimit, LinuxMemory, LinuxNetwork,
    LinuxResources,
};

use super::config_error::quote;
use super::cpu_list::CpuList;
use super::diagnostics::Diagnostics;
use super::json_pointer::JsonPointer;
use super::{block_io, net_devices};

pub(super) fn rules(resources: &LinuxResources, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    devices(resources.devices().as_deref().unwrap_or_default(), &at.key("devices"), diagnostics);
    if let Some(wanted) = resources.memory() {
        memory(wanted, &at.key("memory"), diagnostics);
    }
    if let Some(wanted) = resources.cpu() {
        cpu(wanted, &at.key("cpu"), diagnostics);
    }
    if let Some(wanted) = resources.block_io() {
        block_io::rules(wanted, &at.key("blockIO"), diagnostics);
    }
    if let Some(wanted) = resources.network() {
        network(wanted, &at.key("network").key("priorities"), diagnostics);
    }
    hugepages(
        resources.hugepage_limits().as_deref().unwrap_or_default(),
        &at.key("hugepageLimits"),
        diagnostics,
    );
    rdma(resources, &at.key("rdma"), diagnostics);
    unified(resources, &at.key("unified"), diagnostics);
}

fn devices(rules: &[LinuxDeviceCgroup], at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    for (index, rule) in rules.iter().enumerate() {
        let at = at.item(index);
        let access = rule.access().as_deref().unwrap_or_default();
        if access.is_empty() {
            diagnostics.error(&at.key("access"), format!("device access at {index} field cannot be empty"));
        } else if !access.contains(['r', 'w', 'm']) {
            diagnostics
                .error(&at.key("access"), format!("{} has none of the letters r, w and m", quote(access)));
        }
        if let Some(typ @ (LinuxDeviceType::U | LinuxDeviceType::P)) = rule.typ() {
            diagnostics.error(&at.key("type"), format!("invalid cgroup device type {:?}", typ.as_str()));
        }
        for (name, number) in [("major", rule.major()), ("minor", rule.minor())] {
            // -1 is the old spelling of "any".
            if number.is_some_and(|number| !(-1..=i64::from(u32::MAX)).contains(&number)) {
                diagnostics.error(&at.key(name), "is no device number");
            }
        }
    }
}

fn memory(memory: &LinuxMemory, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    #[allow(deprecated)]
    let amounts = [
        ("limit", memory.limit()),
        ("reservation", memory.reservation()),
        ("swap", memory.swap()),
        ("kernelTCP", memory.kernel_tcp()),
    ];
    for (name, amount) in amounts {
        if amount.is_some_and(|amount| amount < -1) {
            diagnostics.error(&at.key(name), "must be a number of bytes, or -1 for no limit");
        }
    }
    let (limit, swap) = (memory.limit().unwrap_or(0), memory.swap().unwrap_or(0));
    if limit > 0 && swap > 0 && swap < limit {
        diagnostics.error(&at.key("swap"), "memory+swap limit should be >= memory limit");
    }
    // All ones is -1, which old Docker versions wrote for "not set".
    if memory.swappiness().is_some_and(|swappiness| swappiness > 100 && swappiness != u64::MAX) {
        let value = memory.swappiness().unwrap_or(0);
        diagnostics.error(
            &at.key("swappiness"),
            format!("invalid memory swappiness value: {value} (valid range is 0-100)"),
        );
    }
    #[allow(deprecated)]
    if memory.kernel().is_some() {
        // KERNEL(5.16): the file takes any value and has no effect. Before, a limit there could not be
        // removed any more.
        diagnostics.warn(&at.key("kernel"), "ignored: kernels have no limit of kernel memory alone any more");
    }
}

fn cpu(cpu: &LinuxCpu, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    for (name, list) in [("cpus", cpu.cpus()), ("mems", cpu.mems())] {
        // The kernel's lists also allow "all", "N" and "0-31:2/8" (bitmap_parselist); these are not checked
        // here.
        let plain = |list: &&str| !list.contains([':', 'N']) && *list != "all";
        if let Some(Err(cause)) = list.as_deref().filter(plain).map(CpuList::parse) {
            diagnostics.error(&at.key(name), cause);
        }
    }
    if cpu.period().is_some_and(|period| period != 0 && !(1_000..=1_000_000).contains(&period)) {
        diagnostics.error(&at.key("period"), "must lie between 1000 and 1000000 microseconds");
    }
    if cpu.idle().is_some_and(|idle| !(0..=1).contains(&idle)) {
        diagnostics.error(&at.key("idle"), "must be 0 or 1");
    }
}

fn network(network: &LinuxNetwork, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    for (index, priority) in network.priorities().iter().flatten().enumerate() {
        if !net_devices::is_name(priority.name()) {
            let message = format!("invalid network device name {}", quote(priority.name()));
            diagnostics.error(&at.item(index).key("name"), message);
        }
    }
}

fn hugepages(limits: &[LinuxHugepageLimit], at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    for (index, limit) in limits.iter().enumerate() {
        let at = at.item(index);
        if !is_page_size(limit.page_size()) {
            let message =
                format!("{} is no page size, such as \"2MB\" or \"64KB\"", quote(limit.page_size()));
            diagnostics.error(&at.key("pageSize"), message);
        }
        if limit.limit() < 0 {
            diagnostics.error(&at.key("limit"), "must not be negative");
        }
    }
}

/// Whether the text is `^[1-9][0-9]*[KMG]B$`, as in the names of the kernel's hugetlb files.
fn is_page_size(text: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
    number.is_some_and(|number| {
        !number.is_empty() && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn rdma(resources: &LinuxResources, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let mut names: Vec<&String> = resources.rdma().iter().flatten().map(|(name, _)| name).collect();
    names.sort_unstable();
    for name in names {
        // The name is the first word of a line in rdma.max.
        if name.is_empty() || name.contains(char::is_whitespace) {
            diagnostics.error(&at.key(name), format!("{} is no device name", quote(name)));
        }
    }
}

fn unified(resources: &LinuxResources, at: &JsonPointer<'_>, diagnostics: &mut Diagnostics) {
    let mut names: Vec<&String> = resources.unified().iter().flatten().map(|(name, _)| name).collect();
    names.sort_unstable();
    for name in names {
        let quoted = quote(name);
        if name.contains('/') {
            diagnostics
                .error(&at.key(name), format!("unified resource {quoted} must be a file name (no slashes)"));
        } else if name.trim_matches('.').find('.').is_none() {
            let message = format!("unified resource {quoted} must be in the form CONTROLLER.PARAMETER");
            diagnostics.error(&at.key(name), message);
        }
    }
}
