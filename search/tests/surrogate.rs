//! What the surrogate strategy does with limits, and with problems that leave it little to learn.

#![allow(clippy::unwrap_used)]

use bitfront_search::problem::Limited;
use bitfront_search::strategy::BuildError;
use bitfront_search::{
    Evaluation, Event, EventError, Genome, Law, Problem, ProblemError, Space, Strategy, Surrogate,
    Table, build,
};

/// What each allele of a gene adds: bits fall from 8 to 2, and the loss grows fourfold a bit.
fn tables(space: &Space) -> [Table; 2] {
    let bits =
        |allele: u8, alleles: u8| 8.0 - 6.0 * f64::from(allele) / f64::from(alleles.max(2) - 1);
    let table = |part: &dyn Fn(usize, f64) -> f64| {
        let genes = space.alleles().iter().enumerate();
        Table::new(genes.map(|(gene, &alleles)| {
            (0..alleles)
                .map(|allele| part(gene, bits(allele, alleles)))
                .collect()
        }))
    };
    let sensitivity = |gene: usize| 1.0 + (gene * 7 % 5) as f64;
    [
        table(&|gene, bits| sensitivity(gene) * 0.25_f64.powf(bits)),
        table(&|_, bits| bits),
    ]
}

/// Loss against size, with guesses that know nothing of the genes' sensitivities.
fn problem(space: &Space) -> Problem {
    let [_, size] = tables(space);
    let loss = Table::new(
        size.genes()
            .iter()
            .map(|bits| bits.iter().map(|bits| 0.25_f64.powf(*bits)).collect()),
    );
    let size = Law::Exact {
        constant: 1.0,
        table: size,
    };
    Problem::new(space.clone(), vec![Law::LogSum(loss), size]).unwrap()
}

fn evaluate(
    strategy: &mut dyn Strategy,
    evaluations: u64,
    evaluation: impl Fn(&Genome) -> Evaluation,
) -> Vec<Genome> {
    let mut genomes = Vec::new();
    for candidate in 0..evaluations {
        let Some(genome) = strategy.ask(candidate) else {
            break;
        };
        let told = Event::Told {
            candidate,
            evaluation: evaluation(&genome),
        };
        strategy
            .tell(&Event::Asked {
                candidate,
                genome: genome.clone(),
            })
            .unwrap();
        strategy.tell(&told).unwrap();
        genomes.push(genome);
    }
    genomes
}

#[test]
fn proposals_keep_the_limits() {
    let space = Space::new([5; 20]).unwrap();
    let [loss, size] = tables(&space);
    // Nine in ten of all random genomes are larger than this.
    let most = 85.0;
    let worst = problem(&space).with_worst(vec![None, Some(most)]).unwrap();
    let time = Law::Time(Table::new(size.genes().to_vec()));
    let limited = problem(&space)
        .with_limited(vec![Limited {
            law: time,
            limit: most,
        }])
        .unwrap();
    for (name, problem, is_limited) in [("objective", worst, false), ("figure", limited, true)] {
        let mut strategy = build("surrogate", problem, 1).unwrap();
        let evaluation = |genome: &Genome| Evaluation::Measured {
            objectives: vec![loss.sum(genome).ln(), 1.0 + size.sum(genome)],
            limited: if is_limited {
                vec![1.0 + size.sum(genome)]
            } else {
                Vec::new()
            },
            violation: (size.sum(genome) + 1.0 - most).max(0.0),
        };
        let genomes = evaluate(strategy.as_mut(), 80, evaluation);
        let kept = |genomes: &[Genome]| {
            genomes
                .iter()
                .filter(|genome| 1.0 + size.sum(genome) <= most)
                .count()
        };
        assert!(
            kept(&genomes[40..]) >= 36,
            "{name}: {} of 40",
            kept(&genomes[40..])
        );
    }
}

#[test]
fn where_no_genome_keeps_a_limit_the_nearest_are_asked() {
    let space = Space::new([5; 10]).unwrap();
    let [loss, size] = tables(&space);
    // The smallest genome has size 21.
    let problem = problem(&space).with_worst(vec![None, Some(10.0)]).unwrap();
    let mut strategy = build("surrogate", problem, 1).unwrap();
    let evaluation = |genome: &Genome| Evaluation::Measured {
        objectives: vec![loss.sum(genome).ln(), 1.0 + size.sum(genome)],
        limited: Vec::new(),
        violation: size.sum(genome) - 9.0,
    };
    let genomes = evaluate(strategy.as_mut(), 30, evaluation);
    let sizes: Vec<f64> = genomes
        .iter()
        .map(|genome| 1.0 + size.sum(genome))
        .collect();
    assert_eq!(sizes[0], 21.0, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size < 41.0), "{sizes:?}");
}

