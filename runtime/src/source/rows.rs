//! The two orders of the rows of query and key.
//!
//! Hugging Face rotates the first half of a head with the second, Meta's checkpoints rotate
//! neighbours, and GGUF files of the architecture `llama` keep Meta's order. Going from one to
//! the other is a permutation of whole rows within each head, so that it holds for quantized rows
//! as well: a block never spans two rows.

use std::borrow::Cow;

/// A copy of `rows` in the order of GGUF files; `row_length` elements make a row.
pub(crate) fn to_file_order<T: Copy>(rows: &[T], row_length: usize, head_size: usize) -> Vec<T> {
    permuted(rows, row_length, |row| {
        let (head, within) = (row / head_size, row % head_size);
        head * head_size + (within % 2) * (head_size / 2) + within / 2
    })
}

/// The inverse of [`to_file_order`].
pub(crate) fn to_hugging_face_order<T: Copy>(
    rows: &[T],
    row_length: usize,
    head_size: usize,
) -> Vec<T> {
    permuted(rows, row_length, |row| {
        let (head, within) = (row / head_size, row % head_size);
        let half = head_size / 2;
        head * head_size + (within % half) * 2 + within / half
    })
}

/// `rows` in Hugging Face order, copied only where `file_order` says that they are not yet.
pub(crate) fn in_hugging_face_order<T: Copy>(
    rows: Cow<'_, [T]>,
    file_order: bool,
    row_length: usize,
    head_size: usize,
) -> Cow<'_, [T]> {
    if file_order {
        Cow::Owned(to_hugging_face_order(&rows, row_length, head_size))
    } else {
        rows
    }
}

fn permuted<T: Copy>(rows: &[T], row_length: usize, from: impl Fn(usize) -> usize) -> Vec<T> {
    let mut permuted = Vec::with_capacity(rows.len());
    for row in 0..rows.len() / row_length {
        let start = from(row) * row_length;
        permuted.extend_from_slice(&rows[start..start + row_length]);
    }
    permuted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_order_interleaves_the_halves_of_each_head() {
        // Two heads of four rows with two elements each.
        let rows = (0..16).collect::<Vec<_>>();
        let file = to_file_order(&rows, 2, 4);
        assert_eq!(file, [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
        assert_eq!(to_hugging_face_order(&file, 2, 4), rows);
    }

    #[test]
    fn both_directions_cancel_for_every_head_size() {
        for head_size in [2, 4, 6, 64, 128] {
            let rows = (0..head_size * 3).collect::<Vec<_>>();
            let there = to_file_order(&rows, 1, head_size);
            assert_eq!(
                to_hugging_face_order(&there, 1, head_size),
                rows,
                "{head_size}"
            );
        }
    }
}
