//! Causal grouped-query attention over an explicit cache.
//!
//! Every sum is taken in one fixed order, whichever queries are computed together: the inner
//! products in sixteen lanes, the weights position by position, the values four positions at a
//! time from the first one on.

use std::array;

use super::elementwise::{LANES, largest};
use super::exponential::exp;
use super::kv_cache::{BlockCache, KEYS_PER_TILE};
use super::parallel::for_costly_rows;
use super::vectors::widest_vectors;

/// Rows of queries that are computed together: what they read of the cache stays in the
/// processor's nearest one.
const ROWS: usize = 8;

/// Positions whose values all queries of these rows read before the next ones.
const POSITIONS: usize = 64;

/// The row of a query: which sequence it belongs to and at which position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: usize,
    pub(crate) position: usize,
}

/// Softmax-weighted values for every query row.
///
/// `queries` is `places.len() × heads·head_size`, rotated; the result has the same shape. A query
/// sees the cached positions of its sequence up to and including its own.
pub(crate) fn attend(
    queries: &[f32],
    places: &[Place],
    cache: &BlockCache,
    heads: usize,
) -> Vec<f32> {
    let width = heads * cache.head_size();
    let mut output = vec![0.0; queries.len()];
    let visible = places.iter().map(|place| place.position + 1).sum::<usize>();
    let cost = visible * width;
    for_costly_rows(&mut output, ROWS * width, cost, |chunk, output| {
        let first = chunk * ROWS;
        let places = &places[first..][..output.len() / width];
        let queries = &queries[first * width..][..output.len()];
        attend_rows(queries, places, cache, output);
    });
    output
}

widest_vectors! {
    /// As [`attend`], for a few rows, adding to `output`.
    fn attend_rows(queries: &[f32], places: &[Place], cache: &BlockCache, output: &mut [f32])
        = rows
}

#[inline(always)]
fn rows(queries: &[f32], places: &[Place], cache: &BlockCache, output: &mut [f32]) {
    let head_size = cache.head_size();
    let heads = queries.len() / (places.len() * head_size);
    let group = heads / cache.heads();
    let mut weights = Vec::new();
    let mut asking = Vec::new();
    let mut first = 0;
    for places in places.chunk_by(|left, right| left.sequence == right.sequence) {
        for head in 0..cache.heads() {
            asking.clear();
            for (row, place) in places.iter().enumerate() {
                let start = (first + row) * heads + head * group;
                asking.extend((start..start + group).map(|query| Asking {
                    offset: query * head_size,
                    length: place.position + 1,
                }));
            }
            let keys = cache.keys(places[0].sequence, head);
            let values = cache.values(places[0].sequence, head);
            let longest = asking.iter().map(|asking| asking.length).max();
            let room = longest.unwrap_or(0).next_multiple_of(KEYS_PER_TILE);
            weights.resize(asking.len() * room, 0.0);
            scores(queries, &asking, keys, head_size, &mut weights);
            exponentials(&asking, &mut weights);
            add_values(&asking, &weights, values, head_size, output);
            divide_by_sums(&asking, &weights, head_size, output);
        }
        first += places.len();
    }
}

/// A figure for each key of a tile.
type Tile = [f32; KEYS_PER_TILE];

/// Where a query of one head begins, which is where its result begins too, and how many positions
/// it sees.
#[derive(Clone, Copy)]
struct Asking {
    offset: usize,
    length: usize,
}

/// The scaled inner products of the queries with the keys that they see, into their rows of
/// `weights`.
#[inline(always)]
fn scores(queries: &[f32], asking: &[Asking], keys: &[f32], head_size: usize, weights: &mut [f32]) {
    let scale = 1.0 / (head_size as f32).sqrt();
    let room = weights.len() / asking.len();
    let query = |asking: &Asking| &queries[asking.offset..][..head_size];
    let scaled = |asking: &Asking, first: usize, weights: &mut [f32], products: &Tile| {
        if first < asking.length {
            for (weight, product) in weights[first..].iter_mut().zip(products) {
                *weight = product * scale;
            }
        }
    };
    let tiles = keys.chunks_exact(head_size * KEYS_PER_TILE);
    for (tile, first) in tiles.zip((0..room).step_by(KEYS_PER_TILE)) {
        let (fours, ones) = asking.as_chunks::<4>();
        let (four_rows, one_rows) = weights.split_at_mut(4 * fours.len() * room);
        for (asking, rows) in fours.iter().zip(four_rows.chunks_exact_mut(4 * room)) {
            if asking.iter().all(|asking| asking.length <= first) {
                continue;
            }
            let products = four_products(asking.each_ref().map(query), tile);
            let rows = rows.chunks_exact_mut(room);
            for ((asking, products), weights) in asking.iter().zip(&products).zip(rows) {
                scaled(asking, first, weights, products);
            }
        }
        for (asking, weights) in ones.iter().zip(one_rows.chunks_exact_mut(room)) {
            if first < asking.length {
                scaled(asking, first, weights, &products(query(asking), tile));
            }
        }
    }
}

