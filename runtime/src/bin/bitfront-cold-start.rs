//! The smallest program that takes the cold start of a plan: for tests, and for whoever measures
//! with the library in a program that has no such verb.
//!
//! It is started with a question on its standard input, see [`bitfront_runtime::cold`].

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    let question = io::read_to_string(io::stdin())?;
    let answer = bitfront_runtime::cold::answer(&question);
    io::stdout().write_all(answer.as_bytes())
}
