use super::*;
use crate::fixtures;

const PRECISIONS: [Precision; 3] = [Precision::Q4K, Precision::F16, Precision::Q8_0];

#[test]
fn groupings_make_the_genes_that_their_names_say() {
    let spec = fixtures::spec();
    let rows = [
        (Grouping::Tensor, 16, "blk.0.attn_q"),
        (Grouping::Block, 6, "blk.0.attention"),
        (Grouping::Kind, 9, "attn_q"),
    ];
    let mut failures = Vec::new();
    for (grouping, genes, second) in rows {
        let space = SearchSpace::new(&spec, &PRECISIONS, grouping).unwrap();
        let layers: usize = space.genes.iter().map(|gene| gene.layers.len()).sum();
        let found = (space.genes.len(), space.genes[1].name.as_str(), layers);
        if found != (genes, second, spec.layers.len()) {
            failures.push(format!("{grouping}: {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn genomes_and_plans_lead_to_each_other_and_fewer_bits_have_higher_numbers() {
    let spec = fixtures::spec();
    for grouping in [Grouping::Tensor, Grouping::Block, Grouping::Kind] {
        let space = SearchSpace::new(&spec, &PRECISIONS, grouping).unwrap();
        let genes = space.as_numbers().genes();
        let mut sizes = Vec::new();
        for allele in 0..3 {
            let genome = Genome(vec![allele; genes]);
            let plan = space.plan(&spec, &genome).unwrap();
            sizes.push(plan.size_bytes(&spec));
            assert_eq!(space.genome(&plan), Some(genome));
        }
        assert!(sizes.is_sorted_by(|left, right| left > right), "{sizes:?}");
        assert_eq!(space.smallest_bytes(&spec), sizes[2]);
        assert!(space.plan(&spec, &Genome(vec![3; genes])).is_err());
        assert!(space.plan(&spec, &Genome(vec![0; genes + 1])).is_err());
    }
}

#[test]
fn a_plan_outside_the_space_has_no_genome() {
    let spec = fixtures::spec();
    let tensors = SearchSpace::new(&spec, &PRECISIONS, Grouping::Tensor).unwrap();
    let kinds = SearchSpace::new(&spec, &PRECISIONS, Grouping::Kind).unwrap();
    let foreign = Plan::uniform(&spec, Precision::Q6K).unwrap();
    assert_eq!(tensors.genome(&foreign), None);
    let mut mixed = vec![Precision::Q4K; spec.layers.len()];
    mixed[1] = Precision::Q8_0;
    let mixed = Plan::new(&spec, mixed).unwrap();
    assert!(tensors.genome(&mixed).is_some());
    assert_eq!(kinds.genome(&mixed), None, "two layers of one gene differ");
}

#[test]
fn alleles_fit_every_layer_of_their_gene() {
    let spec = fixtures::spec_with_columns(320);
    let precisions = [Precision::Q4K, Precision::Q4_0];
    let space = SearchSpace::new(&spec, &precisions, Grouping::Block).unwrap();
    let alleles = |name: &str| {
        let gene = space.genes.iter().find(|gene| gene.name == name);
        gene.unwrap().alleles.clone()
    };
    assert_eq!(alleles("blk.0.attention"), [Precision::Q4_0]);
    // The down projection alone could be held in a K-quant, but shares its gene with two that
    // cannot.
    assert_eq!(alleles("blk.0.feed_forward"), [Precision::Q4_0]);
    let tensors = SearchSpace::new(&spec, &precisions, Grouping::Tensor).unwrap();
    let down = tensors
        .genes
        .iter()
        .find(|gene| gene.name == "blk.0.ffn_down");
    assert_eq!(down.unwrap().alleles, [Precision::Q4_0, Precision::Q4K]);
    let error = SearchSpace::new(&spec, &[Precision::Q4K], Grouping::Kind).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("`token_embd`") && message.contains("320"),
        "{message}"
    );
    assert!(
        message.contains("q4_0") && !message.contains("q6_k"),
        "{message}"
    );
}

#[test]
fn a_device_leaves_out_what_it_does_not_execute() {
    let request = fixtures::request();
    let space = SearchSpace::bound(&request, &[Precision::Q6K, Precision::F32], &[]).unwrap();
    assert!(
        space
            .genes
            .iter()
            .all(|gene| gene.alleles == [Precision::Q6K])
    );
    assert!(SearchSpace::bound(&request, &[Precision::F32], &[]).is_err());
}

#[test]
fn an_allele_leaves_where_one_other_replaces_it_in_all_shapes_of_its_gene() {
    let request = SearchRequest {
        grouping: Grouping::Block,
        precisions: vec![Precision::Q8_0, Precision::Q5_0, Precision::Q5K],
        ..fixtures::request()
    };
    let bound = |exclusions: &[Exclusion]| {
        let space = SearchSpace::bound(&request, &Precision::ALL, exclusions).unwrap();
        let alleles = space
            .genes
            .into_iter()
            .map(|gene| (gene.name, gene.alleles));
        alleles.collect::<std::collections::BTreeMap<_, _>>()
    };
    let exclusion = |rows, columns, by: &[Precision]| Exclusion {
        shape: Shape { rows, columns },
        precision: Precision::Q5_0,
        by: by.to_vec(),
        reason: "slower".to_owned(),
    };
    let (all, less) = (
        vec![Precision::Q8_0, Precision::Q5_0, Precision::Q5K],
        vec![Precision::Q8_0, Precision::Q5K],
    );
    // Attention has one shape, feed-forward two.
    let by = [Precision::Q5K];
    let found = bound(&[exclusion(256, 256, &by), exclusion(512, 256, &by)]);
    assert_eq!(found["blk.0.attention"], less);
    assert_eq!(found["blk.0.feed_forward"], all);
    let found = bound(&[exclusion(256, 512, &by), exclusion(512, 256, &by)]);
    assert_eq!(found["blk.0.feed_forward"], less);
    // Two that each replace it in one shape do not make one that does in both.
    let other = [Precision::Q8_0];
    let found = bound(&[exclusion(256, 512, &by), exclusion(512, 256, &other)]);
    assert_eq!(found["blk.0.feed_forward"], all);
    // What cannot be executed in one shape cannot be in the gene.
    let found = bound(&[exclusion(256, 512, &[])]);
    assert_eq!(found["blk.1.feed_forward"], less);
    // An embedding that is only looked up is multiplied with nothing.
    let found = bound(&[exclusion(320, 256, &by)]);
    assert_eq!((&found["token_embd"], &found["output"]), (&all, &less));
}
