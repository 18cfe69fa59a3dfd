//! ggml's numbers for the types of tensors.

use bitfront_model::Precision;

/// The number of a precision in ggml's `enum ggml_type`.
pub(crate) fn type_of_precision(precision: Precision) -> u32 {
    match precision {
        Precision::F32 => 0,
        Precision::F16 => 1,
        Precision::Q4_0 => 2,
        Precision::Q4_1 => 3,
        Precision::Q5_0 => 6,
        Precision::Q5_1 => 7,
        Precision::Q8_0 => 8,
        Precision::Q2K => 10,
        Precision::Q3K => 11,
        Precision::Q4K => 12,
        Precision::Q5K => 13,
        Precision::Q6K => 14,
        Precision::Bf16 => 30,
    }
}

/// The precision with a number, where it is one that is read.
pub(crate) fn precision_of_type(number: u32) -> Option<Precision> {
    Precision::ALL
        .into_iter()
        .find(|&precision| type_of_precision(precision) == number)
}

/// ggml's name of a type that is not read, so that the error says what the file holds.
pub(crate) fn type_name(number: u32) -> String {
    let name = match number {
        9 => "q8_1",
        15 => "q8_k",
        16 => "iq2_xxs",
        17 => "iq2_xs",
        18 => "iq3_xxs",
        19 => "iq1_s",
        20 => "iq4_nl",
        21 => "iq3_s",
        22 => "iq2_s",
        23 => "iq4_xs",
        24 => "i8",
        25 => "i16",
        26 => "i32",
        27 => "i64",
        28 => "f64",
        29 => "iq1_m",
        34 => "tq1_0",
        35 => "tq2_0",
        39 => "mxfp4",
        40 => "nvfp4",
        _ => return format!("number {number}, which has no known name"),
    };
    name.to_owned()
}
