//! GGUF headers made to harm a reader, one test row for each attack.

use bitfront_model::Precision;
use bitfront_runtime::gguf::{Value, parse};
use bitfront_runtime::{source, tokenizer};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::support::exported;

/// A header that is built field by field, so that any field can lie.
struct Header(Vec<u8>);

const U32: u32 = 4;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const F32: u32 = 0;

impl Header {
    fn new(version: u32, tensors: u64, keys: u64) -> Self {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(keys.to_le_bytes());
        Self(bytes)
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn text(mut self, text: &[u8]) -> Self {
        self = self.u64(text.len() as u64);
        self.0.extend(text);
        self
    }

    fn key(self, key: &str, value_type: u32) -> Self {
        self.text(key.as_bytes()).u32(value_type)
    }

    fn tensor(mut self, name: &str, shape: &[u64], kind: u32, offset: u64) -> Self {
        self = self.text(name.as_bytes()).u32(shape.len() as u32);
        for &size in shape {
            self = self.u64(size);
        }
        self.u32(kind).u64(offset)
    }

    /// Pads the header and adds the data part.
    fn data(mut self, bytes: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32) + bytes, 0);
        self
    }
}

#[test]
fn the_header_that_the_attacks_change_is_sound() {
    for version in [2, 3] {
        let header = Header::new(version, 2, 2)
            .key("a", U32)
            .u32(7)
            .key("b", ARRAY)
            .u32(STRING)
            .u64(2)
            .text(b"x")
            .text("é".as_bytes())
            .tensor("one", &[8], F32, 0)
            .tensor("two", &[32, 2], 8, 32)
            .data(32 + 68);
        let parsed = parse(&header.0).unwrap();
        assert_eq!(parsed.value("a"), Some(&Value::U32(7)));
        assert_eq!(parsed.value("b"), Some(&Value::strings(["x", "é"])));
        let two = parsed.tensor("two").unwrap();
        assert_eq!(
            (two.precision, two.rows(), two.columns()),
            (Precision::Q8_0, 2, 32)
        );
        assert_eq!(two.bytes.end, header.0.len());
    }
}

