//! The wire protocol of bitfront and its conversions.
//!
//! - [`v1`]: the messages, clients and servers that are generated from `v1/*.proto`;
//! - [`convert`]: from the wire to the domain, checked, with the path of the field at fault; from
//!   the domain to the wire, total;
//! - [`access`]: how a client comes to a coordinator;
//! - [`trace`]: how a trace goes on from the one to the other.
//!
//! Generated types stop here and at the two ends of a connection (the coordinator's `rpc` and the
//! clients); everything else speaks the words of `bitfront_model`.

pub mod access;
pub mod convert;
pub mod trace;

pub use convert::{ConvertError, Problem};

/// Messages, clients and servers of version 1; documented in `v1/*.proto`.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all)]

    tonic::include_proto!("bitfront.v1");

    impl std::fmt::Debug for AddTokenResponse {
        fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("AddTokenResponse { secret: (not shown) }")
        }
    }

    impl std::fmt::Debug for AddScheduleRequest {
        fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let name = &self.name;
            write!(
                out,
                "AddScheduleRequest {{ name: {name:?}, webhook: (not shown), .. }}"
            )
        }
    }
}

/// Every call of every service, by its path (`/bitfront.v1.Searches/Submit`).
pub const CALLS: &[&str] = include!(concat!(env!("OUT_DIR"), "/calls.rs"));

/// The header in which an agent says which database its leases are of, as it was told when it
/// registered.
pub const DATABASE_HEADER: &str = "bitfront-database";

/// The most bytes of a blob that travel in one message: few enough that a thousand streams are no
/// burden, and enough that a message's own cost does not count.
pub const CHUNK_BYTES: usize = 1 << 20;

/// The largest message that either end accepts or sends, in bytes.
///
/// The largest things that travel are a front with the raw samples of all its measurements (about
/// 5 KB a candidate, so thousands of candidates fit) and a report with its samples. The default
/// of gRPC, 4 MiB, is too small for the first; no limit at all would let one bad client fill the
/// coordinator's memory. Every client and server sets this with `max_decoding_message_size` and
/// `max_encoding_message_size`.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
