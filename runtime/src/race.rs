//! Whether a plan that is scored window after window can still catch up with a rival.

use bitfront_model::{Rival, Stopped, stages};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::RuntimeError;
use crate::stats::mean_and_standard_error;

/// The chance at most that a plan is given up although it loses no more than its rival over the
/// whole text: what the 95 % interval of a comparison leaves on one side. It is shared out over all
/// looks (Bonferroni), so that looking often makes no plan lose.
const CHANCE: f64 = 0.025;

/// One plan against a rival that was scored on all windows.
pub(crate) struct Race<'a> {
    rival: &'a Rival,
    /// The rival's divergences in the order in which windows are scored.
    theirs: Vec<f64>,
    /// The chance that one look may be wrong.
    chance: f64,
}

/// What the windows that were scored let expect of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Expected {
    /// Mean KL divergence over all windows, in nats.
    pub(crate) kld: f64,
    /// Standard error of it.
    pub(crate) standard_error: f64,
    /// Where the race ended.
    pub(crate) stopped: Stopped,
}

impl<'a> Race<'a> {
    /// A race over `windows` windows, each of which the rival must have been scored on.
    pub(crate) fn new(rival: &'a Rival, windows: usize) -> Result<Self, RuntimeError> {
        if rival.kld_windows.len() != windows {
            return Err(RuntimeError::OtherRival {
                candidate: rival.candidate,
                expected: windows,
                found: rival.kld_windows.len(),
            });
        }
        let looks = stages::ends(windows).len() - 1;
        Ok(Self {
            rival,
            theirs: stages::order(windows)
                .into_iter()
                .map(|window| rival.kld_windows[window])
                .collect(),
            chance: CHANCE / looks.max(1) as f64,
        })
    }

    /// The end of the race where the plan, of which the first windows in the order of scoring are
    /// known, loses more than the rival over the whole text, beyond the noise of the windows that
    /// are left.
    ///
    /// What makes a window hard is the same for both plans, so their ratio varies little: tested is
    /// whether it exceeds one, by the ratio estimator for a finite population, its error from the
    /// jackknife (W. G. Cochran, Sampling Techniques, 1977, sections 6.2 and 6.17), since a few hard
    /// windows weigh more than all others, and Student's t. Of a rival that loses nothing no ratio
    /// can be taken, and nothing is concluded.
    pub(crate) fn lost(&self, ours: &[f64]) -> Option<Expected> {
        let theirs = &self.theirs[..ours.len()];
        let (scored, windows) = (ours.len() as f64, self.theirs.len() as f64);
        let (ours_sum, theirs_sum) = (ours.iter().sum::<f64>(), theirs.iter().sum::<f64>());
        let without = |(one, other): (&f64, &f64)| {
            let rest = theirs_sum - other;
            (rest > 0.0).then(|| (ours_sum - one) / rest)
        };
        let without = ours.iter().zip(theirs).map(without);
        let (_, error) = mean_and_standard_error(without.collect::<Option<Vec<_>>>()?);
        let ratio = ours_sum / theirs_sum;
        let error = error? * (scored - 1.0) * (1.0 - scored / windows).sqrt();
        let student = StudentsT::new(0.0, 1.0, scored - 1.0).ok()?;
        let whole = self.theirs.iter().sum::<f64>() / windows;
        (ratio - 1.0 > student.inverse_cdf(1.0 - self.chance) * error).then_some(Expected {
            kld: ratio * whole,
            standard_error: error * whole,
            stopped: Stopped {
                windows: self.theirs.len() as u64,
                behind: self.rival.candidate,
            },
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fastrand::Rng;

    use super::*;

    const WINDOWS: usize = 40;

    /// Windows of very different difficulty, as a plan with `factor` times the loss meets them.
    fn plan(random: &mut Rng, hardness: &[f64], factor: f64) -> Vec<f64> {
        hardness
            .iter()
            .map(|hardness| factor * hardness * (0.2 * normal(random)).exp())
            .collect()
    }

    fn hardness(random: &mut Rng) -> Vec<f64> {
        (0..WINDOWS).map(|_| (0.8 * normal(random)).exp()).collect()
    }

    fn normal(random: &mut Rng) -> f64 {
        (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
    }

    /// Runs a race to its end: the windows that were scored, and what came out.
    fn run(ours: &[f64], theirs: &[f64]) -> (usize, Option<Expected>) {
        let rival = Rival {
            candidate: 3,
            kld_windows: theirs.to_vec(),
        };
        let race = Race::new(&rival, WINDOWS).unwrap();
        let ours: Vec<_> = stages::order(WINDOWS).iter().map(|&w| ours[w]).collect();
        for end in stages::ends(WINDOWS) {
            if end < WINDOWS
                && let Some(expected) = race.lost(&ours[..end])
            {
                return (end, Some(expected));
            }
        }
        (WINDOWS, None)
    }

    #[test]
    fn a_plan_that_is_no_worse_is_given_up_as_rarely_as_promised() {
        let mut random = Rng::with_seed(5);
        let races = 4000;
        let wronged = (0..races).filter(|_| {
            let hardness = hardness(&mut random);
            let theirs = plan(&mut random, &hardness, 1.0);
            let ours = plan(&mut random, &hardness, 1.0);
            let loses_more = ours.iter().sum::<f64>() > theirs.iter().sum::<f64>();
            run(&ours, &theirs).1.is_some() && !loses_more
        });
        let share = wronged.count() as f64 / f64::from(races);
        // Three standard errors of a share of 2.5 % over 4000 races.
        assert!(share < CHANCE + 0.0075, "{share}");
    }

    #[test]
    fn a_plan_that_loses_much_more_is_given_up_early_and_its_loss_is_expected_well() {
        let mut random = Rng::with_seed(6);
        let (mut scored, mut off) = (0, Vec::new());
        for _ in 0..500 {
            let hardness = hardness(&mut random);
            let theirs = plan(&mut random, &hardness, 1.0);
            let ours = plan(&mut random, &hardness, 1.5);
            let (end, expected) = run(&ours, &theirs);
            scored += end;
            if let Some(expected) = expected {
                let whole = ours.iter().sum::<f64>() / WINDOWS as f64;
                assert_eq!(
                    expected.stopped,
                    Stopped {
                        windows: 40,
                        behind: 3
                    }
                );
                off.push((expected.kld - whole) / whole);
            }
        }
        assert!(scored < 500 * WINDOWS * 2 / 5, "{scored}");
        let bias = off.iter().sum::<f64>() / off.len() as f64;
        // Plans are given up when they look worse than they are, so a little remains.
        assert!(bias.abs() < 0.05, "{bias}");
    }

    #[test]
    fn a_rival_of_another_text_is_refused() {
        let rival = Rival {
            candidate: 7,
            kld_windows: vec![0.1; 3],
        };
        let error = Race::new(&rival, 4).err().unwrap().to_string();
        assert!(
            error.contains("candidate 7") && error.contains('3'),
            "{error}"
        );
    }
}
