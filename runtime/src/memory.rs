//! Memory: what is left on the device, and what this process takes.
//!
//! Everything is read from files under one root, so that a test can say what they hold. What the
//! platform does not tell is absent.

use std::fs;
use std::path::{Path, PathBuf};

/// The memory of the device and of this process.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    root: PathBuf,
}

impl Memory {
    /// As the files under `root` have it, which is `/` but in tests.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Bytes that can still be taken: what the kernel says is available, or what a control group
    /// leaves of it where that is less.
    pub(crate) fn available_bytes(&self) -> Option<u64> {
        let system = kibibytes(&self.text("proc/meminfo")?, "MemAvailable")?;
        Some(
            self.left_by_groups()
                .map_or(system, |left| left.min(system)),
        )
    }

    /// Bytes of this process that are in memory now.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        kibibytes(&self.text("proc/self/status")?, "VmRSS")
    }

    /// The most that they were since the start.
    pub(crate) fn peak_resident_bytes(&self) -> Option<u64> {
        kibibytes(&self.text("proc/self/status")?, "VmHWM")
    }

    /// Asks the system to end this process before all others where memory runs out. Where it cannot
    /// be asked it chooses by itself.
    pub(crate) fn be_ended_first(&self) {
        let path = self.root.join("proc/self/oom_score_adj");
        // proc(5): 1000 is the most; raising the own one takes no privilege. The file is never
        // made.
        if let Ok(mut file) = fs::OpenOptions::new().write(true).open(path)
            && let Err(error) = std::io::Write::write_all(&mut file, b"1000")
        {
            tracing::debug!("the system was not asked to end this process first: {error}");
        }
    }

    /// What the control groups (version 2) that this process is in leave of their limits. Pages of
    /// files that nobody used lately count as left: the kernel drops them first.
    fn left_by_groups(&self) -> Option<u64> {
        let groups = self.text("proc/self/cgroup")?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let top = Path::new("sys/fs/cgroup");
        let left = Path::new(own).ancestors().filter_map(|group| {
            let text = |name: &str| fs::read_to_string(self.root.join(top).join(group).join(name));
            let number = |name: &str| text(name).ok()?.trim().parse::<u64>().ok();
            // No limit is the word `max`.
            let limit = number("memory.max")?;
            let statistics = text("memory.stat").unwrap_or_default();
            let cached = statistics
                .lines()
                .find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
            let used = number("memory.current")?.saturating_sub(cached.unwrap_or(0));
            Some(limit.saturating_sub(used))
        });
        left.min()
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

/// The bytes of a line such as `VmHWM:  5120 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| {
        let (left, right) = line.split_once(':')?;
        (left.trim() == name).then_some(right)
    })?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Paths and what they hold.
    type Files<'a> = &'a [(&'a str, &'a str)];

    fn device(files: Files<'_>) -> (tempfile::TempDir, Memory) {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let memory = Memory::new(root.path());
        (root, memory)
    }

    #[test]
    fn the_tightest_limit_says_what_is_left() {
        let meminfo = (
            "proc/meminfo",
            "MemTotal: 9000 kB\nMemAvailable:   1000 kB\n",
        );
        let in_group = ("proc/self/cgroup", "4:memory:/old\n0::/outer/inner\n");
        let rows: [(Files<'_>, Option<u64>); 6] = [
            (&[], None),
            (&[meminfo], Some(1_024_000)),
            (&[meminfo, in_group], Some(1_024_000)),
            (
                &[
                    meminfo,
                    in_group,
                    ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
                    ("sys/fs/cgroup/outer/inner/memory.current", "5\n"),
                    ("sys/fs/cgroup/outer/memory.max", "700000\n"),
                    ("sys/fs/cgroup/outer/memory.current", "300000\n"),
                ],
                Some(400_000),
            ),
            (
                &[
                    meminfo,
                    in_group,
                    ("sys/fs/cgroup/outer/inner/memory.max", "700000\n"),
                    ("sys/fs/cgroup/outer/inner/memory.current", "900000\n"),
                    (
                        "sys/fs/cgroup/outer/inner/memory.stat",
                        "anon 1\ninactive_file 250000\n",
                    ),
                ],
                Some(50_000),
            ),
            (
                &[
                    meminfo,
                    ("proc/self/cgroup", "0::/\n"),
                    ("sys/fs/cgroup/memory.max", "9000000000\n"),
                    ("sys/fs/cgroup/memory.current", "1\n"),
                ],
                Some(1_024_000),
            ),
        ];
        for (files, expected) in rows {
            let (_root, memory) = device(files);
            assert_eq!(memory.available_bytes(), expected, "{files:?}");
        }
    }

    #[test]
    fn the_peak_is_that_of_the_whole_name() {
        let status = "VmHWMx:\t1 kB\nVmHWM:\t  5120 kB\nVmRSS:\t  4096 kB\n";
        let (_root, memory) = device(&[("proc/self/status", status)]);
        assert_eq!(memory.peak_resident_bytes(), Some(5120 << 10));
        assert_eq!(memory.resident_bytes(), Some(4096 << 10));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_all_of_it() {
        let memory = Memory::new(Path::new("/"));
        assert!(memory.available_bytes().unwrap() > 1 << 20);
        assert!(memory.peak_resident_bytes().unwrap() >= 1 << 20);
    }
}
