//! Rules for `linux.resources` that hold for every driver and either version of cgroups.

use oci_spec::runtime::{LinuxHugepageLimit, LinuxResources};

use super::fault::{At, Faults, quote};

pub(super) fn rules(resources: &LinuxResources, at: &At<'_>, faults: &mut Faults) {
    hugepages(resources.hugepage_limits().as_deref().unwrap_or_default(), &at.key("hugepageLimits"), faults);
}

fn hugepages(limits: &[LinuxHugepageLimit], at: &At<'_>, faults: &mut Faults) {
    for (index, limit) in limits.iter().enumerate() {
        if !is_page_size(limit.page_size()) {
            let message =
                format!("{} is no page size, such as \"2MB\" or \"64KB\"", quote(limit.page_size()));
            faults.add(&at.item(index).key("pageSize"), message);
        }
    }
}

/// `^[1-9][0-9]*[KMG]B$`, as the kernel names its hugetlb files.
fn is_page_size(text: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
    number.is_some_and(|number| {
        !number.is_empty() && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}