#[test]
fn objectives_that_teach_nothing_are_survived() {
    let space = Space::new([4; 12]).unwrap();
    let told: [(&str, [f64; 2]); 4] = [
        ("constant", [1.0, 1.0]),
        ("zero and negative", [0.0, -5.0]),
        ("infinite", [f64::INFINITY, 1.0]),
        ("not a number", [f64::NAN, f64::NAN]),
    ];
    let table = || tables(&space)[1].clone();
    for (name, objectives) in told {
        let problem = Problem::new(
            space.clone(),
            vec![Law::LogSum(table()), Law::Time(table())],
        );
        let mut strategy = build("surrogate", problem.unwrap(), 1).unwrap();
        let genomes = evaluate(strategy.as_mut(), 60, |_| {
            Evaluation::unlimited(objectives.to_vec())
        });
        assert_eq!(genomes.len(), 60, "{name}");
    }
}

#[test]
fn one_gene_one_allele_and_ten_thousand_genes_are_searched() {
    for (alleles, evaluations) in [
        (vec![1], 1),
        (vec![9], 9),
        (vec![1; 50], 1),
        (vec![5; 10_000], 10),
    ] {
        let space = Space::new(alleles).unwrap();
        let [loss, size] = tables(&space);
        let mut strategy = build("surrogate", problem(&space), 1).unwrap();
        let evaluation = |genome: &Genome| {
            Evaluation::unlimited(vec![loss.sum(genome).ln(), 1.0 + size.sum(genome)])
        };
        let genomes = evaluate(strategy.as_mut(), 10, evaluation);
        assert_eq!(genomes.len(), evaluations);
    }
}

#[test]
fn problems_that_do_not_fit_their_space_are_refused() {
    let space = Space::new([2, 3]).unwrap();
    let law = |numbers: &[&[f64]]| Law::Time(Table::new(numbers.iter().map(|row| row.to_vec())));
    let cases: [(Law, &str); 5] = [
        (
            law(&[&[1.0, 1.0]]),
            "gene 1 has 3 alleles and the table 0 numbers",
        ),
        (
            law(&[&[1.0, 1.0], &[1.0, 1.0]]),
            "gene 1 has 3 alleles and the table 2 numbers",
        ),
        (
            law(&[&[1.0, 1.0], &[1.0; 3], &[1.0]]),
            "gene 2 has 0 alleles and the table 1 numbers",
        ),
        (
            law(&[&[1.0, -2.0], &[1.0; 3]]),
            "says -2 for allele 1 of gene 0",
        ),
        (
            law(&[&[1.0, 1.0], &[1.0, 1.0, f64::NAN]]),
            "says NaN for allele 2 of gene 1",
        ),
    ];
    let failures: Vec<_> = cases
        .into_iter()
        .filter_map(|(law, said)| {
            let found = Problem::new(space.clone(), vec![law]).map_err(|error| error.to_string());
            (!found.as_ref().is_err_and(|error| error.contains(said))).then_some((said, found))
        })
        .collect();
    assert!(failures.is_empty(), "(said, found): {failures:#?}");
    let fitting = || Problem::new(space.clone(), vec![law(&[&[1.0; 2], &[1.0; 3]])]).unwrap();
    for worst in [vec![], vec![Some(f64::NAN)], vec![None, None]] {
        let found = fitting().with_worst(worst);
        assert!(
            matches!(found, Err(ProblemError::Worst { .. })),
            "{found:?}"
        );
    }
    let law = law(&[&[1.0; 2], &[1.0; 3]]);
    let found = fitting().with_limited(vec![Limited {
        law,
        limit: f64::INFINITY,
    }]);
    assert!(
        matches!(found, Err(ProblemError::Limit { figure: 0, .. })),
        "{found:?}"
    );
    let found = build("surrogate", fitting(), 0).err().unwrap();
    assert_eq!(
        found,
        BuildError::Objectives {
            name: "surrogate".to_owned(),
            found: 1
        }
    );
}

#[test]
fn other_objectives_than_the_problems_are_refused() {
    let space = Space::new([2, 3]).unwrap();
    let mut strategy = build("surrogate", problem(&space), 0).unwrap();
    let genome = Genome(vec![0, 0]);
    strategy
        .tell(&Event::Asked {
            candidate: 4,
            genome,
        })
        .unwrap();
    let evaluation = Evaluation::unlimited(vec![1.0; 3]);
    let found = strategy.tell(&Event::Told {
        candidate: 4,
        evaluation,
    });
    assert_eq!(
        found,
        Err(EventError::ObjectiveCount {
            candidate: 4,
            expected: 2,
            found: 3
        })
    );
}

