use bitfront_model::*;
use bitfront_search::archive::Archive;

use super::*;
use crate::fixtures;
use crate::store::Score;
use crate::testing::{Bench, folder, until};

/// Three devices: two of one numerics class, and the last of another.
async fn devices(bench: &Bench) -> [i64; 3] {
    let mut ids = Vec::new();
    for (name, class) in [("one", "first"), ("two", "first"), ("three", "second")] {
        let mut device = fixtures::registration(name);
        device.hardware_profile.cpu_model = format!("Scripted {name}");
        device.numerics_class = NumericsClass(class.to_owned());
        ids.push(bench.register_as(device).await.unwrap());
    }
    ids.try_into().unwrap()
}

fn request(device: &str) -> SearchRequest {
    SearchRequest {
        device: Some(device.to_owned()),
        shares: true,
        budget: fixtures::evaluations(30),
        ..fixtures::request()
    }
}

/// A search that is bound, and whose siblings were not listened to.
async fn listener(bench: &Bench, request: SearchRequest) -> Siblings {
    let search = bench.submit(request).await;
    until(bench, search, |stored| stored.binding.is_some()).await;
    of(bench, search).await
}

async fn of(bench: &Bench, search: i64) -> Siblings {
    let stored = bench.world.store.search(search).await.unwrap().unwrap();
    let binding = stored.binding.clone().unwrap();
    let bound = SearchSpace::bound(&stored.request, &binding.precisions, &binding.exclusions);
    Siblings::new(&stored, &binding, &bound.unwrap())
}

/// What a strategy over divergence, decode and size knows after it, in the order in which each
/// genome was last told.
fn known(siblings: &Siblings, heard: &[Heard]) -> Vec<Shared> {
    let mut archive = Archive::new(siblings.space.as_numbers().clone());
    for one in heard {
        let event = one.event(fixtures::request().objectives.into_iter());
        archive.record(&event).unwrap();
    }
    archive.shared_after(heard.len()).cloned().collect()
}

#[tokio::test]
async fn a_sibling_is_heard_as_far_as_its_figures_hold() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let [one, ..] = devices(&bench).await;
    let teacher = bench.submit(request("one")).await;
    bench.serve(one, teacher, usize::MAX).await;
    let store = bench.world.store.clone();
    let taught = store.candidates(teacher, 0).await.unwrap();
    let scores = store.scores(teacher, 0).await.unwrap();
    let whole = scores.iter().filter_map(|score| match score.outcome {
        ScoreOutcome::Quality {
            kld,
            stopped: false,
            ..
        } => Some((score.candidate, kld)),
        _ => None,
    });
    // The timing of a candidate comes first, so what is known of it is complete with its quality.
    let expected: Vec<(Genome, f64)> = whole
        .filter_map(|(id, kld)| {
            let mut candidates = taught.iter();
            let candidate = candidates.find(|candidate| candidate.id == id)?;
            Some((candidate.genome.clone()?, kld.ln()))
        })
        .collect();
    assert!((15..30).contains(&expected.len()), "{}", expected.len());

    type Change = fn(&mut SearchRequest);
    // Device, what is changed, whether times hold, whether qualities are reused.
    let rows: [(&str, Change, bool, bool); 4] = [
        ("two", |_| (), false, true),
        ("three", |_| (), false, false),
        ("one", |_| (), true, true),
        (
            "one",
            |request| {
                request.workloads = vec![
                    Workload::Prefill {
                        tokens: 32,
                        batch: 1,
                    },
                    Workload::Decode {
                        context: 64,
                        tokens: 16,
                        batch: 1,
                    },
                ];
            },
            false,
            true,
        ),
    ];
    for (device, change, times_hold, is_reused) in rows {
        let mut asked = request(device);
        change(&mut asked);
        let mut siblings = listener(&bench, asked).await;
        let heard = siblings.listen(&*store).await.unwrap();
        // Of what was not scored whole there is a time alone.
        let mut told = known(&siblings, &heard);
        let all = told.len();
        told.retain(|shared| shared.figures[0].is_some());
        assert!(all == told.len() || times_hold, "{device}");
        let heard: Vec<_> = told
            .iter()
            .map(|shared| (shared.genome.clone(), shared.figures[0].unwrap()))
            .collect();
        assert_eq!(heard, expected, "{device}");
        for shared in &told {
            assert_eq!(shared.figures[1].is_some(), times_hold, "{device}");
            let mut candidates = taught.iter();
            let same = candidates.find(|it| it.genome.as_ref() == Some(&shared.genome));
            let size = same.unwrap().size_bytes as f64;
            assert_eq!(shared.figures[2], Some(size), "{device}");
            assert_eq!(shared.is_reused, is_reused, "{device}");
        }
        assert!(siblings.listen(&*store).await.unwrap().is_empty());
    }

    let nothing: [Change; 3] = [
        |request| request.shares = false,
        |request| request.grouping = Grouping::Kind,
        |request| request.subject.data.evaluation_digest = Digest::of("other text"),
    ];
    for change in nothing {
        let mut asked = request("two");
        change(&mut asked);
        let mut siblings = listener(&bench, asked).await;
        assert_eq!(siblings.listen(&*store).await.unwrap(), []);
    }
    // Of a smaller space what lies in it, by its own numbers.
    let mut smaller = request("two");
    smaller.precisions.remove(0);
    let spec = smaller.spec.clone();
    let mut siblings = listener(&bench, smaller).await;
    let heard = siblings.listen(&*store).await.unwrap();
    assert!(!heard.is_empty() && heard.len() < expected.len());
    for one in &heard {
        let plan = siblings.space.plan(&spec, &one.genome).unwrap();
        assert!(!plan.precisions().contains(&Precision::Q8_0));
        let mut candidates = taught.iter();
        assert!(candidates.any(|it| it.plan_digest == plan.digest()));
    }
    bench.stop().await;
}