#[test]
fn every_attack_gets_its_own_error() {
    let one = |shape: &[u64], kind, offset| {
        Header::new(3, 1, 0)
            .tensor("t", shape, kind, offset)
            .data(4096)
    };
    let huge = u64::MAX;
    let rows: Vec<(&str, Header, &[&str])> = vec![
        (
            "an empty file",
            Header(Vec::new()),
            &["ends at byte 0", "the magic"],
        ),
        (
            "another format",
            Header(b"PK\x03\x04 and more".to_vec()),
            &["letters GGUF"],
        ),
        (
            "a version that is too new",
            Header::new(4, 0, 0),
            &["version 4 is not supported"],
        ),
        (
            "a version that is too old",
            Header::new(1, 0, 0),
            &["version 1 is not supported"],
        ),
        (
            "big-endian",
            Header::new(3u32.swap_bytes(), 0, 0),
            &["big-endian"],
        ),
        (
            "a huge tensor count",
            Header::new(3, huge, 0),
            &["the tensor list claims", "elements"],
        ),
        (
            "a huge metadata count",
            Header::new(3, 0, huge),
            &["the metadata claims"],
        ),
        (
            "a count just beyond the file",
            Header::new(3, 0, 2).key("a", 0).u32(0),
            &["the metadata claims 2 elements"],
        ),
        (
            "a huge key length",
            Header::new(3, 0, 1).u64(huge).data(64),
            &["metadata key 0 claims", "18446744073709551615"],
        ),
        (
            "an array that the file holds and the memory does not",
            Header::new(3, 0, 1)
                .key("flags", ARRAY)
                .u32(BOOL)
                .u64((1 << 24) + 1)
                .data(1 << 25),
            &[
                "metadata key `flags` is an array of 16777217 elements",
                "at most 16777216",
            ],
        ),
        (
            "a huge string length",
            Header::new(3, 0, 1)
                .key("name", STRING)
                .u64(1 << 40)
                .data(64),
            &["metadata key `name` claims 1099511627776 elements"],
        ),
        (
            "a huge array count",
            Header::new(3, 0, 1)
                .key("list", ARRAY)
                .u32(U32)
                .u64(huge / 4 + 2)
                .data(64),
            &["metadata key `list` claims"],
        ),
        (
            "a huge array of strings",
            Header::new(3, 0, 1)
                .key("list", ARRAY)
                .u32(STRING)
                .u64(1 << 32)
                .data(64),
            &["metadata key `list` claims 4294967296 elements"],
        ),
        (
            "arrays in arrays",
            Header::new(3, 0, 1)
                .key("deep", ARRAY)
                .u32(ARRAY)
                .u64(1)
                .data(64),
            &["`deep` is an array of arrays"],
        ),
        (
            "an unknown value type",
            Header::new(3, 0, 1).key("odd", 13).data(64),
            &["`odd` has the unknown value type 13"],
        ),
        (
            "an unknown element type",
            Header::new(3, 0, 1)
                .key("odd", ARRAY)
                .u32(99)
                .u64(1)
                .data(64),
            &["`odd` has the unknown value type 99"],
        ),
        (
            "a truth value of two",
            Header::new(3, 0, 1).key("flag", 7).u32(2),
            &["`flag` holds the truth value 2"],
        ),
        (
            "a key that is not UTF-8",
            Header::new(3, 0, 1).text(&[0xff, 0xfe]).u32(0).u32(0),
            &["metadata key 0 is not UTF-8"],
        ),
        (
            "a key twice",
            Header::new(3, 0, 2)
                .key("a", U32)
                .u32(1)
                .key("a", U32)
                .u32(2),
            &["key `a` stands twice"],
        ),
        (
            "an alignment of zero",
            Header::new(3, 0, 1).key("general.alignment", U32).u32(0),
            &["general.alignment"],
        ),
        (
            "an alignment that is no power of two",
            Header::new(3, 0, 1).key("general.alignment", U32).u32(48),
            &["general.alignment is U32(48)"],
        ),
        (
            "an alignment beyond memory",
            Header::new(3, 0, 1)
                .key("general.alignment", U32)
                .u32(1 << 31),
            &["general.alignment"],
        ),
        ("no dimensions", one(&[], F32, 0), &["`t` has 0 dimensions"]),
        (
            "five dimensions",
            one(&[1, 1, 1, 1, 1], F32, 0),
            &["`t` has 5 dimensions"],
        ),
        (
            "a huge number of dimensions",
            Header::new(3, 1, 0).text(b"t").u32(u32::MAX).data(64),
            &["`t` has 4294967295 dimensions"],
        ),
        (
            "a dimension of zero",
            one(&[8, 0], F32, 0),
            &["impossible shape [8, 0]"],
        ),
        (
            "a product that overflows",
            one(&[1 << 32, 1 << 32], F32, 0),
            &["impossible shape"],
        ),
        (
            "a size in bytes that overflows",
            one(&[1 << 31, 1 << 31], F32, 0),
            &["impossible shape"],
        ),
        (
            "elements that cannot be counted",
            one(&[1 << 62, 3], 10, 0),
            &["impossible shape"],
        ),
        (
            "an unknown tensor type",
            one(&[8], 77, 0),
            &["`t` is of type number 77"],
        ),
        (
            "a type that is not supported",
            one(&[256], 23, 0),
            &["`t` is of type iq4_xs", "q4_k"],
        ),
        (
            "half a block",
            one(&[48], 8, 0),
            &["`t` has rows of 48", "q8_0"],
        ),
        (
            "an offset beyond the file",
            one(&[8], F32, 1 << 20),
            &["`t` takes 32 bytes", "4096"],
        ),
        (
            "an offset that overflows",
            one(&[8], F32, huge - 31),
            &["`t` takes 32 bytes"],
        ),
        (
            "an offset that is not aligned",
            one(&[8], F32, 4),
            &["not a multiple of 32"],
        ),
        (
            "a tensor beyond the file",
            one(&[2048], F32, 0),
            &["`t` takes 8192 bytes"],
        ),
        (
            "a data part that is missing",
            Header::new(3, 1, 0).tensor("t", &[1], F32, 0),
            &["`t` takes 4 bytes", "data part has 0"],
        ),
        (
            "tensors that overlap",
            Header::new(3, 2, 0)
                .tensor("a", &[16], F32, 0)
                .tensor("b", &[8], F32, 32)
                .data(96),
            &["`a` and `b` overlap"],
        ),
        (
            "the same bytes twice",
            Header::new(3, 2, 0)
                .tensor("a", &[8], F32, 32)
                .tensor("b", &[8], F32, 32)
                .data(96),
            &["overlap"],
        ),
        (
            "a name twice",
            Header::new(3, 2, 0)
                .tensor("a", &[8], F32, 0)
                .tensor("a", &[8], F32, 32)
                .data(96),
            &["tensor `a` stands twice"],
        ),
    ];
    let mut wrong = Vec::new();
    for (attack, header, expected) in rows {
        let message = match parse(&header.0) {
            Ok(_) => "it was read".to_owned(),
            Err(error) => error.to_string(),
        };
        for part in expected {
            if !message.contains(part) {
                wrong.push(format!("{attack}: `{part}` is not in: {message}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_truncation_of_a_header_is_an_error() {
    let header = Header::new(3, 1, 1)
        .key("b", ARRAY)
        .u32(STRING)
        .u64(1)
        .text(b"x")
        .tensor("one", &[8], F32, 0)
        .data(32);
    for length in 0..header.0.len() {
        assert!(parse(&header.0[..length]).is_err(), "{length}");
    }
    assert!(parse(&header.0).is_ok());
}

#[test]
fn damaged_model_files_never_panic() {
    let (directory, path) = exported("llama", Precision::Q4_0);
    let sound = std::fs::read(&path).unwrap();
    let header_length = parse(&sound).unwrap().tensors[0].bytes.start;
    for_damaged(4000, &sound, header_length, |bytes| {
        let _ = parse(bytes);
    });
    let file = directory.path().join("damaged.gguf");
    let (mut opened, mut refused) = (0, 0);
    for_damaged(300, &sound, header_length, |bytes| {
        std::fs::write(&file, bytes).unwrap();
        let _ = tokenizer::load(&file, None, 320);
        match source::open(&file) {
            Err(_) => refused += 1,
            Ok(source) => {
                opened += 1;
                for index in 0..source.spec().layers.len() {
                    source.layer(index).unwrap();
                }
            }
        }
    });
    // Some damage is not seen, such as to a token's text; the test is of both ways.
    assert!(opened > 0 && refused > 0, "{opened} {refused}");
}

/// Calls `check` with copies in which a few bytes of the header are changed, and of some of which
/// the end is cut off; the same copies every time.
pub(crate) fn for_damaged(
    cases: u32,
    sound: &[u8],
    header_length: usize,
    mut check: impl FnMut(&[u8]),
) {
    let byte = prop_oneof![Just(0), Just(0xff), any::<u8>()];
    let changes = prop::collection::vec((0..header_length, byte), 1..4);
    let cut = prop_oneof![3 => Just(sound.len()), 1 => 0..sound.len()];
    let damage = (changes, cut);
    let mut runner = TestRunner::deterministic();
    for _ in 0..cases {
        let (changes, length) = damage.new_tree(&mut runner).unwrap().current();
        let mut bytes = sound.to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(length);
        check(&bytes);
    }
}
