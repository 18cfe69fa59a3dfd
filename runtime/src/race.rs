//! Whether a plan that is scored window after window can still come out better than a rival.

use bitfront_model::{Rival, Stopped, stages};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::RuntimeError;
use crate::stats::mean_and_standard_error;

/// One side of a 95 % interval. It is not shared out over the looks: of the plans that would have
/// come out better beyond the interval less than 5 % are given up, over all looks together, which
/// the tests simulate for plans that are a little better and for those that are much better.
const SIDE: f64 = 0.975;

/// One plan against a rival that was scored on all windows.
pub(crate) struct Race<'a> {
    rival: &'a Rival,
    /// The rival's divergences in the order in which windows are scored.
    theirs: Vec<f64>,
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
        Ok(Self {
            rival,
            theirs: stages::order(windows)
                .into_iter()
                .map(|window| rival.kld_windows[window])
                .collect(),
        })
    }

    /// The end of the race where the plan, of which the first windows in the order of scoring are
    /// known, will not be told to lose less than the rival: where the ratio of both divergences
    /// over the whole text, as small as it may still become, is not below one by more than the
    /// interval of such a comparison.
    ///
    /// What makes a window hard is the same for both plans, so their ratio varies little. It is
    /// predicted by the ratio estimator for a finite population, with the jackknife's error, since
    /// a few hard windows weigh more than all others (W. G. Cochran, Sampling Techniques, 1977,
    /// sections 6.2 and 6.17), and Student's t. Stopping where success has become improbable is a
    /// futility stop (C. Jennison and B. W. Turnbull, Group Sequential Methods, 2000, chapter 10).
    /// Of a rival that loses nothing no ratio can be taken, and nothing is concluded.
    pub(crate) fn decided(&self, ours: &[f64]) -> Option<Expected> {
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
        let error = error? * (scored - 1.0);
        let left = error * (1.0 - scored / windows).sqrt();
        let of_all = error * (scored / windows).sqrt();
        let least = ratio - student(scored)? * left;
        let better = 1.0 - student(windows)? * of_all;
        let whole = self.theirs.iter().sum::<f64>() / windows;
        (least > better).then_some(Expected {
            kld: ratio * whole,
            standard_error: left * whole,
            stopped: Stopped {
                windows: self.theirs.len() as u64,
                behind: self.rival.candidate,
            },
        })
    }
}

/// One side of the 95 % interval by Student's t, in errors that were taken over `windows` windows.
fn student(windows: f64) -> Option<f64> {
    let student = StudentsT::new(0.0, 1.0, windows - 1.0).ok()?;
    Some(student.inverse_cdf(SIDE))
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
                && let Some(expected) = race.decided(&ours[..end])
            {
                return (end, Some(expected));
            }
        }
        (WINDOWS, None)
    }

    /// Whether a comparison over all windows finds that a plan loses less than its rival: Student's
    /// t for paired observations, as `bitfront compare` has it.
    fn is_better(ours: &[f64], theirs: &[f64]) -> bool {
        let differences = theirs.iter().zip(ours).map(|(theirs, ours)| theirs - ours);
        let (mean, error) = mean_and_standard_error(differences);
        mean > student(WINDOWS as f64).unwrap() * error.unwrap()
    }

    #[test]
    fn a_plan_that_comes_out_better_is_given_up_as_rarely_as_promised() {
        let mut random = Rng::with_seed(5);
        let races = 3000;
        for factor in [0.95, 0.9, 0.85, 0.8] {
            let (mut better, mut wronged) = (0, 0);
            for _ in 0..races {
                let hardness = hardness(&mut random);
                let theirs = plan(&mut random, &hardness, 1.0);
                let ours = plan(&mut random, &hardness, factor);
                if is_better(&ours, &theirs) {
                    better += 1;
                    wronged += i32::from(run(&ours, &theirs).1.is_some());
                }
            }
            assert!(better > 300, "{factor}: {better}");
            let share = f64::from(wronged) / f64::from(better);
            assert!(share < 0.05, "{factor}: {wronged} of {better}");
        }
    }

    #[test]
    fn a_plan_that_is_much_better_is_scored_whole() {
        let mut random = Rng::with_seed(7);
        for _ in 0..500 {
            let hardness = hardness(&mut random);
            let theirs = plan(&mut random, &hardness, 1.0);
            let ours = plan(&mut random, &hardness, 0.5);
            assert_eq!(run(&ours, &theirs), (WINDOWS, None));
        }
    }

    #[test]
    fn of_two_plans_that_lose_the_same_the_second_is_mostly_given_up() {
        let mut random = Rng::with_seed(8);
        let (mut scored, mut off) = (0, Vec::new());
        let races = 1000;
        for _ in 0..races {
            let hardness = hardness(&mut random);
            let theirs = plan(&mut random, &hardness, 1.0);
            let ours = plan(&mut random, &hardness, 1.0);
            let (end, expected) = run(&ours, &theirs);
            scored += end;
            if let Some(expected) = expected {
                let whole = ours.iter().sum::<f64>() / WINDOWS as f64;
                off.push((expected.kld - whole) / expected.standard_error);
            }
        }
        let share = scored as f64 / (races * WINDOWS) as f64;
        assert!(share < 0.65, "{share}");
        // Plans are given up when they look worse than they are: by less than an error.
        let bias = off.iter().sum::<f64>() / off.len() as f64;
        assert!(bias.abs() < 1.0, "{bias}");
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
