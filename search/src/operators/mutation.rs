//! A genome from one.

use std::slice::from_ref;

use crate::generator::Generator;
use crate::space::{Genome, Space};

/// Where a neighbour step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the allele before: in bitfront, more bits.
    Down,
    /// To the allele after: in bitfront, fewer bits.
    Up,
}

impl Direction {
    /// Either one with equal chance.
    pub(crate) fn draw(generator: &mut Generator) -> Self {
        if generator.chance(1, 2) {
            Self::Down
        } else {
            Self::Up
        }
    }

    /// The other one.
    pub(crate) fn opposite(self) -> Self {
        match self {
            Self::Down => Self::Up,
            Self::Up => Self::Down,
        }
    }

    /// The neighbour of a gene's allele on this side, if there is one.
    fn neighbour(self, space: &Space, genome: &Genome, gene: usize) -> Option<u8> {
        let allele = genome.0[gene];
        match self {
            Self::Down => allele.checked_sub(1),
            Self::Up => (allele + 1 < space.alleles()[gene]).then_some(allele + 1),
        }
    }
}

/// Moves one gene to the neighbouring allele. The gene is drawn among those that have one on that
/// side; without any the genome stays as it is.
pub(crate) fn step_gene(
    space: &Space,
    genome: &mut Genome,
    direction: Direction,
    generator: &mut Generator,
) {
    let movable: Vec<usize> = (0..space.genes())
        .filter(|&gene| direction.neighbour(space, genome, gene).is_some())
        .collect();
    if let Some(gene) = movable.get(generator.below(movable.len())) {
        step(space, genome, from_ref(gene), direction);
    }
}

/// Moves the genes of one family to their neighbouring alleles; those at the end stay. The family
/// is drawn among those with a gene that can move; without any the genome stays as it is.
pub(crate) fn step_family(
    space: &Space,
    genome: &mut Genome,
    direction: Direction,
    generator: &mut Generator,
) {
    let can_move = |family: &&Vec<usize>| {
        let mut genes = family.iter();
        genes.any(|&gene| direction.neighbour(space, genome, gene).is_some())
    };
    let movable: Vec<&Vec<usize>> = space.families().iter().filter(can_move).collect();
    if let Some(family) = movable.get(generator.below(movable.len())) {
        step(space, genome, family, direction);
    }
}

fn step(space: &Space, genome: &mut Genome, genes: &[usize], direction: Direction) {
    for &gene in genes {
        if let Some(allele) = direction.neighbour(space, genome, gene) {
            genome.0[gene] = allele;
        }
    }
}

/// Gives one gene another allele, each of its others equally likely. The gene is drawn among those
/// that have a choice; without any the genome stays as it is.
pub(crate) fn reset(space: &Space, genome: &mut Genome, generator: &mut Generator) {
    let free: Vec<usize> = (0..space.genes())
        .filter(|&gene| space.alleles()[gene] > 1)
        .collect();
    let Some(&gene) = free.get(generator.below(free.len())) else {
        return;
    };
    let others = space.alleles()[gene] - 1;
    // Below `others`, which came from a byte; the present allele is skipped over.
    let drawn = generator.below(usize::from(others)) as u8;
    genome.0[gene] = drawn + u8::from(drawn >= genome.0[gene]);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every genome that an operator makes of one parent in 100 asks.
    fn reached(parent: &[u8], operator: impl Fn(&mut Genome, &mut Generator)) -> Vec<Vec<u8>> {
        let children = (0..100).map(|ask| {
            let mut genome = Genome(parent.to_vec());
            operator(&mut genome, &mut Generator::new(1, ask));
            genome.0
        });
        children.collect::<BTreeSet<_>>().into_iter().collect()
    }

    #[test]
    fn a_step_moves_one_gene_by_one_and_stops_at_the_ends() {
        let space = Space::new([3, 1, 5, 2]).unwrap();
        let up = reached(&[1, 0, 2, 1], |genome, generator| {
            step_gene(&space, genome, Direction::Up, generator);
        });
        assert_eq!(up, [vec![1, 0, 3, 1], vec![2, 0, 2, 1]]);
        let down = reached(&[0, 0, 2, 1], |genome, generator| {
            step_gene(&space, genome, Direction::Down, generator);
        });
        assert_eq!(down, [vec![0, 0, 1, 1], vec![0, 0, 2, 0]]);
    }

    #[test]
    fn a_family_steps_together_and_its_ends_stay() {
        let space = Space::new([3, 3, 3, 1]).unwrap();
        let space = space.with_families([0, 1, 0, 2]).unwrap();
        let up = reached(&[1, 0, 2, 0], |genome, generator| {
            step_family(&space, genome, Direction::Up, generator);
        });
        assert_eq!(up, [vec![1, 1, 2, 0], vec![2, 0, 2, 0]]);
    }

    #[test]
    fn a_reset_reaches_every_other_allele_and_no_more() {
        let space = Space::new([1, 4]).unwrap();
        let children = reached(&[0, 2], |genome, generator| {
            reset(&space, genome, generator);
        });
        assert_eq!(children, [vec![0, 0], vec![0, 1], vec![0, 3]]);
    }

    #[test]
    fn nothing_to_choose_stays() {
        let space = Space::new([1, 1]).unwrap();
        let children = reached(&[0, 0], |genome, generator| {
            let direction = Direction::draw(generator);
            step_gene(&space, genome, direction, generator);
            step_family(&space, genome, direction.opposite(), generator);
            reset(&space, genome, generator);
        });
        assert_eq!(children, [vec![0, 0]]);
    }
}
