//! What is read from a model directory, and which directories are refused.

use std::path::Path;

use bitfront_model::{Architecture, LayerKind, Precision};
use bitfront_runtime::source::{self, RopeScaling, Source};
use safetensors::Dtype;
use serde_json::json;

use super::support::{
    Copy, MODELS, Stored, Tensors, exported, golden, read_tensors, write_tensors,
};

#[test]
fn every_golden_model_is_read_with_its_architecture_and_shapes() {
    let rows = [
        ("llama", Architecture::Llama, Precision::F32, false, 16),
        (
            "llama-linear",
            Architecture::Llama,
            Precision::F16,
            true,
            15,
        ),
        ("mistral", Architecture::Mistral, Precision::Bf16, false, 16),
        ("qwen2", Architecture::Qwen2, Precision::F32, true, 15),
        ("qwen3", Architecture::Qwen3, Precision::F32, false, 16),
    ];
    for (model, architecture, precision, tied, layers) in rows {
        let source = source::open(&golden(model)).unwrap();
        let spec = source.spec();
        assert_eq!(spec.name, model);
        assert_eq!(spec.architecture, architecture, "{model}");
        assert_eq!(spec.layers.len(), layers, "{model}");
        assert_eq!(spec.is_tied(), tied, "{model}");
        assert_eq!(source.hyper().tied, tied, "{model}");
        assert_eq!(spec.layers[0].kind, LayerKind::TokenEmbedding, "{model}");
        let canonical = spec.layers.windows(2).all(|pair| {
            let key = |index: usize| (pair[index].block.unwrap_or(99), pair[index].kind);
            pair[0].block.is_none() || key(0) < key(1)
        });
        assert!(canonical, "{model}");
        for layer in &spec.layers {
            assert_eq!(layer.source, precision, "{model} {}", layer.name);
        }
        let fixed = source.fixed_tensors();
        let bytes = fixed.iter().map(|tensor| 4 * tensor.length).sum::<u64>();
        assert_eq!(spec.fixed_bytes, bytes, "{model}");
        for tensor in fixed {
            let values = source.fixed(&tensor.name).unwrap().unwrap();
            assert_eq!(
                values.len() as u64,
                tensor.length,
                "{model} {}",
                tensor.name
            );
        }
        assert_eq!(source.fixed("blk.0.attn_q.rubbish").unwrap(), None);
        assert!(source.layer(layers).is_err());
    }
}

#[test]
fn rope_scaling_is_read_in_both_spellings() {
    let scaling = |model: &str| {
        source::open(&golden(model))
            .unwrap()
            .hyper()
            .rope_scaling
            .clone()
    };
    assert_eq!(
        scaling("llama"),
        RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context: 64
        }
    );
    assert_eq!(scaling("llama-linear"), RopeScaling::Linear { factor: 4.0 });
    assert_eq!(scaling("qwen3"), RopeScaling::Default);
    let qwen3 = source::open(&golden("qwen3")).unwrap();
    assert_eq!(qwen3.hyper().rope_theta, 1_000_000.0);
}

#[test]
fn a_gguf_file_gives_the_values_of_the_directory_that_it_was_made_from() {
    for model in MODELS {
        let original = source::open(&golden(model)).unwrap();
        // Every golden model's precision fits into this one without loss.
        let (_directory, path) = exported(model, Precision::F32);
        let copy = source::open(&path).unwrap();
        assert_same_values(model, &*original, &*copy);
        let (one, other) = (original.spec(), copy.spec());
        assert_eq!(one.fixed_bytes, other.fixed_bytes, "{model}");
        assert_eq!(one.context_length, other.context_length, "{model}");
        assert_eq!(one.vocabulary_size, other.vocabulary_size, "{model}");
        assert_eq!(
            original.hyper().norm_epsilon as f32,
            copy.hyper().norm_epsilon as f32
        );
        let frequencies = |source: &dyn Source| {
            let hyper = source.hyper();
            hyper
                .rope_scaling
                .frequencies(hyper.head_size, hyper.rope_theta)
        };
        let pairs = frequencies(&*original).into_iter().zip(frequencies(&*copy));
        for (one, other) in pairs {
            assert!((one - other).abs() <= 1e-6 * one, "{model}: {one} {other}");
        }
    }
}

