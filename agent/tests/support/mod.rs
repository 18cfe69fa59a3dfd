//! What the agent's tests share.

pub mod bench;
pub mod fake_coordinator;
pub mod scripted;
