//! Imatrix files.

use std::collections::BTreeMap;
use std::path::Path;

use bitfront_model::Precision;
use bitfront_runtime::gguf::{TensorEntry, Value, Writer};
use bitfront_runtime::imatrix_file::{self, Imatrix, ImatrixEntry};
use bitfront_runtime::source;

use super::support::{exported, golden};

fn imatrix() -> Imatrix {
    let entry = |columns: usize| ImatrixEntry {
        mean_squares: (0..columns).map(|column| column as f32 / 8.0).collect(),
        count: 512,
    };
    Imatrix {
        entries: BTreeMap::from([
            ("blk.0.attn_q.weight".to_owned(), entry(128)),
            ("blk.0.ffn_down.weight".to_owned(), entry(256)),
        ]),
        chunk_count: 4,
        chunk_size: 128,
        datasets: vec!["calibration.txt".to_owned()],
    }
}

#[test]
fn what_is_written_reads_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("imatrix.gguf");
    let imatrix = imatrix();
    imatrix_file::write(&imatrix, &path).unwrap();
    assert_eq!(imatrix_file::read(&path).unwrap(), imatrix);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn both_of_llama_cpps_formats_are_read() {
    let folder = golden("../imatrix");
    let current = imatrix_file::read(&folder.join("llama.imatrix.gguf")).unwrap();
    let older = imatrix_file::read(&folder.join("llama.imatrix.dat")).unwrap();
    assert_eq!((current.chunk_count, current.chunk_size), (4, 64));
    assert_eq!((older.chunk_count, older.chunk_size), (4, 0));
    let source = source::open(&golden("llama")).unwrap();
    for (imatrix, count) in [(&current, 4 * 64), (&older, 4)] {
        assert_eq!(imatrix.datasets, ["calibration.txt"]);
        // Seven layers in two blocks; embedding and head are not collected by default.
        assert_eq!(imatrix.entries.len(), 14);
        assert!(imatrix.entries.values().all(|entry| entry.count == count));
        imatrix.check(source.spec()).unwrap();
        let layers = source.spec().layers.iter();
        let found = layers.filter(|layer| imatrix.entries.contains_key(&layer.tensor_name()));
        assert_eq!(found.count(), 14);
    }
    for (name, entry) in &current.entries {
        let pairs = entry
            .mean_squares
            .iter()
            .zip(&older.entries[name].mean_squares);
        for (current, older) in pairs {
            assert!(
                (current - older).abs() <= 1e-6 * older,
                "{name}: {current} {older}"
            );
        }
    }
    // Read from the older file with a few lines of Python.
    let rows = [
        ("blk.1.attn_q.weight", 1.310_722, 132.3368),
        ("blk.1.attn_output.weight", 0.629_149, 50.3303),
        ("blk.1.ffn_down.weight", 1.525_539, 87.6461),
    ];
    for (name, first, sum) in rows {
        let values = &current.entries[name].mean_squares;
        assert!((values[0] - first).abs() < 1e-5, "{name}: {}", values[0]);
        let total = values.iter().sum::<f32>();
        assert!((total - sum).abs() < 1e-2, "{name}: {total}");
    }
}

#[test]
fn the_digest_is_of_the_numbers() {
    let mut other = imatrix();
    other.datasets.clear();
    assert_eq!(imatrix().digest(), other.digest());
    let entry = other.entries.get_mut("blk.0.attn_q.weight").unwrap();
    entry.mean_squares[3] += 1.0;
    assert_ne!(imatrix().digest(), other.digest());
}

#[test]
fn an_imatrix_of_another_model_is_refused() {
    let source = source::open(&golden("llama")).unwrap();
    let sound = imatrix();
    sound.check(source.spec()).unwrap();
    let refused = |change: &dyn Fn(&mut BTreeMap<String, ImatrixEntry>)| {
        let mut imatrix = sound.clone();
        change(&mut imatrix.entries);
        imatrix.check(source.spec()).unwrap_err().to_string()
    };
    let shorter = refused(&|entries| {
        let entry = entries.get_mut("blk.0.attn_q.weight").unwrap();
        entry.mean_squares.pop();
    });
    assert!(
        shorter.contains("127 columns") && shorter.contains("which has 128"),
        "{shorter}"
    );
    let deeper = refused(&|entries| {
        let entry = entries["blk.0.attn_q.weight"].clone();
        entries.insert("blk.2.attn_q.weight".to_owned(), entry);
    });
    assert!(
        deeper.contains("blk.2.attn_q.weight") && deeper.contains("2 blocks"),
        "{deeper}"
    );
    let strange = refused(&|entries| {
        let entry = entries["blk.0.attn_q.weight"].clone();
        *entries = BTreeMap::from([("encoder.weight".to_owned(), entry)]);
    });
    assert!(strange.contains("no entry for any"), "{strange}");
}

/// A GGUF file of `f32` tensors.
fn file(path: &Path, metadata: &[(&str, Value)], tensors: &[(&str, &[f32])]) {
    let metadata = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    let plans = tensors.iter().map(|(name, values)| TensorEntry {
        name: (*name).to_owned(),
        shape: vec![values.len() as u64],
        precision: Precision::F32,
        bytes: 4 * values.len() as u64,
    });
    let metadata = metadata.collect::<Vec<_>>();
    let mut writer = Writer::new(Vec::new(), &metadata, plans.collect()).unwrap();
    for (_, values) in tensors {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        writer.tensor(&bytes.collect::<Vec<_>>()).unwrap();
    }
    std::fs::write(path, writer.finish().unwrap()).unwrap();
}

#[test]
fn files_that_are_no_imatrix_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("imatrix.gguf");
    let message = |path: &Path| imatrix_file::read(path).unwrap_err().to_string();
    let kind = [("general.type", Value::String("imatrix".to_owned()))];
    let mut wrong = Vec::new();
    type Tensors = &'static [(&'static str, &'static [f32])];
    let rows: [(Tensors, &str); 7] = [
        (&[], "no entries"),
        (&[("a.in_sum2", &[1.0, 2.0])], "`a` has sums but no counts"),
        (
            &[("a.in_sum2", &[1.0]), ("a.counts", &[1.0, 2.0])],
            "2 counts",
        ),
        (
            &[("a.in_sum2", &[1.0]), ("a.counts", &[0.0])],
            "`a` has the count 0",
        ),
        (
            &[("a.in_sum2", &[f32::NAN]), ("a.counts", &[1.0])],
            "`a` holds NaN",
        ),
        (
            &[("a.in_sum2", &[-1.0]), ("a.counts", &[1.0])],
            "`a` holds -1",
        ),
        (&[("a.weight", &[1.0])], "unexpected tensor `a.weight`"),
    ];
    for (tensors, expected) in rows {
        file(&path, &kind, tensors);
        let found = message(&path);
        if !found.contains(expected) || !found.contains("imatrix.gguf") {
            wrong.push(format!("`{expected}` is not in: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let (_directory, model) = exported("llama", Precision::F16);
    assert!(
        message(&model).contains("general.type is model"),
        "{}",
        message(&model)
    );
    std::fs::write(&path, b"rubbish that is no file of any kind").unwrap();
    assert!(
        message(&path).contains("is not an imatrix"),
        "{}",
        message(&path)
    );
    std::fs::write(&path, b"").unwrap();
    assert!(
        message(&path).contains("is not an imatrix"),
        "{}",
        message(&path)
    );
    assert!(message(&directory.path().join("none")).contains("cannot read"));
}
