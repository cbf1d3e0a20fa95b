//! How much memory this process may hope for. Linux grants what it does not have and kills the process on first use, so an
//! absurd request has to be refused before it is made. Elsewhere the allocator's own answer is enough.

use std::sync::OnceLock;

/// Bytes that all buffers together may take: physical memory or the control group's limit, whichever is smaller.
/// `usize::MAX` where neither can be read.
pub fn total() -> usize {
    static TOTAL: OnceLock<usize> = OnceLock::new();
    *TOTAL.get_or_init(read_total)
}

#[cfg(target_os = "linux")]
fn read_total() -> usize {
    meminfo(&["MemTotal:"]).unwrap_or(usize::MAX).min(control_group_limit())
}

/// Bytes that could be handed out right now without killing anyone (free, reclaimable and swap), where it is known. Reads a
/// file: for large requests only.
#[cfg(target_os = "linux")]
pub fn available() -> Option<usize> {
    meminfo(&["MemAvailable:", "SwapFree:"])
}

#[cfg(not(target_os = "linux"))]
fn read_total() -> usize {
    usize::MAX
}

#[cfg(not(target_os = "linux"))]
pub fn available() -> Option<usize> {
    None
}

/// The sum of some lines of /proc/meminfo, in bytes; None if the first is not there.
#[cfg(target_os = "linux")]
fn meminfo(keys: &[&str]) -> Option<usize> {
    parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?, keys)
}

#[cfg(target_os = "linux")]
fn parse_meminfo(text: &str, keys: &[&str]) -> Option<usize> {
    let line = |key: &str| {
        let rest = text.lines().find_map(|l| l.strip_prefix(key))?;
        rest.split_whitespace().next()?.parse::<usize>().ok()?.checked_mul(1024)
    };
    let first = line(keys.first()?)?;
    Some(keys[1..].iter().filter_map(|k| line(k)).fold(first, usize::saturating_add))
}

/// The tightest limit of our control group and its parents, in version 1 or 2 of the hierarchy.
#[cfg(target_os = "linux")]
fn control_group_limit() -> usize {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut limit = usize::MAX;
    for line in text.lines() {
        // "4:memory:/path" in version 1, "0::/path" in version 2
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|c| c == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mut path = path.trim_end_matches('/');
        loop {
            // inside a container the group's own path is often not mounted: the root then holds its limit
            let value = std::fs::read_to_string(format!("{root}{path}/{file}"));
            if let Some(bytes) = value.ok().and_then(|v| v.trim().parse::<usize>().ok()) {
                limit = limit.min(bytes);
            }
            match path.rfind('/') {
                Some(i) => path = &path[..i],
                None => break,
            }
        }
    }
    limit
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn meminfo_lines_add_up() {
        let text = "MemTotal:       1000 kB\nMemAvailable:    10 kB\nSwapFree:         5 kB\n";
        assert_eq!(parse_meminfo(text, &["MemTotal:"]), Some(1000 * 1024));
        assert_eq!(parse_meminfo(text, &["MemAvailable:", "SwapFree:"]), Some(15 * 1024));
        assert_eq!(parse_meminfo(text, &["MemAvailable:", "Nothing:"]), Some(10 * 1024));
        assert_eq!(parse_meminfo(text, &["Nothing:"]), None);
    }

    #[test]
    fn this_machine_has_a_limit() {
        assert!(total() > 1 << 20);
        assert!(total() < usize::MAX);
        assert!(available().unwrap() > 0);
    }
}
