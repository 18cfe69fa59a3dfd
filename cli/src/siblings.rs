//! What a search learned from its siblings, in words.

use bitfront_model::SharedPlans;

use crate::figures::count;

/// How much it learned, of whom; none where it is nothing.
pub(crate) fn learned(shared: &SharedPlans) -> Option<String> {
    let plans = count(shared.plans, "plan");
    (shared.plans > 0).then(|| format!("learned from {plans} of {}", searches(&shared.searches)))
}

/// The same behind a count of the search's own plans; empty where it is nothing.
pub(crate) fn beside(shared: &SharedPlans) -> String {
    match shared.plans {
        0 => String::new(),
        plans => format!(" and {plans} of {}", searches(&shared.searches)),
    }
}

fn searches(numbers: &[i64]) -> String {
    match numbers {
        [one] => format!("search {one}"),
        several => {
            let several: Vec<_> = several.iter().map(i64::to_string).collect();
            format!("searches {}", several.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_names_its_searches_and_nothing_is_no_line() {
        let rows: [(u64, &[i64], Option<&str>, &str); 3] = [
            (0, &[], None, ""),
            (
                1,
                &[3],
                Some("learned from 1 plan of search 3"),
                " and 1 of search 3",
            ),
            (
                120,
                &[3, 4],
                Some("learned from 120 plans of searches 3, 4"),
                " and 120 of searches 3, 4",
            ),
        ];
        for (plans, searches, expected, behind) in rows {
            let shared = SharedPlans {
                plans,
                searches: searches.to_vec(),
            };
            assert_eq!(learned(&shared).as_deref(), expected);
            assert_eq!(beside(&shared), behind);
        }
    }
}
