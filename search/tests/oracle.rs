//! The exhaustive oracle: a strategy that counts through the space, and what the others find
//! when they may look at all of it or at a part.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bitfront_search::strategy::NAMES;

use bitfront_search::{
    Evaluation, Event, EventError, Genome, Law, Problem, Space, Strategy, Table, build,
    hypervolume, non_dominated,
};

/// Asks every genome in counting order and learns nothing.
struct Oracle {
    space: Space,
}

impl Strategy for Oracle {
    fn tell(&mut self, _: &Event) -> Result<(), EventError> {
        Ok(())
    }

    fn ask(&mut self, ask_number: u64) -> Option<Genome> {
        let mut rest = ask_number;
        let alleles = self.space.alleles().iter().map(|&alleles| {
            let allele = rest % u64::from(alleles);
            rest /= u64::from(alleles);
            allele as u8
        });
        let genome = Genome(alleles.collect());
        (rest == 0).then_some(genome)
    }
}

/// Loss, latency and size in integers, with an interaction between neighbouring genes.
fn objectives(genome: &Genome) -> Vec<f64> {
    let mut sums = [0.0; 3];
    for (gene, &allele) in genome.0.iter().enumerate() {
        let (weight, sensitivity) = (
            [3.0, 1.0, 4.0, 2.0, 5.0][gene % 5],
            [7.0, 2.0, 1.0, 5.0, 3.0][gene % 5],
        );
        let bits = f64::from(8 - allele);
        sums[0] += sensitivity * 2.0_f64.powi(i32::from(allele) * 2);
        sums[1] += weight * bits + f64::from(u8::from(allele == 2)) * 6.0;
        sums[2] += weight * bits;
    }
    let changes = genome.0.windows(2).filter(|pair| pair[0] != pair[1]);
    sums[1] += changes.count() as f64;
    sums.to_vec()
}

/// The points that a strategy has evaluated, by genome.
fn evaluate(strategy: &mut dyn Strategy, evaluations: u64) -> BTreeMap<Genome, Vec<f64>> {
    let mut found = BTreeMap::new();
    for candidate in 0..evaluations {
        let Some(genome) = strategy.ask(candidate) else {
            break;
        };
        let objectives = objectives(&genome);
        found.insert(genome.clone(), objectives.clone());
        strategy.tell(&Event::Asked { candidate, genome }).unwrap();
        let evaluation = Evaluation::unlimited(objectives);
        let told = Event::Told {
            candidate,
            evaluation,
        };
        strategy.tell(&told).unwrap();
    }
    found
}

fn front(evaluated: &BTreeMap<Genome, Vec<f64>>) -> Vec<(&Genome, &Vec<f64>)> {
    let points: Vec<&Vec<f64>> = evaluated.values().collect();
    let entries: Vec<_> = evaluated.iter().collect();
    let members = non_dominated(&points);
    members.into_iter().map(|member| entries[member]).collect()
}

#[test]
fn the_front_of_an_exhausted_space_is_the_oracles() {
    let space = Space::new([4, 3, 5, 4, 2]).unwrap();
    let all = evaluate(
        &mut Oracle {
            space: space.clone(),
        },
        u64::MAX,
    );
    assert_eq!(all.len() as u128, space.size());
    assert!(front(&all).len() > 10, "a front worth comparing");
    let table = |space: &Space| {
        let guesses = |&alleles: &u8| (0..alleles).map(|allele| f64::from(9 - allele)).collect();
        Table::new(space.alleles().iter().map(guesses))
    };
    let problem = Problem::new(space.clone(), vec![Law::Time(table(&space)); 3]).unwrap();
    for name in NAMES {
        let mut strategy = build(name, problem.clone(), 1).unwrap();
        let found = evaluate(strategy.as_mut(), u64::MAX);
        assert_eq!(front(&found), front(&all), "{name}");
    }
}

#[test]
fn nsga2_finds_nearly_the_whole_front_in_a_tenth_of_the_space() {
    let space = Space::new([5; 5]).unwrap();
    let volume = |evaluated: &BTreeMap<Genome, Vec<f64>>| {
        let points: Vec<&Vec<f64>> = evaluated.values().collect();
        hypervolume(&points, &[5_000.0, 160.0, 125.0]).unwrap()
    };
    let best = volume(&evaluate(
        &mut Oracle {
            space: space.clone(),
        },
        u64::MAX,
    ));
    let shares: Vec<f64> = (0..6)
        .map(|seed| {
            let mut strategy = build("nsga2", space.clone(), seed).unwrap();
            volume(&evaluate(strategy.as_mut(), 312)) / best
        })
        .collect();
    assert!(shares.iter().all(|&share| share > 0.97), "{shares:?}");
}
