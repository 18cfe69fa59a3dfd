//! What is stored, row by row.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::super::audit::{Audited, LeaseRow, MeasurementRow, Rows, TaskRow};
use super::*;

/// The tables, each before those that it refers to.
const TABLES: [&str; 11] = [
    "DELETE FROM measurements",
    "DELETE FROM answers",
    "DELETE FROM leases",
    "DELETE FROM tasks",
    "DELETE FROM candidates",
    "DELETE FROM searches",
    "DELETE FROM questions",
    "DELETE FROM devices",
    "DELETE FROM models",
    "DELETE FROM hardware_profiles",
    "DELETE FROM coordinators",
];

#[async_trait]
impl Audited for ThisStore {
    async fn rows(&self) -> Result<Rows, StoreError> {
        read!(self, "read every row", rows)
    }

    async fn erase(&self) -> Result<(), StoreError> {
        write!(self, "forget everything", |connection| erase(connection))
    }

    fn beside(&self) -> Arc<dyn Store> {
        Arc::new(self.shared())
    }
}

async fn erase(connection: &mut Connection) -> Result<(), Failure> {
    for statement in TABLES.into_iter().chain([dialect::BEGIN_NUMBERS]) {
        sqlx::query(statement).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn rows(connection: &mut Connection) -> Result<Rows, Failure> {
    type Task = (i64, i64, String, String, String, i64, i64);
    let tasks: Vec<Task> = sqlx::query_as(
        "SELECT id, candidate, kind, purpose, state, epoch, attempts
         FROM tasks WHERE candidate IS NOT NULL ORDER BY id",
    )
    .fetch_all(&mut *connection)
    .await?;
    let leases: Vec<(i64, i64, i64)> =
        sqlx::query_as("SELECT task, epoch, device FROM leases ORDER BY task, epoch")
            .fetch_all(&mut *connection)
            .await?;
    type Measurement = (i64, i64, i64, String, String, i64, Option<f64>);
    let measurements: Vec<Measurement> = sqlx::query_as(
        "SELECT id, task, epoch, idempotency_key, outcome, accepted, coalesce(kld, decode_ns)
         FROM measurements ORDER BY id",
    )
    .fetch_all(&mut *connection)
    .await?;
    let task = |(id, candidate, kind, purpose, state, epoch, attempts): Task| TaskRow {
        id,
        candidate,
        kind,
        purpose,
        state,
        epoch,
        attempts,
    };
    let measurement = |row: Measurement| MeasurementRow {
        id: row.0,
        task: row.1,
        epoch: row.2,
        idempotency_key: row.3,
        outcome: row.4,
        accepted: row.5 == 1,
        figure: row.6,
    };
    Ok(Rows {
        tasks: tasks.into_iter().map(task).collect(),
        leases: leases
            .into_iter()
            .map(|(task, epoch, device)| LeaseRow {
                task,
                epoch,
                device,
            })
            .collect(),
        measurements: measurements.into_iter().map(measurement).collect(),
    })
}
