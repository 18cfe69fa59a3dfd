//! A plan as a list for `llama-quantize --tensor-type-file`.

use bitfront_model::{ModelSpec, Plan};

/// The file's text.
pub fn text(spec: &ModelSpec, plan: &Plan) -> String {
    let _ = (spec, plan);
    unimplemented!("being written")
}