/// The inner products of four queries with the keys of a tile, each in a vector element of its own:
/// the order of additions is that of [`super::elementwise::dot`]. Four queries at once, since an
/// addition waits for the one before it of the same query.
#[inline(always)]
fn four_products(queries: [&[f32]; 4], tile: &[f32]) -> [Tile; 4] {
    let [first, second, third, fourth] = queries.map(|query| query.as_chunks::<LANES>());
    let (columns, _) = tile.as_chunks::<KEYS_PER_TILE>();
    let (columns, columns_rest) = columns.as_chunks::<LANES>();
    let mut totals = [[0.0; KEYS_PER_TILE]; 4];
    for lane in 0..LANES {
        let mut a = [0.0; KEYS_PER_TILE];
        let (mut b, mut c, mut d) = (a, a, a);
        let firsts = first.0.iter().zip(second.0);
        let lasts = third.0.iter().zip(fourth.0);
        for (columns, ((first, second), (third, fourth))) in columns.iter().zip(firsts.zip(lasts)) {
            add_scaled(&mut a, first[lane], &columns[lane]);
            add_scaled(&mut b, second[lane], &columns[lane]);
            add_scaled(&mut c, third[lane], &columns[lane]);
            add_scaled(&mut d, fourth[lane], &columns[lane]);
        }
        for key in 0..KEYS_PER_TILE {
            totals[0][key] += a[key];
            totals[1][key] += b[key];
            totals[2][key] += c[key];
            totals[3][key] += d[key];
        }
    }
    if !columns_rest.is_empty() {
        for (total, rest) in totals
            .iter_mut()
            .zip([first.1, second.1, third.1, fourth.1])
        {
            add_rest(total, rest, columns_rest);
        }
    }
    totals
}

/// As [`four_products`], of one query.
#[inline(always)]
fn products(query: &[f32], tile: &[f32]) -> Tile {
    let (query, query_rest) = query.as_chunks::<LANES>();
    let (columns, _) = tile.as_chunks::<KEYS_PER_TILE>();
    let (columns, columns_rest) = columns.as_chunks::<LANES>();
    let mut totals = [0.0; KEYS_PER_TILE];
    for lane in 0..LANES {
        let mut sums = [0.0; KEYS_PER_TILE];
        for (query, columns) in query.iter().zip(columns) {
            add_scaled(&mut sums, query[lane], &columns[lane]);
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total += sum;
        }
    }
    add_rest(&mut totals, query_rest, columns_rest);
    totals
}

/// Adds the products of what is left of a query behind its lanes.
#[inline(always)]
fn add_rest(totals: &mut Tile, query: &[f32], columns: &[Tile]) {
    let mut rest = [0.0; KEYS_PER_TILE];
    for (&query, column) in query.iter().zip(columns) {
        add_scaled(&mut rest, query, column);
    }
    for (total, rest) in totals.iter_mut().zip(rest) {
        *total += rest;
    }
}

/// Adds `scale · values` to `sums`.
#[inline(always)]
fn add_scaled<const WIDTH: usize>(sums: &mut [f32; WIDTH], scale: f32, values: &[f32; WIDTH]) {
    for index in 0..WIDTH {
        sums[index] += scale * values[index];
    }
}