/// Three searches at once, and a fourth that takes no part.
#[tokio::test]
async fn what_is_heard_piece_by_piece_is_what_a_restart_hears_at_once() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let devices = devices(&bench).await;
    let names = ["one", "two", "three"];
    let mut searches = Vec::new();
    for (seed, name) in names.into_iter().enumerate() {
        let request = SearchRequest {
            seed: seed as u64,
            ..request(name)
        };
        searches.push(bench.submit(request).await);
    }
    for &search in &searches {
        until(&bench, search, |stored| stored.binding.is_some()).await;
    }
    let store = bench.world.store.clone();
    let mut listening = Vec::new();
    for &search in &searches {
        listening.push((of(&bench, search).await, Vec::new()));
    }
    let mut most = 0;
    for round in 0.. {
        for (device, &search) in devices.iter().zip(&searches) {
            bench.serve(*device, search, 1 + (round * 5) % 7).await;
        }
        for (siblings, heard) in &mut listening {
            let new = siblings.listen(&*store).await.unwrap();
            most = most.max(new.len());
            heard.extend(new);
        }
        let mut ended = true;
        for &search in &searches {
            ended &= bench.status(search).await.state.has_ended();
        }
        if ended {
            break;
        }
    }
    // After the others, since a device that serves two searches may hold a task of either when its
    // turn ends.
    let alone = bench
        .submit(SearchRequest {
            shares: false,
            seed: 3,
            ..request("one")
        })
        .await;
    bench.serve(devices[0], alone, usize::MAX).await;
    for ((_, heard), &search) in listening.iter().zip(&searches) {
        let at_once = of(&bench, search).await.listen(&*store).await.unwrap();
        assert_eq!(*heard, at_once);
        assert!(most < heard.len(), "it came in pieces");
        let by: BTreeSet<i64> = heard.iter().map(|it| it.search).collect();
        assert!(!by.contains(&search) && !by.contains(&alone), "{by:?}");
        assert_eq!(by.len(), 2);
        let genomes: BTreeSet<_> = heard.iter().map(|it| &it.genome).collect();
        let once: BTreeSet<_> = heard.iter().map(|it| (&it.genome, it.is_reused)).collect();
        assert_eq!(
            once.len(),
            heard.len(),
            "qualities of other classes and of this one"
        );
        // What it measured itself is not counted as learned.
        let own = store.candidates(search, 0).await.unwrap();
        let own: BTreeSet<Genome> = own.into_iter().filter_map(|it| it.genome).collect();
        let learned = summary(heard, &own);
        let of_others = genomes.iter().filter(|genome| !own.contains(**genome));
        assert_eq!(learned.plans as usize, of_others.count());
        assert!(learned.plans > 0 && (learned.plans as usize) < genomes.len());
    }
    bench.stop().await;
}

