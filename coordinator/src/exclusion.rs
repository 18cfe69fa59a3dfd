//! Which precisions are not worth searching for a shape on a device, by its probe.
//!
//! A precision leaves where another is no larger, no slower (beyond the intervals, with few rows of
//! activations and with many) and no less accurate (by
//! [`Precision::rounding_error`]). The other one stays itself, so nothing that leaves is without a
//! replacement, and the smallest plan is no larger than before.

use bitfront_model::{Exclusion, Precision, Probe, Product, ProductResult, ProductTime, Shape};

/// What leaves the space of a search over some precisions, by shape and precision as in the probe.
pub(crate) fn exclusions(probe: &Probe, precisions: &[Precision]) -> Vec<Exclusion> {
    let mut products: Vec<_> = probe
        .products
        .iter()
        .filter(|product| precisions.contains(&product.precision))
        .collect();
    // Whatever replaces a product is more accurate, so it is decided before whether it stays.
    products.sort_by(|left, right| {
        let errors = [left, right].map(|product| product.precision.rounding_error());
        errors[0].total_cmp(&errors[1])
    });
    let mut staying: Vec<&Product> = Vec::new();
    let mut excluded = Vec::new();
    for product in products {
        let rivals = staying.iter().copied();
        let rivals: Vec<_> = rivals.filter(|rival| replaces(rival, product)).collect();
        match exclusion(product, &rivals) {
            Some(exclusion) => excluded.push(exclusion),
            None => staying.push(product),
        }
    }
    excluded.sort_by_key(|exclusion| (exclusion.shape, exclusion.precision));
    excluded
}

fn exclusion(product: &Product, rivals: &[&Product]) -> Option<Exclusion> {
    let Product {
        shape,
        precision,
        result,
    } = product;
    let reason = match result {
        ProductResult::Infeasible { reason } => format!("it cannot be executed here: {reason}"),
        ProductResult::Timed {
            few_rows,
            many_rows,
        } => {
            let rival = rivals.first()?;
            let (rival_few, rival_many) = rival.times()?;
            format!(
                "{} is no larger ({} bytes for {}), no less accurate, and no slower: it takes {} \
                 of the time with few rows and {} with many",
                rival.precision,
                bytes(*shape, rival.precision),
                bytes(*shape, *precision),
                percent(rival_few.ratio / few_rows.ratio),
                percent(rival_many.ratio / many_rows.ratio),
            )
        }
    };
    Some(Exclusion {
        shape: *shape,
        precision: *precision,
        by: rivals.iter().map(|rival| rival.precision).collect(),
        reason,
    })
}

/// The rival is no worse in anything, as far as the probe and the prior tell.
fn replaces(rival: &Product, product: &Product) -> bool {
    let (Some(theirs), Some(ours)) = (rival.times(), product.times()) else {
        return false;
    };
    rival.shape == product.shape
        && bytes(product.shape, rival.precision) <= bytes(product.shape, product.precision)
        && rival.precision.rounding_error() <= product.precision.rounding_error()
        && no_slower(theirs.0, ours.0)
        && no_slower(theirs.1, ours.1)
}

/// True where the times show no sign of the first being slower: its interval reaches down to the
/// second's. A wide interval reaches far and shows little, so where one is noisy the first must lie
/// wholly below.
fn no_slower(first: &ProductTime, second: &ProductTime) -> bool {
    let (theirs, ours) = (first.ratio_interval, second.ratio_interval);
    match first.noisy || second.noisy {
        true => theirs.high <= ours.low,
        false => theirs.low <= ours.high,
    }
}

