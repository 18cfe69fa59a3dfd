//! Windows of text.

use std::path::{Path, PathBuf};

use bitfront_runtime::text::{self, Windows};
use bitfront_runtime::tokenizer::{self, Tokenizer};
use tempfile::TempDir;

use super::support::golden;

fn byte_level() -> Tokenizer {
    tokenizer::load(&golden("llama-linear"), None, 320).unwrap()
}

fn file(directory: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn prose(sentences: usize) -> String {
    let sentence = |index| format!("The layer {index} of a model holds its weights.\n");
    (0..sentences).map(sentence).collect()
}

#[test]
fn windows_are_the_text_in_order_the_first_quarter_for_calibration() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "text.txt", prose(100));
    let tokenizer = byte_level();
    let tokens = tokenizer.encode(&prose(100)).unwrap();
    let windows = text::read(&tokenizer, &path, None, 32, None, None).unwrap();
    let total = tokens.len() / 32;
    assert_eq!(windows.calibration.len(), total / 4);
    assert_eq!(windows.evaluation.len(), total - total / 4);
    let joined = windows
        .calibration
        .iter()
        .chain(&windows.evaluation)
        .flatten();
    assert!(joined.eq(&tokens[..total * 32]));
    // The counts that came out give the same windows again.
    let counts = |windows: &Windows| {
        let count = |part: &Vec<Vec<u32>>| Some(part.len() as u32);
        (count(&windows.evaluation), count(&windows.calibration))
    };
    for (evaluation, calibration) in [(None, None), (Some(3), None), (None, Some(2))] {
        let first = text::read(&tokenizer, &path, None, 32, evaluation, calibration).unwrap();
        let (evaluation, calibration) = counts(&first);
        let again = text::read(&tokenizer, &path, None, 32, evaluation, calibration).unwrap();
        assert_eq!(first, again);
    }
}

#[test]
fn asking_for_few_calibration_windows_leaves_more_to_score() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "text.txt", prose(100));
    let read = |evaluation, calibration| {
        text::read(&byte_level(), &path, None, 32, evaluation, calibration).unwrap()
    };
    let all = read(None, None);
    let total = all.calibration.len() + all.evaluation.len();
    let none = read(None, Some(0));
    assert_eq!((none.calibration.len(), none.evaluation.len()), (0, total));
    let most = read(Some(total as u32 - 1), None);
    assert_eq!(
        (most.calibration.len(), most.evaluation.len()),
        (1, total - 1)
    );
}

#[test]
fn windows_after_the_scored_ones_are_held_back_unless_they_are_known() {
    let directory = tempfile::tempdir().unwrap();
    let text = prose(100);
    let path = file(&directory, "text.txt", &text);
    let tokenizer = byte_level();
    let read = |path: &Path, scored| {
        text::read(&tokenizer, path, None, 32, Some(scored), Some(5)).unwrap()
    };
    let tokens = tokenizer.encode(&text).unwrap();
    let window = |index: usize| tokens[index * 32..][..32].to_vec();
    let windows = read(&path, 7);
    let expected: Vec<_> = (12..19).map(window).collect();
    assert_eq!(windows.held_back, expected);
    assert_eq!(windows.held_back_spec().unwrap().windows, 7);
    // What is left where the text has fewer, and nothing where it has none.
    let total = (tokens.len() / 32) as u32;
    let few = read(&path, total - 5 - 2);
    assert_eq!(few.held_back.len(), 2);
    assert_ne!(few.held_back_digest, windows.held_back_digest);
    let none = read(&path, total - 5);
    assert_eq!((none.held_back.len(), none.held_back_spec()), (0, None));
    // A text that repeats itself tells nothing new by what it repeats.
    let repeated = file(&directory, "repeated.txt", "a ".repeat(2000));
    let windows = text::read(&tokenizer, &repeated, None, 32, Some(3), Some(0)).unwrap();
    assert_eq!(windows.evaluation[1], windows.evaluation[2]);
    assert_eq!(windows.held_back_spec(), None);
}

#[test]
fn every_window_begins_with_the_beginning_token_where_the_model_has_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(&directory, "text.txt", prose(60));
    let tokenizer = tokenizer::load(&golden("mistral"), None, 384).unwrap();
    assert_eq!(tokenizer.bos(), Some(1));
    let tokens = tokenizer.encode(&prose(60)).unwrap();
    let windows = text::read(&tokenizer, &path, None, 32, None, None).unwrap();
    let all = windows.calibration.iter().chain(&windows.evaluation);
    for (index, window) in all.enumerate() {
        assert_eq!(window[0], 1);
        // The text has a beginning token of its own, so its tokens stand one place further on,
        // and the one that a window's beginning token replaces is lost.
        assert_eq!(window[1..], tokens[index * 32..index * 32 + 31]);
    }
}