fn assert_same_values(model: &str, one: &dyn Source, other: &dyn Source) {
    for (index, layer) in one.spec().layers.iter().enumerate() {
        let other_layer = &other.spec().layers[index];
        assert_eq!(layer.name, other_layer.name, "{model}");
        assert_eq!(layer.tied, other_layer.tied, "{model} {}", layer.name);
        let (one, other) = (one.layer(index).unwrap(), other.layer(index).unwrap());
        assert_eq!(one, other, "{model} {}", layer.name);
    }
    for tensor in one.fixed_tensors() {
        let (one, other) = (one.fixed(&tensor.name), other.fixed(&tensor.name));
        assert_eq!(one.unwrap(), other.unwrap(), "{model} {}", tensor.name);
    }
}

#[test]
fn stored_bytes_are_the_layer_in_its_own_precision_and_in_hugging_face_order() {
    for (model, precision) in [("mistral", Precision::Q4K), ("llama", Precision::Q8_0)] {
        let (directory, path) = exported(model, precision);
        let source = source::open(&path).unwrap();
        for (index, layer) in source.spec().layers.iter().enumerate() {
            assert_eq!(layer.source, precision);
            let stored = source.stored(index).unwrap();
            assert_eq!(
                Some(stored.len() as u64),
                precision.bytes(layer.rows, layer.columns)
            );
        }
        // A copy made of the stored bytes is the same file, so both permutations cancel.
        struct AsStored<'a>(&'a dyn Source);
        impl bitfront_runtime::export::gguf::QuantizedLayers for AsStored<'_> {
            fn layer(
                &self,
                index: usize,
            ) -> Result<std::borrow::Cow<'_, [u8]>, Box<dyn std::error::Error + Send + Sync>>
            {
                Ok(self.0.stored(index)?)
            }
        }
        let plan = bitfront_model::Plan::source(source.spec()).unwrap();
        let again = directory.path().join("again.gguf");
        let layers = AsStored(&*source);
        let options = Default::default();
        bitfront_runtime::export::gguf::write(&*source, &plan, &layers, options, &again).unwrap();
        assert!(
            std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap(),
            "{model}"
        );
    }
}

#[test]
fn the_digest_is_of_the_content_not_of_the_place_or_of_the_cut_into_files() {
    let original = source::open(&golden("qwen3")).unwrap().spec().digest;
    let copy = Copy::of("qwen3");
    assert_eq!(copy.open().unwrap().spec().digest, original);
    let mut all = Tensors::new();
    for entry in std::fs::read_dir(copy.path()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            all.extend(read_tensors(&path));
            std::fs::remove_file(path).unwrap();
        }
    }
    write_tensors(&copy.path().join("model.safetensors"), &all);
    std::fs::remove_file(copy.path().join("model.safetensors.index.json")).unwrap();
    assert_eq!(copy.open().unwrap().spec().digest, original);
    copy.edit_tensors(|tensors| {
        let norm = tensors.get_mut("model.norm.weight").unwrap();
        norm.bytes[..4].copy_from_slice(&0.5f32.to_le_bytes());
    });
    assert_ne!(copy.open().unwrap().spec().digest, original);
    copy.edit_json("config.json", |config| config["rms_norm_eps"] = json!(1e-5));
    let changed = copy.open().unwrap().spec().digest;
    assert_ne!(changed, original);
}

/// A change to a golden model and what the error must name.
type Row = (
    &'static str,
    &'static str,
    fn(&Copy),
    &'static [&'static str],
);