/// The exponentials of each row of `weights`, the largest that its query sees being one; zeros for
/// what it does not see.
#[inline(always)]
fn exponentials(asking: &[Asking], weights: &mut [f32]) {
    let room = weights.len() / asking.len();
    for (asking, weights) in asking.iter().zip(weights.chunks_exact_mut(room)) {
        let (weights, hidden) = weights.split_at_mut(asking.length);
        let largest = largest(weights, |weight| weight);
        for weight in weights {
            *weight = exp(*weight - largest);
        }
        hidden.fill(0.0);
    }
}

/// Adds the weighted values that each query sees to its part of `output`.
#[inline(always)]
fn add_values(
    asking: &[Asking],
    weights: &[f32],
    values: &[f32],
    head_size: usize,
    output: &mut [f32],
) {
    let room = weights.len() / asking.len();
    let blocks = values.chunks(POSITIONS * head_size);
    for (values, first) in blocks.zip((0..room).step_by(POSITIONS)) {
        for (asking, weights) in asking.iter().zip(weights.chunks_exact(room)) {
            let last = asking.length.min(first + POSITIONS);
            if first < last {
                let output = &mut output[asking.offset..][..head_size];
                add_weighted(output, &weights[first..last], values);
            }
        }
    }
}

/// Adds `weights[i] · values[i]` for every row `i` of `values` to `output`, as many columns at a
/// time as their sums can stay in registers.
#[inline(always)]
fn add_weighted(output: &mut [f32], weights: &[f32], values: &[f32]) {
    let width = output.len();
    let (wide, narrow) = output.as_chunks_mut::<16>();
    let mut at = 0;
    for sums in wide {
        add_columns(sums, weights, values, width, at);
        at += sums.len();
    }
    for sum in narrow {
        add_columns(array::from_mut(sum), weights, values, width, at);
        at += 1;
    }
}

/// As [`add_weighted`], for the columns from `at` on of rows of `width`.
#[inline(always)]
fn add_columns<const COLUMNS: usize>(
    output: &mut [f32; COLUMNS],
    weights: &[f32],
    values: &[f32],
    width: usize,
    at: usize,
) {
    let mut sums = *output;
    let (fours, rest) = weights.as_chunks::<4>();
    let (four_rows, rest_rows) = values.split_at(4 * fours.len() * width);
    for (weights, rows) in fours.iter().zip(four_rows.chunks_exact(4 * width)) {
        let first = columns::<COLUMNS>(rows, at);
        let second = columns::<COLUMNS>(rows, width + at);
        let third = columns::<COLUMNS>(rows, 2 * width + at);
        let fourth = columns::<COLUMNS>(rows, 3 * width + at);
        for index in 0..COLUMNS {
            sums[index] += weights[0] * first[index]
                + weights[1] * second[index]
                + weights[2] * third[index]
                + weights[3] * fourth[index];
        }
    }
    for (&weight, row) in rest.iter().zip(rest_rows.chunks_exact(width)) {
        add_scaled(&mut sums, weight, columns(row, at));
    }
    *output = sums;
}

/// The `COLUMNS` values from `at` on.
#[inline(always)]
fn columns<const COLUMNS: usize>(values: &[f32], at: usize) -> &[f32; COLUMNS] {
    let (columns, _) = values[at..][..COLUMNS].as_chunks();
    &columns[0]
}