#[test]
fn a_calibration_text_is_used_apart_and_both_digests_are_of_the_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let evaluation = file(&directory, "evaluation.txt", prose(40));
    let calibration = file(&directory, "calibration.txt", prose(90).to_uppercase());
    let moved = file(&directory, "moved.txt", prose(40));
    let tokenizer = byte_level();
    let read = |evaluation: &Path, context, count| {
        text::read(
            &tokenizer,
            evaluation,
            Some(&calibration),
            context,
            count,
            Some(4),
        )
        .unwrap()
    };
    let windows = read(&evaluation, 32, None);
    let tokens = tokenizer.encode(&prose(40)).unwrap();
    assert_eq!(windows.evaluation.len(), tokens.len() / 32);
    assert_eq!(windows.calibration.len(), 4);
    assert_eq!(windows, read(&moved, 32, None));
    let fewer = read(&evaluation, 32, Some(3));
    assert_ne!(windows.evaluation_digest, fewer.evaluation_digest);
    assert_eq!(windows.calibration_digest, fewer.calibration_digest);
    let shorter = read(&evaluation, 16, None);
    assert_ne!(windows.evaluation_digest, shorter.evaluation_digest);
}

#[test]
fn json_lines_are_joined_and_a_wrong_line_is_named_by_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let lines = |lines: &[&str]| file(&directory, "text.jsonl", lines.join("\n"));
    let tokenizer = byte_level();
    let texts = [prose(10), prose(20).to_uppercase()];
    let objects = texts
        .each_ref()
        .map(|text| serde_json::json!({"text": text, "id": 1}).to_string());
    let path = lines(&[&objects[0], "", &objects[1]]);
    let plain = file(&directory, "text.txt", texts.join("\n"));
    let read = |path: &Path| text::read(&tokenizer, path, None, 32, None, None);
    assert_eq!(read(&path).unwrap(), read(&plain).unwrap());
    for wrong in ["{\"body\": \"no text\"}", "{\"text\": 5}", "not JSON"] {
        let path = lines(&[&objects[0], "", wrong]);
        let message = read(&path).err().unwrap().to_string();
        assert!(
            message.contains("text.jsonl`, line 3") && message.contains("`text`"),
            "{message}"
        );
    }
}

#[test]
fn too_short_empty_and_unreadable_texts_say_what_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let tokenizer = byte_level();
    let long = file(&directory, "long.txt", prose(50));
    let read = |path: &Path, calibration: Option<&Path>, context, evaluation, calibrations| {
        text::read(
            &tokenizer,
            path,
            calibration,
            context,
            evaluation,
            calibrations,
        )
        .err()
        .map_or("it was read".to_owned(), |error| error.to_string())
    };
    let longer = file(&directory, "longer.txt", prose(60));
    // As many tokens as fill whole windows, so that the repetition begins with one.
    let mut whole = prose(50);
    while !tokenizer.encode(&whole).unwrap().len().is_multiple_of(32) {
        whole.push('\n');
    }
    let twice = file(&directory, "twice.txt", whole.repeat(2));
    let empty = file(&directory, "empty.txt", "");
    let short = file(&directory, "short.txt", "The layers of a model.");
    let tokens = tokenizer.encode("The layers of a model.").unwrap().len();
    let short_tokens = format!("{tokens} tokens");
    let latin = file(&directory, "latin.txt", b"Gr\xfc\xdfe");
    let marked = file(&directory, "marked.txt", format!("\u{feff}{}", prose(50)));
    let rows = [
        (
            read(&empty, None, 32, None, None),
            vec!["empty.txt", "0 tokens", "96 are needed"],
        ),
        (
            read(&short, None, 32, None, None),
            vec![
                "short.txt",
                &short_tokens,
                "96 are needed (3 windows of 32)",
            ],
        ),
        (
            read(&short, Some(&long), 32, None, None),
            vec!["short.txt", "64 are needed"],
        ),
        (
            read(&long, Some(&short), 32, None, None),
            vec!["short.txt", "32 are needed"],
        ),
        (
            read(&long, None, 32, Some(1000), Some(10)),
            vec!["1010 windows", "32320 are needed"],
        ),
        (
            read(&long, None, 3, None, None),
            vec!["context of 3 tokens is too short"],
        ),
        (
            read(&long, None, 15, None, None),
            vec!["context of 15 tokens is too short", "at least 16"],
        ),
        (
            read(&long, None, 32, Some(0), None),
            vec!["0 evaluation windows", "at least 2"],
        ),
        (
            read(&long, None, 32, Some(1), None),
            vec!["1 evaluation windows", "at least 2"],
        ),
        (
            read(&long, Some(&long), 32, None, None),
            vec!["long.txt", "same content"],
        ),
        (
            read(&longer, Some(&long), 32, None, None),
            vec!["window 0 of", "longer.txt", "calibration windows"],
        ),
        (
            read(&twice, None, 32, None, None),
            vec!["twice.txt", "calibration windows"],
        ),
        (
            read(&latin, None, 32, None, None),
            vec!["latin.txt", "not UTF-8: byte 2"],
        ),
        (
            read(&directory.path().join("none"), None, 32, None, None),
            vec!["none", "cannot read"],
        ),
        (read(&marked, None, 32, None, None), vec!["it was read"]),
    ];
    let wrong = rows
        .iter()
        .filter(|(message, parts)| !parts.iter().all(|part| message.contains(part)))
        .collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
