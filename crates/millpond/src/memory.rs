//! How much memory there is for this process.

use std::fs;

use rustix::system::sysinfo;

/// About how much memory requests may hold where nothing is set: an eighth of what there is, in bytes.
pub(crate) fn for_requests() -> u64 {
    let info = sysinfo();
    let machine = info.totalram.saturating_mul(info.mem_unit.into());
    let all = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| limit(&text));
    all.map_or(machine, |limit| machine.min(limit)) / 8
}

/// What a container may have, if that is limited.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_an_eighth_of_what_there_is() {
        assert_eq!(limit("536870912\n"), Some(536_870_912));
        assert_eq!(limit("max\n"), None);
        assert!((1 << 20..1 << 45).contains(&for_requests()));
    }
}
