//! What tests of files by URL share.

pub mod store;
