//! What the agent's tests share.

pub mod fake_coordinator;
pub mod scripted;
