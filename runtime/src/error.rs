//! What can be wrong with files: one enumeration per boundary, the facts in the variants.

use std::path::PathBuf;

use bitfront_model::{PlanError, SpecError};

use crate::gguf::GgufError;

/// A model file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The operating system refused.
    #[error("cannot read `{}`: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The path leads to nothing that is a model.
    #[error(
        "`{}` is not a model: expected a directory with config.json and model.safetensors, \
         or a GGUF file", path.display()
    )]
    NotAModel {
        /// The path.
        path: PathBuf,
    },
    /// A JSON file is not what it should be.
    #[error("`{}`: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A field of `config.json` or a GGUF key is missing or has an impossible value.
    #[error("`{}`: {field} {reason}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field or key.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The architecture has no forward pass here.
    #[error(
        "`{}`: unknown architecture `{name}`; known are {known}", path.display()
    )]
    Architecture {
        /// The file.
        path: PathBuf,
        /// What the file says.
        name: String,
        /// What would have been understood.
        known: &'static str,
    },
    /// The model uses something that the forward pass does not do.
    #[error("`{}`: {feature} is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The feature with its value.
        feature: String,
    },
    /// A safetensors header is not sound.
    #[error("`{}` is not a sound safetensors file: {reason}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A GGUF header is not sound.
    #[error("`{}` is not a sound GGUF file: {error}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: GgufError,
    },
    /// The index names a file that is not there.
    #[error(
        "shard `{}` is missing: model.safetensors.index.json places {tensors} tensors in it; \
         download it again", path.display()
    )]
    MissingShard {
        /// The file.
        path: PathBuf,
        /// How many tensors it should hold.
        tensors: usize,
    },
    /// A tensor that the architecture needs is not in the file.
    #[error("`{}`: tensor `{tensor}` is missing", path.display())]
    MissingTensor {
        /// The file or directory.
        path: PathBuf,
        /// The tensor by the file's own name.
        tensor: String,
    },
    /// A tensor that the forward pass would not use.
    #[error(
        "`{}`: tensor `{tensor}` is not part of architecture {architecture}; \
         the model computes something that would be left out", path.display()
    )]
    UnexpectedTensor {
        /// The file.
        path: PathBuf,
        /// The tensor by the file's own name.
        tensor: String,
        /// The architecture.
        architecture: bitfront_model::Architecture,
    },
    /// A tensor stands in two files.
    #[error("tensor `{tensor}` is in both `{}` and `{}`", first.display(), second.display())]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
        /// One file.
        first: PathBuf,
        /// Another file.
        second: PathBuf,
    },
    /// A tensor has another shape than the hyper-parameters say.
    #[error(
        "`{}`: tensor `{tensor}` has shape {found:?}, the configuration says {expected:?}",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What the hyper-parameters say; rows first.
        expected: Vec<u64>,
        /// What the header says; rows first.
        found: Vec<u64>,
    },
    /// A tensor is stored in a way that is not read.
    #[error(
        "`{}`: tensor `{tensor}` is stored as {stored}; supported are {supported}", path.display()
    )]
    StoredAs {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type that the header gives.
        stored: String,
        /// The types that are read.
        supported: String,
    },
    /// A weight is NaN or infinite.
    #[error("`{}`: tensor `{tensor}` holds a value that is not finite (element {index})", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor by the file's own name.
        tensor: String,
        /// The first such element or, for a quantized tensor, the first of its block.
        index: u64,
    },
    /// A quantized tensor could not be turned into floats.
    #[error("`{}`: tensor `{tensor}` cannot be dequantized: {reason}", path.display())]
    Dequantize {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The engine's words.
        reason: String,
    },
    /// There is no layer with that index.
    #[error("the model has {layers} layers, there is none with index {index}")]
    NoLayer {
        /// The index asked for.
        index: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// The spec is not sound.
    #[error("`{}`: {error}", path.display())]
    Spec {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        error: SpecError,
    },
}

