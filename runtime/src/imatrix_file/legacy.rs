//! The older binary form (`.dat`): `save_imatrix_legacy` in `tools/imatrix/imatrix.cpp`.
//!
//! All integers are 32-bit: the number of entries; for each its name's length, the name, the
//! number of windows, the number of columns and as many `f32`, which are means times the number
//! of windows; then, in most files, the number of windows and the text's name.

use std::path::Path;

use super::{Imatrix, ImatrixEntry, invalid};
use crate::error::ImatrixError;

pub(super) fn read(path: &Path) -> Result<Imatrix, ImatrixError> {
    let bytes = std::fs::read(path).map_err(|error| ImatrixError::Io {
        path: path.to_owned(),
        error,
    })?;
    parse(&bytes).map_err(|reason| invalid(path, reason))
}

fn parse(bytes: &[u8]) -> Result<Imatrix, String> {
    let mut cursor = Cursor { rest: bytes };
    let mut imatrix = Imatrix::default();
    let entries = cursor.count("the number of entries")?;
    for index in 0..entries {
        let length = cursor.count("a name's length")?;
        let name = std::str::from_utf8(cursor.take(length, "a name")?)
            .map_err(|_| format!("the name of entry {index} is not UTF-8"))?
            .to_owned();
        let windows = cursor.count("a number of windows")?;
        let columns = cursor.count("a number of columns")?;
        let values = cursor.take(columns.saturating_mul(4), "an entry's values")?;
        if name.is_empty() || columns == 0 || windows == 0 {
            return Err(format!(
                "entry {index} (`{name}`) has {columns} columns over {windows} windows"
            ));
        }
        let (values, _) = values.as_chunks::<4>();
        let mean_squares = values
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes) / windows as f32);
        let entry = ImatrixEntry {
            mean_squares: mean_squares.collect(),
            count: windows as u64,
        };
        if imatrix.entries.insert(name.clone(), entry).is_some() {
            return Err(format!("the entry of `{name}` stands twice"));
        }
    }
    if !cursor.rest.is_empty() {
        imatrix.chunk_count = cursor.count("the number of windows")? as u32;
        let length = cursor.count("the length of the text's name")?;
        let dataset = cursor.take(length, "the text's name")?;
        imatrix
            .datasets
            .push(String::from_utf8_lossy(dataset).into_owned());
    }
    Ok(imatrix)
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize, part: &str) -> Result<&'a [u8], String> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(format!("it ends in the middle of {part}"));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn count(&mut self, part: &str) -> Result<usize, String> {
        let mut number = [0; 4];
        number.copy_from_slice(self.take(4, part)?);
        let number = i32::from_le_bytes(number);
        usize::try_from(number).map_err(|_| format!("{part} is {number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one entry with two columns over two windows.
    fn file() -> Vec<u8> {
        let mut file = Vec::new();
        let name = b"blk.0.attn_q.weight";
        for part in [1, name.len() as i32] {
            file.extend(part.to_le_bytes());
        }
        file.extend(name);
        for part in [2i32, 2] {
            file.extend(part.to_le_bytes());
        }
        for value in [3.0f32, 8.0] {
            file.extend(value.to_le_bytes());
        }
        file.extend(2i32.to_le_bytes());
        file.extend(4i32.to_le_bytes());
        file.extend(b"text");
        file
    }

    #[test]
    fn means_are_what_was_stored_over_the_windows() {
        let imatrix = parse(&file()).unwrap_or_default();
        let entry = &imatrix.entries["blk.0.attn_q.weight"];
        assert_eq!(entry.mean_squares, [1.5, 4.0]);
        assert_eq!(
            (imatrix.chunk_count, imatrix.datasets),
            (2, vec!["text".to_owned()])
        );
    }

    #[test]
    fn every_truncation_is_an_error_that_says_where() {
        let file = file();
        for length in 0..file.len() {
            // Without the part about the text the file is complete.
            let complete = length == file.len() - 12;
            assert_eq!(parse(&file[..length]).is_ok(), complete, "{length}");
        }
    }

    #[test]
    fn a_huge_count_is_not_allocated_for() {
        let mut file = file();
        let columns = 4 + 4 + 19 + 4;
        file[columns..columns + 4].copy_from_slice(&i32::MAX.to_le_bytes());
        assert_eq!(
            parse(&file).err().as_deref(),
            Some("it ends in the middle of an entry's values")
        );
    }
}