/// Divides what each query has by the sum of its weights. Four sums run side by side: each is
/// taken position by position, and the zeros behind a shorter row change nothing.
#[inline(always)]
fn divide_by_sums(asking: &[Asking], weights: &[f32], head_size: usize, output: &mut [f32]) {
    let room = weights.len() / asking.len();
    let fours = weights.chunks(4 * room);
    for (asking, weights) in asking.chunks(4).zip(fours) {
        let mut rows = [&weights[..room]; 4];
        for (row, weights) in rows.iter_mut().zip(weights.chunks_exact(room)) {
            *row = weights;
        }
        let mut sums = [0.0; 4];
        let [first, second, third, fourth] = rows.map(|row| row.iter());
        for (((first, second), third), fourth) in first.zip(second).zip(third).zip(fourth) {
            for (sum, weight) in sums.iter_mut().zip([first, second, third, fourth]) {
                *sum += weight;
            }
        }
        for (asking, sum) in asking.iter().zip(sums) {
            let inverse = 1.0 / sum;
            for value in &mut output[asking.offset..][..head_size] {
                *value *= inverse;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::elementwise::dot;
    use super::super::kv_cache::KvCache;
    use super::super::vectors::tests::in_every_form;
    use super::*;

    const SEQUENCES: usize = 2;

    /// Positions that are filled; the last one with values that are not numbers.
    const FILLED: usize = 150;

    fn wave(length: usize, step: f32) -> Vec<f32> {
        (0..length).map(|i| (i as f32 * step).sin() * 2.0).collect()
    }

    /// The definition, one query and head after the other.
    fn one_by_one(query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>]) -> Vec<f32> {
        let scale = 1.0 / (query.len() as f32).sqrt();
        let scores = keys.iter().map(|key| dot(query, key) * scale);
        let scores = scores.collect::<Vec<_>>();
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights = scores.iter().map(|score| exp(score - largest));
        let weights = weights.collect::<Vec<_>>();
        let inverse = 1.0 / weights.iter().sum::<f32>();
        let (fours, rest) = weights.as_chunks::<4>();
        let columns = (0..query.len()).map(|column| {
            let column = values.iter().map(|row| row[column]).collect::<Vec<_>>();
            let mut sum = 0.0;
            for (w, v) in fours.iter().zip(column.chunks_exact(4)) {
                sum += w[0] * v[0] + w[1] * v[1] + w[2] * v[2] + w[3] * v[3];
            }
            for (w, v) in rest.iter().zip(&column[4 * fours.len()..]) {
                sum += w * v;
            }
            sum * inverse
        });
        columns.collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Together, alone, and with wide vectors or without: always the bits of one query after the
    /// other, whatever lies behind the positions that it sees.
    #[test]
    fn queries_get_the_same_bits_in_any_company() {
        for (head_size, heads, key_heads) in [(64, 4, 2), (6, 3, 3), (40, 6, 2), (130, 5, 1)] {
            let shape = format!("{heads} heads of {head_size}, {key_heads} of keys");
            let (width, key_width) = (heads * head_size, key_heads * head_size);
            let frequencies = vec![0.0; head_size / 2];
            let mut cache = KvCache::new(1, SEQUENCES, FILLED + 3, key_heads, &frequencies);
            let cache = cache.block(0);
            let mut keys = wave(SEQUENCES * FILLED * key_width, 0.37);
            let mut values = wave(keys.len(), 0.73);
            for sequence in 1..=SEQUENCES {
                let end = sequence * FILLED * key_width;
                keys[end - key_width..end].fill(f32::NAN);
                values[end - key_width..end].fill(f32::NAN);
            }
            cache.store(&keys, &values, FILLED, 0);

            let positions = [0, 1, 2, 3, 4, 7, 14, 15, 16, 62, 63, 64, 65, 130, 148];
            let place = |sequence| move |position| Place { sequence, position };
            let places = (0..SEQUENCES).flat_map(|sequence| positions.map(place(sequence)));
            let places = places.collect::<Vec<_>>();
            let queries = wave(places.len() * width, 0.11);
            let found = attend(&queries, &places, cache, heads);
            let forms = in_every_form(|| {
                let mut attended = vec![0.0; queries.len()];
                attend_rows(&queries, &places, cache, &mut attended);
                bits(&attended)
            });
            for form in forms {
                assert_eq!(bits(&found), form, "{shape}: the vectors' width");
            }

            for (row, place) in places.iter().enumerate() {
                let query = &queries[row * width..][..width];
                let found = &found[row * width..][..width];
                let alone = attend(query, &[*place], cache, heads);
                assert_eq!(bits(found), bits(&alone), "{shape}, alone at {place:?}");
                for head in 0..heads {
                    let at = head / (heads / key_heads) * head_size;
                    let seen = |all: &[f32]| {
                        let rows = all.chunks_exact(key_width).skip(place.sequence * FILLED);
                        let rows = rows.take(place.position + 1);
                        rows.map(|row| row[at..][..head_size].to_vec())
                            .collect::<Vec<_>>()
                    };
                    let part = head * head_size..(head + 1) * head_size;
                    let expected = one_by_one(&query[part.clone()], &seen(&keys), &seen(&values));
                    assert_eq!(
                        bits(&found[part]),
                        bits(&expected),
                        "{shape}, head {head} at {place:?}"
                    );
                }
            }
        }
    }
}
