//! What is searched and what is wanted of it: a space, and how each objective depends on it.
//!
//! The plain strategies look at the space alone. The surrogate strategy also uses the law of every
//! objective: layers of a model add up, in loss as in time and in bytes, and what is known of a
//! layer before anything was measured tells it where to begin.

use thiserror::Error;

use crate::space::{Genome, Space};

/// One number for every allele of every gene, gene by gene, in the unit of its objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Table(Vec<Vec<f64>>);

/// How an objective depends on a genome.
#[derive(Debug, Clone, PartialEq)]
pub enum Law {
    /// A positive sum of what each gene adds, told as its natural logarithm: a loss. The table is
    /// a guess of what each allele adds; only the ratios between its numbers matter.
    LogSum(Table),
    /// A positive sum of what each gene adds, of a constant, and of what a change of the allele
    /// from one gene to the next costs: a time. The table is a guess of what each allele adds;
    /// only the ratios between its numbers matter.
    Time(Table),
    /// Exactly the sum of a constant and of what the table says: a size.
    Exact {
        /// What every genome has.
        constant: f64,
        /// What each allele adds.
        table: Table,
    },
}

/// A figure that must not exceed a limit and that is no objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Limited {
    /// How it depends on a genome.
    pub law: Law,
    /// The greatest allowed, as the figure is told.
    pub limit: f64,
}

/// A space, the objectives that are measured over it, and what limits them.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    space: Space,
    objectives: Vec<Law>,
    worst: Vec<Option<f64>>,
    limited: Vec<Limited>,
}

/// Objectives that do not belong to a space.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ProblemError {
    /// A table has another shape than the space.
    #[error(
        "the table of figure {figure} needs one number for every allele: gene {gene} has {expected} \
         alleles and the table {found} numbers"
    )]
    Shape {
        /// Position among the objectives and, after them, the limited figures.
        figure: usize,
        /// The first gene that differs; the number of genes where the table is too long.
        gene: usize,
        /// Alleles of the gene.
        expected: usize,
        /// Numbers that the table holds for it.
        found: usize,
    },
    /// A number of a table cannot be a part of its sum.
    #[error(
        "the table of figure {figure} says {value} for allele {allele} of gene {gene}; it \
         must be finite and not negative"
    )]
    Value {
        /// Position among the objectives and, after them, the limited figures.
        figure: usize,
        /// The gene.
        gene: usize,
        /// The allele.
        allele: usize,
        /// The number.
        value: f64,
    },
    /// The worst values of interest are not one for every objective, or are not finite.
    #[error("the worst values of interest {worst:?} do not fit {objectives} objectives")]
    Worst {
        /// What was given.
        worst: Vec<Option<f64>>,
        /// How many objectives there are.
        objectives: usize,
    },
    /// A limit is not finite.
    #[error("limited figure {figure} has the limit {limit}; it must be finite")]
    Limit {
        /// Position among the limited figures.
        figure: usize,
        /// What was given.
        limit: f64,
    },
}

impl Table {
    /// A table from the numbers of every gene.
    pub fn new(numbers: impl IntoIterator<Item = Vec<f64>>) -> Self {
        Self(numbers.into_iter().collect())
    }

    /// The numbers of every gene, allele by allele.
    pub fn genes(&self) -> &[Vec<f64>] {
        &self.0
    }

    /// The sum over the genes; the genome must belong to the table's space.
    pub fn sum(&self, genome: &Genome) -> f64 {
        let pairs = self.0.iter().zip(&genome.0);
        pairs
            .map(|(numbers, &allele)| numbers[usize::from(allele)])
            .sum()
    }
}

impl Law {
    /// What each allele adds, or is guessed to add.
    pub fn table(&self) -> &Table {
        match self {
            Self::LogSum(table) | Self::Time(table) | Self::Exact { table, .. } => table,
        }
    }
}

impl Problem {
    /// A problem whose objectives follow these laws, in the order in which they will be told.
    pub fn new(space: Space, objectives: Vec<Law>) -> Result<Self, ProblemError> {
        for (objective, law) in objectives.iter().enumerate() {
            check(&space, objective, law.table())?;
        }
        Ok(Self {
            worst: vec![None; objectives.len()],
            space,
            objectives,
            limited: Vec::new(),
        })
    }

    /// The same problem with the worst that is of interest in each objective, as it is told: a
    /// genome that reaches it is worth nothing. Where there is none, what the front itself spans
    /// is of interest.
    pub fn with_worst(mut self, worst: Vec<Option<f64>>) -> Result<Self, ProblemError> {
        let is_finite = |value: &Option<f64>| value.is_none_or(f64::is_finite);
        if worst.len() != self.objectives.len() || !worst.iter().all(is_finite) {
            return Err(ProblemError::Worst {
                worst,
                objectives: self.objectives.len(),
            });
        }
        self.worst = worst;
        Ok(self)
    }

    /// The same problem with figures that bear a limit and are no objectives, in the order in
    /// which they will be told.
    pub fn with_limited(mut self, limited: Vec<Limited>) -> Result<Self, ProblemError> {
        for (figure, Limited { law, limit }) in limited.iter().enumerate() {
            check(&self.space, self.objectives.len() + figure, law.table())?;
            if !limit.is_finite() {
                return Err(ProblemError::Limit {
                    figure,
                    limit: *limit,
                });
            }
        }
        self.limited = limited;
        Ok(self)
    }

    /// What may be asked.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// How each objective depends on a genome; empty where only the space is known.
    pub fn objectives(&self) -> &[Law] {
        &self.objectives
    }

    /// The worst that is of interest in each objective, where it was given.
    pub fn worst(&self) -> &[Option<f64>] {
        &self.worst
    }

    /// The figures that bear a limit and are no objectives.
    pub fn limited(&self) -> &[Limited] {
        &self.limited
    }
}

impl From<Space> for Problem {
    /// A problem of which nothing is known but the space.
    fn from(space: Space) -> Self {
        Self {
            space,
            objectives: Vec::new(),
            worst: Vec::new(),
            limited: Vec::new(),
        }
    }
}

fn check(space: &Space, figure: usize, table: &Table) -> Result<(), ProblemError> {
    let alleles = space.alleles();
    for gene in 0..alleles.len().max(table.0.len()) {
        let expected = alleles.get(gene).copied().map_or(0, usize::from);
        let found = table.0.get(gene).map_or(0, Vec::len);
        if expected != found {
            return Err(ProblemError::Shape {
                figure,
                gene,
                expected,
                found,
            });
        }
        let is_wrong = |value: &f64| !value.is_finite() || *value < 0.0;
        if let Some(allele) = table.0[gene].iter().position(is_wrong) {
            return Err(ProblemError::Value {
                figure,
                gene,
                allele,
                value: table.0[gene][allele],
            });
        }
    }
    Ok(())
}
