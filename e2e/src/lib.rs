//! Tests of the whole system: a real coordinator on port 0, real agents over TCP, a real database.
//! The crate holds what the tests share and nothing that anybody else uses.
//!
//! - `tests/dependencies.rs`: what must be absent, by reading manifests and sources;
//! - `tests/search.rs`: searches from submission to front, with all that may happen on the way,
//!   over a scripted runtime, whose figures are known beforehand;
//! - `tests/kill.rs`: the real binary on the demo model, coordinator and agent killed with SIGKILL
//!   again and again, and nothing lost and nothing counted twice;
//! - `tests/worker.rs`: the real binary, the process that measures killed amid a task;
//! - `tests/weights.rs`: agents that have none of the files at the submitter's paths;
//! - `tests/chaos.rs`: several coordinators over one database, agents and the database server killed,
//!   paused and cut off, and the outcome that of an undisturbed search.
//!
//! What they share:
//!
//! - [`scripted`]: a runtime whose figures follow from the plan alone;
//! - [`coordinator`]: a coordinator that can be killed inside the test's process;
//! - [`agent`]: an agent that can;
//! - [`searches`]: a client in words of `bitfront_model`;
//! - [`requests`]: a small model and requests about it;
//! - [`relay`]: stands between agents and coordinator, remembers what was acknowledged and loses
//!   answers on purpose;
//! - [`acknowledged`]: what was acknowledged, against what is stored;
//! - [`process`]: the real binary;
//! - [`postgres`]: a Postgres server that can be killed.

// A test that cannot go on should say so where it stands.
#![allow(clippy::unwrap_used)]

pub mod acknowledged;
pub mod agent;
pub mod authority;
pub mod coordinator;
pub mod postgres;
pub mod process;
pub mod relay;
pub mod requests;
#[path = "../../agent/tests/support/scripted.rs"]
pub mod scripted;
pub mod searches;
