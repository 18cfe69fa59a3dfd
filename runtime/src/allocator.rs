//! Where the memory of every program comes from that this crate is part of.
//!
//! candle allocates buffers in each multiplication, and what that takes is timed with the plan. In
//! the C library's allocator it takes longer the more tensors the process has loaded and given up:
//! after five subjects a decode of the demo model took 30 % longer than in a new process where the
//! kernels are fast, and 3 % where they are slow, and every ratio was off by that. Here it takes
//! the same whatever the process did before (D. Leijen, B. Zorn and L. de Moura, Mimalloc: Free List
//! Sharding in Action, 2019).

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Gives the memory that nothing is in back to the system. The allocator keeps it for a second by
/// itself: too long for whoever looks then at how much there is, or times something.
pub(crate) fn give_back() {
    // SAFETY: It may be called at any time, and touches only what is free.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Bytes of this process that are in memory.
    fn resident() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn what_is_free_is_given_back_at_once() {
        const MIB: usize = 1 << 20;
        let held: Vec<_> = (0..64).map(|_| vec![1u8; MIB]).collect();
        let full = resident();
        drop(held);
        give_back();
        let left = resident();
        assert!(left + 48 * MIB < full, "{left} of {full}");
    }
}
