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