/// Numbers that depend on every gene in a way that no sum expresses.
fn hash(genome: &Genome, salt: u64) -> f64 {
    let mut state = salt;
    for &allele in &genome.0 {
        state = (state ^ u64::from(allele)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state ^= state >> 29;
    }
    (state >> 11) as f64 / (1_u64 << 53) as f64
}

fn guessed(space: &Space) -> Problem {
    let [loss, time] = tables(space);
    Problem::new(space.clone(), vec![Law::LogSum(loss), Law::Time(time)]).unwrap()
}

fn asked_and_told(
    strategy: &mut Surrogate,
    evaluations: u64,
    evaluation: impl Fn(&Genome) -> Evaluation,
) -> Vec<Event> {
    let mut events = Vec::new();
    for candidate in 0..evaluations {
        let genome = strategy.ask(candidate).unwrap();
        let evaluation = evaluation(&genome);
        events.push(Event::Asked { candidate, genome });
        strategy.tell(&events[events.len() - 1]).unwrap();
        events.push(Event::Told {
            candidate,
            evaluation,
        });
        strategy.tell(&events[events.len() - 1]).unwrap();
    }
    events
}

/// Of the figures of a good model some hardly differ between proposals, and all have noise.
#[test]
fn a_model_that_is_right_is_trusted() {
    let space = Space::new([5; 20]).unwrap();
    let [loss, time] = tables(&space);
    for noise in [0.0, 0.02, 0.08] {
        for seed in 0..3 {
            let mut strategy = Surrogate::new(guessed(&space), seed);
            asked_and_told(&mut strategy, 160, |genome| {
                let noise = |salt| 1.0 + noise * (2.0 * hash(genome, salt) - 1.0);
                Evaluation::unlimited(vec![
                    (loss.sum(genome) * noise(1)).ln(),
                    time.sum(genome) * noise(2),
                ])
            });
            let checks = strategy.trust();
            assert_eq!(checks.len(), 9);
            assert_eq!(checks[0].candidates, 16);
            let distrusted = checks.iter().filter(|check| check.is_distrusted).count();
            assert_eq!(distrusted, 0, "noise {noise}, seed {seed}: {checks:#?}");
        }
    }
}

#[test]
fn a_problem_that_is_no_sum_is_left_to_plain_evolution_for_half_of_the_proposals() {
    let space = Space::new([5; 20]).unwrap();
    let evaluation =
        |genome: &Genome| Evaluation::unlimited(vec![hash(genome, 1).ln(), 1.0 + hash(genome, 2)]);
    let mut strategy = Surrogate::new(guessed(&space), 1);
    let mut events = asked_and_told(&mut strategy, 96, evaluation);
    let checks = strategy.trust();
    let distrusted = checks.iter().filter(|check| check.is_distrusted).count();
    assert!(distrusted >= 3, "{checks:#?}");
    // What was seen on the way does not matter: a replay has the same history and asks the same.
    let (asks, tells): (Vec<Event>, Vec<Event>) = events
        .drain(..)
        .partition(|event| matches!(event, Event::Asked { .. }));
    let mut replayed = Surrogate::new(guessed(&space), 1);
    for event in asks.iter().chain(tells.iter().rev()) {
        replayed.tell(event).unwrap();
    }
    assert_eq!(replayed.trust(), checks);
    assert_eq!(replayed.ask(96), strategy.ask(96));
    // Where the model is not followed, another ask draws another child.
    let is_of_evolution = |strategy: &mut Surrogate| strategy.ask(1_000) != strategy.ask(1_001);
    let mut kinds = Vec::new();
    for candidate in 96..100 {
        kinds.push(is_of_evolution(&mut strategy));
        let genome = strategy.ask(candidate).unwrap();
        strategy.tell(&Event::Asked { candidate, genome }).unwrap();
    }
    assert_eq!(kinds, [false, true, false, true]);
}

/// The history is there, and the strategy goes on by its model, once the problem is a sum again.
#[test]
fn a_model_that_recovers_is_followed_again() {
    let space = Space::new([5; 20]).unwrap();
    let [loss, time] = tables(&space);
    let mut strategy = Surrogate::new(guessed(&space), 1);
    let mut told = std::cell::Cell::new(0);
    asked_and_told(&mut strategy, 400, |genome| {
        let number = told.get();
        told.set(number + 1);
        Evaluation::unlimited(if number < 64 {
            vec![hash(genome, 1).ln(), 1.0 + hash(genome, 2)]
        } else {
            vec![loss.sum(genome).ln(), time.sum(genome)]
        })
    });
    assert_eq!(told.get_mut(), &400);
    let checks = strategy.trust();
    assert!(
        checks.iter().any(|check| check.is_distrusted),
        "{checks:#?}"
    );
    assert!(!checks[checks.len() - 1].is_distrusted, "{checks:#?}");
}