#[test]
fn each_broken_directory_gets_one_error_that_names_what_is_wrong() {
    fn config(copy: &Copy, key: &str, value: serde_json::Value) {
        copy.edit_json("config.json", |config| config[key] = value);
    }
    fn tensor(copy: &Copy, name: &str, edit: impl FnOnce(&mut Stored)) {
        copy.edit_tensors(|tensors| edit(tensors.get_mut(name).unwrap()));
    }
    let rows: &[Row] = &[
        (
            "an unknown architecture",
            "llama",
            |copy| config(copy, "architectures", json!(["MambaForCausalLM"])),
            &["`MambaForCausalLM`", "LlamaForCausalLM", "Qwen3ForCausalLM"],
        ),
        (
            "config.json that is not JSON",
            "llama",
            |copy| std::fs::write(copy.path().join("config.json"), "{").unwrap(),
            &["config.json", "line 1"],
        ),
        (
            "no config.json",
            "llama",
            |copy| std::fs::remove_file(copy.path().join("config.json")).unwrap(),
            &["is not a model", "config.json"],
        ),
        (
            "no weights",
            "llama",
            |copy| std::fs::remove_file(copy.path().join("model.safetensors")).unwrap(),
            &["model.safetensors"],
        ),
        (
            "a field that is missing",
            "llama",
            |copy| config(copy, "hidden_size", json!(null)),
            &["config.json", "hidden_size is missing"],
        ),
        (
            "a field of another type",
            "llama",
            |copy| config(copy, "num_attention_heads", json!("four")),
            &["num_attention_heads", "\"four\"", "whole number"],
        ),
        (
            "a size of zero",
            "llama",
            |copy| config(copy, "intermediate_size", json!(0)),
            &["intermediate size is 0"],
        ),
        (
            "more blocks than could be stored",
            "llama",
            |copy| config(copy, "num_hidden_layers", json!(4_000_000_000u32)),
            &["num_hidden_layers is 4000000000", "tensors"],
        ),
        (
            "heads that do not divide",
            "llama",
            |copy| config(copy, "num_key_value_heads", json!(3)),
            &["multiple of the 3 key/value heads"],
        ),
        (
            "another activation",
            "llama",
            |copy| config(copy, "hidden_act", json!("gelu")),
            &["hidden_act \"gelu\" is not supported"],
        ),
        (
            "another RoPE scaling",
            "llama",
            |copy| {
                config(
                    copy,
                    "rope_scaling",
                    json!({"rope_type": "yarn", "factor": 4.0}),
                )
            },
            &["`yarn`", "llama3", "not supported"],
        ),
        (
            "biases in the feed-forward part",
            "llama",
            |copy| config(copy, "mlp_bias", json!(true)),
            &["mlp_bias true is not supported"],
        ),
        (
            "weights that are quantized already",
            "llama",
            |copy| config(copy, "quantization_config", json!({"quant_method": "gptq"})),
            &["quantization_config", "already quantized"],
        ),
        (
            "a tensor that is missing",
            "llama",
            |copy| {
                copy.edit_tensors(|tensors| {
                    tensors.remove("model.layers.1.mlp.up_proj.weight");
                });
            },
            &["`model.layers.1.mlp.up_proj.weight` is missing"],
        ),
        (
            "a head that is neither stored nor tied",
            "llama",
            |copy| {
                copy.edit_tensors(|tensors| {
                    tensors.remove("lm_head.weight");
                });
            },
            &["`lm_head.weight` is missing"],
        ),
        (
            "a bias that the configuration does not speak of",
            "llama",
            |copy| {
                copy.edit_tensors(|tensors| {
                    let norm = tensors["model.norm.weight"].clone();
                    tensors.insert("model.layers.0.self_attn.q_proj.bias".to_owned(), norm);
                });
            },
            &["q_proj.bias", "not part of architecture llama"],
        ),
        (
            "a matrix of another shape",
            "qwen2",
            |copy| config(copy, "intermediate_size", json!(128)),
            &["gate_proj.weight", "[256, 128]", "[128, 128]"],
        ),
        (
            "integers for weights",
            "llama",
            |copy| {
                tensor(copy, "model.norm.weight", |norm| norm.dtype = Dtype::I32);
            },
            &["model.safetensors`", "`model.norm.weight`", "I32", "BF16"],
        ),
        (
            "a weight that is not a number",
            "llama",
            |copy| {
                tensor(copy, "model.layers.1.mlp.down_proj.weight", |weights| {
                    weights.bytes[40..44].copy_from_slice(&f32::NAN.to_le_bytes());
                });
            },
            &[
                "model.safetensors`",
                "`model.layers.1.mlp.down_proj.weight`",
                "not finite",
                "element 10",
            ],
        ),
        (
            "an infinite weight in bf16",
            "mistral",
            |copy| {
                tensor(copy, "model.embed_tokens.weight", |weights| {
                    weights.bytes[6..8].copy_from_slice(&[0x80, 0x7f]);
                });
            },
            &["`model.embed_tokens.weight`", "element 3"],
        ),
        (
            "an infinite norm in f16",
            "llama-linear",
            |copy| {
                tensor(copy, "model.norm.weight", |weights| {
                    weights.bytes[..2].copy_from_slice(&[0x00, 0xfc]);
                });
            },
            &["model.safetensors`", "`model.norm.weight`", "element 0"],
        ),
        (
            "a shard that is missing",
            "qwen3",
            |copy| {
                let shard = "model-00002-of-00002.safetensors";
                std::fs::remove_file(copy.path().join(shard)).unwrap();
            },
            &["model-00002-of-00002.safetensors", "is missing", "tensors"],
        ),
        (
            "an index that leads out of the directory",
            "qwen3",
            |copy| {
                copy.edit_json("model.safetensors.index.json", |index| {
                    index["weight_map"]["lm_head.weight"] = json!("../secret");
                });
            },
            &["`../secret` is not the name of a shard"],
        ),
        (
            "an index that names a tensor which its shard lacks",
            "qwen3",
            |copy| {
                copy.edit_json("model.safetensors.index.json", |index| {
                    let any = index["weight_map"]["lm_head.weight"].clone();
                    index["weight_map"]["model.extra.weight"] = any;
                });
            },
            &["`model.extra.weight` is missing"],
        ),
    ];
    let mut wrong = Vec::new();
    for (what, model, change, expected) in rows {
        let copy = Copy::of(model);
        change(&copy);
        let message = copy.message();
        for part in *expected {
            if !message.contains(part) {
                wrong.push(format!("{what}: `{part}` is not in: {message}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_models_may_leave_out_or_carry_along_is_accepted() {
    let copy = Copy::of("qwen2");
    copy.edit_json("config.json", |config| {
        config
            .as_object_mut()
            .unwrap()
            .remove("tie_word_embeddings");
    });
    assert!(
        copy.open().unwrap().hyper().tied,
        "a head that is not stored is tied"
    );
    let copy = Copy::of("qwen2");
    copy.edit_tensors(|tensors| {
        let embedding = tensors["model.embed_tokens.weight"].clone();
        tensors.insert("lm_head.weight".to_owned(), embedding);
    });
    assert!(
        copy.open().unwrap().hyper().tied,
        "tie_word_embeddings overrides a stored head"
    );
    let copy = Copy::of("llama");
    copy.edit_tensors(|tensors| {
        let norm = tensors["model.norm.weight"].clone();
        tensors.insert(
            "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(),
            norm,
        );
    });
    assert!(copy.open().is_ok());
}

#[test]
fn a_sliding_window_limits_the_context() {
    let copy = Copy::of("mistral");
    copy.edit_json("config.json", |config| {
        config["sliding_window"] = json!(128)
    });
    assert_eq!(copy.open().unwrap().spec().context_length, 128);
    let copy = Copy::of("qwen2");
    copy.edit_json("config.json", |config| {
        config["sliding_window"] = json!(128)
    });
    assert_eq!(
        copy.open().unwrap().spec().context_length,
        512,
        "it is not in use"
    );
    copy.edit_json("config.json", |config| {
        config["use_sliding_window"] = json!(true)
    });
    assert_eq!(copy.open().unwrap().spec().context_length, 128);
}

#[test]
fn attention_biases_of_a_llama_are_read_and_permuted_in_files() {
    let copy = Copy::of("llama");
    copy.edit_json("config.json", |config| {
        config["attention_bias"] = json!(true)
    });
    copy.edit_tensors(|tensors| {
        for block in 0..2 {
            for (part, length) in [("q", 128), ("k", 64), ("v", 64), ("o", 128)] {
                let values = (0..length).map(|index| index as f32 + block as f32);
                let bias = Stored {
                    dtype: Dtype::F32,
                    shape: vec![length],
                    bytes: values.flat_map(f32::to_le_bytes).collect(),
                };
                let name = format!("model.layers.{block}.self_attn.{part}_proj.bias");
                tensors.insert(name, bias);
            }
        }
    });
    let source = copy.open().unwrap();
    let hyper = source.hyper();
    assert!(hyper.query_key_value_bias && hyper.attention_output_bias);
    let path = copy.path().join("model.gguf");
    super::support::export(&*source, Precision::F32, &path);
    let file = source::open(&path).unwrap();
    assert_same_values("llama with biases", &*source, &*file);
    let opened = bitfront_runtime::gguf::GgufFile::open(&path).unwrap();
    let bias = opened.header().tensor("blk.0.attn_q.bias").unwrap();
    let first = &opened.bytes(bias)[..12];
    let first = first
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes));
    assert_eq!(
        first.collect::<Vec<_>>(),
        [0.0, 16.0, 1.0],
        "halves of a head are interleaved"
    );
}

#[test]
fn what_is_no_model_is_said_to_be_none() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("notes.txt");
    std::fs::write(&file, "GG").unwrap();
    let message = |path: &Path| source::open(path).err().unwrap().to_string();
    assert!(message(&file).contains("is not a model"));
    assert!(message(directory.path()).contains("is not a model"));
    assert!(message(&directory.path().join("nothing")).contains("cannot read"));
}