fn bytes(shape: Shape, precision: Precision) -> u64 {
    precision
        .bytes(shape.rows, shape.columns)
        .unwrap_or(u64::MAX)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn probe() -> Probe {
        fixtures::probe(&fixtures::probe_question())
    }

    fn timed(product: &mut Product) -> (&mut ProductTime, &mut ProductTime) {
        match &mut product.result {
            ProductResult::Timed {
                few_rows,
                many_rows,
            } => (few_rows, many_rows),
            ProductResult::Infeasible { reason } => panic!("{reason}"),
        }
    }

    /// What replaces `q5_0` for the first shape after a change of its product.
    fn replacing_q5_0(change: impl Fn(&mut Product)) -> Option<Vec<Precision>> {
        let mut probe = probe();
        let first = |product: &&mut Product| product.precision == Precision::Q5_0;
        let product = probe.products.iter_mut().find(first).unwrap();
        change(product);
        let shape = product.shape;
        exclusions(&probe, &Precision::ALL)
            .into_iter()
            .find(|it| it.shape == shape && it.precision == Precision::Q5_0)
            .map(|it| it.by)
    }

    #[test]
    fn what_is_slow_and_no_better_leaves_and_says_why() {
        let probe = probe();
        let excluded = exclusions(&probe, &Precision::ALL);
        let shapes = fixtures::probe_question().shapes;
        for shape in shapes {
            let of_shape: Vec<_> = excluded.iter().filter(|it| it.shape == shape).collect();
            let precisions: Vec<_> = of_shape.iter().map(|it| it.precision).collect();
            assert!(precisions.contains(&Precision::Q5_0), "{precisions:?}");
            // What is smaller than everything else, and what is more accurate, stay.
            for kept in [
                Precision::Q2K,
                Precision::Q8_0,
                Precision::Q4K,
                Precision::F32,
            ] {
                assert!(!precisions.contains(&kept), "{kept} of {precisions:?}");
            }
            let q5_0 = of_shape.iter().find(|it| it.precision == Precision::Q5_0);
            let q5_0 = q5_0.unwrap();
            assert_eq!(q5_0.by, [Precision::Q5K]);
            assert!(
                q5_0.reason.starts_with("q5_k is no larger"),
                "{}",
                q5_0.reason
            );
        }
    }

    #[test]
    fn only_precisions_of_the_search_count() {
        let without = exclusions(
            &probe(),
            &[Precision::Q5_0, Precision::Q4K, Precision::Q8_0],
        );
        assert_eq!(without, []);
    }

    #[test]
    fn one_product_that_is_faster_keeps_a_precision() {
        assert!(replacing_q5_0(|_| {}).is_some());
        let fast = |time: &mut ProductTime| *time = fixtures::product_time(1.0);
        assert_eq!(replacing_q5_0(|product| fast(timed(product).0)), None);
        assert_eq!(replacing_q5_0(|product| fast(timed(product).1)), None);
    }

    #[test]
    fn a_noisy_time_counts_only_where_it_lies_apart() {
        let noisy = |time: &mut ProductTime| time.noisy = true;
        assert!(replacing_q5_0(|product| noisy(timed(product).0)).is_some());
        // As fast as q5_k, which has as many bytes.
        let alike = |product: &mut Product| {
            let bytes = bytes(product.shape, product.precision) as f64;
            *timed(product).0 = fixtures::product_time(1000.0 + bytes);
        };
        assert!(replacing_q5_0(alike).is_some());
        let alike_and_noisy = |product: &mut Product| {
            alike(product);
            noisy(timed(product).0);
        };
        assert_eq!(replacing_q5_0(alike_and_noisy), None);
    }

    #[test]
    fn what_cannot_be_executed_leaves_with_the_reason() {
        let broken = |product: &mut Product| {
            product.result = ProductResult::Infeasible {
                reason: "no kernel".to_owned(),
            };
        };
        assert_eq!(replacing_q5_0(broken), Some(Vec::new()));
    }

    #[test]
    fn nothing_leaves_without_a_replacement_that_stays() {
        let excluded = exclusions(&probe(), &Precision::ALL);
        for exclusion in &excluded {
            let stays = |by: &Precision| {
                !excluded
                    .iter()
                    .any(|it| it.shape == exclusion.shape && it.precision == *by)
            };
            assert!(exclusion.by.iter().any(stays), "{exclusion:?}");
        }
    }
}