/// A tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The operating system refused.
    #[error("cannot read `{}`: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// There is no tokenizer beside the model.
    #[error("`{}` is missing; name a tokenizer.json with --tokenizer", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The model file around the tokenizer is not sound.
    #[error(transparent)]
    Model(#[from] Box<SourceError>),
    /// A tokenizer file is not what it should be.
    #[error("`{}`: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The GGUF metadata names a kind of tokenizer that is not implemented.
    #[error(
        "`{}`: tokenizer.ggml.model is `{name}`; known are gpt2, llama: \
         name a tokenizer.json with --tokenizer", path.display()
    )]
    UnknownModel {
        /// The file.
        path: PathBuf,
        /// What the file says.
        name: String,
    },
    /// The GGUF metadata names a pre-tokenizer that is not implemented.
    #[error(
        "`{}`: unknown pre-tokenizer `{name}` (tokenizer.ggml.pre); known are {known}: \
         name a tokenizer.json with --tokenizer", path.display()
    )]
    UnknownPreTokenizer {
        /// The file.
        path: PathBuf,
        /// What the file says.
        name: String,
        /// What would have been understood.
        known: String,
    },
    /// The tokenizer gives ids that the model has no embedding for.
    #[error(
        "the tokenizer in `{}` does not belong to this model: it gives token {token} (`{text}`), \
         the model's vocabulary ends at {vocabulary_size}", path.display()
    )]
    Vocabulary {
        /// The tokenizer's file.
        path: PathBuf,
        /// Its highest id.
        token: u32,
        /// The text of that token.
        text: String,
        /// Rows of the model's embedding.
        vocabulary_size: u64,
    },
    /// The token that begins a text is none that the model has an embedding for.
    #[error(
        "the tokenizer in `{}` begins every text with token {token}, but the model's vocabulary \
         ends at {vocabulary_size}: mend bos_token or bos_token_id beside it", path.display()
    )]
    BeginningToken {
        /// The tokenizer's file; the files beside it may be the ones that name the token.
        path: PathBuf,
        /// The token's id.
        token: u32,
        /// Rows of the model's embedding.
        vocabulary_size: u64,
    },
    /// The tokenizer has another number of tokens than the model has rows.
    #[error(
        "the tokenizer in `{}` does not belong to this model: it has {tokens} tokens, the model's \
         embedding has {vocabulary_size} rows", path.display()
    )]
    VocabularySize {
        /// The tokenizer's file.
        path: PathBuf,
        /// Its tokens.
        tokens: u64,
        /// Rows of the model's embedding.
        vocabulary_size: u64,
    },
    /// A text could not be cut into tokens.
    #[error("the text cannot be tokenized: {0}")]
    Encode(String),
}

/// A text cannot be measured on.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The operating system refused.
    #[error("cannot read `{}`: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The text is not UTF-8.
    #[error("`{}` is not UTF-8: byte {position}", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first offending byte.
        position: usize,
    },
    /// A line of a `.jsonl` file is not an object with a text.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// There is not enough text.
    #[error(
        "`{}` is too short: it has {found} tokens, {needed} are needed ({windows} windows of \
         {context})", path.display()
    )]
    TooShort {
        /// The file.
        path: PathBuf,
        /// Tokens in it.
        found: usize,
        /// Tokens needed.
        needed: usize,
        /// Windows asked for, or the fewest that make sense.
        windows: usize,
        /// Tokens in a window.
        context: u32,
    },
    /// A window must hold a context and something to score.
    #[error("a context of {context} tokens is too short: at least {least} are needed")]
    Context {
        /// The context asked for.
        context: u32,
        /// The least.
        least: u32,
    },
    /// Too few windows were asked for.
    #[error(
        "{windows} evaluation windows are too few: the error of a divergence is taken over \
         windows, so at least {least} are needed"
    )]
    FewWindows {
        /// The number asked for.
        windows: u32,
        /// The least.
        least: u32,
    },
    /// The evaluation text and the calibration text are one.
    #[error(
        "`{}` has the same content as the calibration text: quality would be measured on what \
         the imatrix was made from", path.display()
    )]
    Overlap {
        /// The evaluation file.
        path: PathBuf,
    },
    /// A window that would be scored was calibrated with.
    #[error(
        "window {window} of `{}` is among the calibration windows as well: quality would be \
         measured on what the imatrix was made from; remove the repetition or name another \
         calibration text", path.display()
    )]
    SharedWindow {
        /// The evaluation file.
        path: PathBuf,
        /// The window, counted from zero.
        window: usize,
    },
    /// The tokenizer failed.
    #[error("`{}`: {error}", path.display())]
    Tokenizer {
        /// The text file.
        path: PathBuf,
        /// Why.
        error: TokenizerError,
    },
}

/// An imatrix file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImatrixError {
    /// The operating system refused.
    #[error("cannot read or write `{}`: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The GGUF around it is not sound.
    #[error("`{}` is not a sound GGUF file: {error}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: GgufError,
    },
    /// The file is no imatrix, or a part of it is wrong.
    #[error("`{}` is not an imatrix: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The imatrix was made for another model.
    #[error("the imatrix does not belong to this model: {reason}")]
    OtherModel {
        /// The tensor and the lengths that differ.
        reason: String,
    },
}

/// A plan could not be written as a file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The operating system refused; nothing is left under the final name.
    #[error("cannot write `{}`: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The model could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The tokenizer could not be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The plan is not for this model.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The tokenizer splits text in a way that has no name in llama.cpp.
    #[error(
        "`{}`: llama.cpp has no known name for this tokenizer's pre-tokenizer {regex}; if you \
         know one that does the same, give it with --pre NAME", path.display()
    )]
    UnknownPreTokenizer {
        /// The tokenizer's file.
        path: PathBuf,
        /// The regular expressions, or the kinds of steps where there are none.
        regex: String,
    },
    /// The tokenizer cannot be expressed in a GGUF file.
    #[error("`{}` cannot be written into a GGUF file: {reason}", path.display())]
    TokenizerKind {
        /// The tokenizer's file.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// A layer's quantized bytes could not be had.
    #[error("layer `{layer}`: {error}")]
    Tensor {
        /// The layer.
        layer: String,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A layer's quantized bytes are not as long as its precision says.
    #[error("layer `{layer}` in {precision} has {found} bytes, {expected} are expected")]
    Length {
        /// The layer.
        layer: String,
        /// Its precision in the plan.
        precision: bitfront_model::Precision,
        /// What the shape says.
        expected: u64,
        /// What was given.
        found: u64,
    },
}