/// Its baselines were measured in another class first, then by one that takes no part, and are
/// timed on the listener's own hardware last.
#[tokio::test]
async fn a_genome_is_told_again_when_more_comes_to_be_known_of_it() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let [one, two, three] = devices(&bench).await;
    let other_class = bench.submit(request("three")).await;
    bench.serve(three, other_class, usize::MAX).await;
    let alone = SearchRequest {
        shares: false,
        seed: 1,
        ..request("two")
    };
    let alone = bench.submit(alone).await;
    bench.serve(two, alone, usize::MAX).await;
    let same_profile = SearchRequest {
        seed: 2,
        ..request("one")
    };
    let same_profile = bench.submit(same_profile).await;
    let store = bench.world.store.clone();
    until(&bench, same_profile, |stored| stored.binding.is_some()).await;
    let mut siblings = listener(&bench, request("one")).await;
    let mut heard = siblings.listen(&*store).await.unwrap();
    let before = known(&siblings, &heard);
    assert!(before.iter().all(|shared| shared.figures[1].is_none()));
    bench.serve(one, same_profile, usize::MAX).await;
    heard.extend(siblings.listen(&*store).await.unwrap());
    let after = known(&siblings, &heard);

    let candidates = store.candidates(same_profile, 0).await.unwrap();
    let baselines = candidates.iter().filter(|it| it.baseline.is_some());
    let baselines: Vec<&Genome> = baselines.filter_map(|it| it.genome.as_ref()).collect();
    assert!(baselines.len() > 2, "{baselines:?}");
    for genome in baselines {
        let of = |known: &[Shared]| known.iter().find(|it| it.genome == *genome).cloned();
        assert!(of(&before).unwrap().figures[0].is_some());
        let told = of(&after).unwrap();
        assert!(
            told.is_reused && told.figures.iter().all(Option::is_some),
            "{told:?}"
        );
        let of_genome = heard.iter().filter(|it| it.genome == *genome);
        let by: Vec<i64> = of_genome.map(|it| it.search).collect();
        assert_eq!(by, [other_class, same_profile, same_profile]);
    }
    bench.stop().await;
}

#[tokio::test]
async fn what_counts_of_several_figures_is_the_second_time_and_the_quality_of_ones_own_class() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    devices(&bench).await;
    let mut siblings = listener(&bench, request("one")).await;
    let sibling = |times_hold, is_reused| {
        Some(Sibling {
            times_hold,
            is_reused,
        })
    };
    siblings.known = BTreeMap::from([
        (91, sibling(false, false)),
        (92, sibling(true, true)),
        (93, sibling(true, true)),
        (94, None),
    ]);
    let precisions = vec![Precision::Q4K; request("one").spec.layers.len()];
    let mut hear = |search: i64, purpose, outcome| {
        let score = Score {
            measurement: 1,
            candidate: 10 * search,
            purpose,
            executed_as_planned: true,
            outcome,
        };
        let shared = SharedScore {
            search,
            precisions: precisions.clone(),
            score,
            since_ms: 0,
        };
        let heard = siblings.hear(&shared)?;
        let figures = &heard.figures;
        Some((figures.kld, figures.decode_ns, heard.is_reused))
    };
    let quality = |kld| ScoreOutcome::Quality {
        kld,
        mismatch: 0.1,
        stopped: false,
    };
    let time = |decode_ns| ScoreOutcome::Latency {
        decode_ns,
        prefill_ns: 1.0,
    };
    use TaskPurpose::{Retime, Search};
    let rows = [
        // Times that do not hold, and what is no sibling.
        (91, Search, time(1.0), None),
        (94, Search, quality(0.9), None),
        (91, Search, quality(0.5), Some((Some(0.5), None, false))),
        // Whose quality the store takes over.
        (92, Search, quality(0.4), Some((Some(0.4), None, true))),
        (93, Search, quality(0.3), None),
        (91, Search, quality(0.2), None),
        (92, Search, time(2.0), Some((None, Some(2.0), false))),
        (93, Search, time(3.0), None),
        (93, Retime, time(4.0), None),
        (92, Retime, time(5.0), Some((None, Some(5.0), false))),
    ];
    for (search, purpose, outcome, expected) in rows {
        let context = format!("{search}, {purpose:?}, {outcome:?}");
        assert_eq!(hear(search, purpose, outcome), expected, "{context}");
    }
    bench.stop().await;
}
