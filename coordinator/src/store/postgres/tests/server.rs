//! Databases of their own for tests, on a server that they are told of.

use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};

/// Says where the server is, and as whom to use it.
const VARIABLE: &str = "BITFRONT_TEST_POSTGRES";

/// An empty database, which is dropped at the end.
pub(crate) struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// Makes one.
    pub(crate) async fn new() -> Self {
        Self::with("ENCODING 'UTF8'").await
    }

    /// Makes one with these options.
    pub(crate) async fn with(options: &str) -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("bitfront_test_{}_{number}", std::process::id());
        let mut server = connect(&server()).await;
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        run(&mut server, drop).await;
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 {options}");
        run(&mut server, create).await;
        Self { name }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        url(&self.name)
    }

    /// A connection that no store knows of.
    pub(crate) async fn connect(&self) -> PgConnection {
        connect(&self.url()).await
    }

    /// Runs statements that no store knows of.
    pub(crate) async fn run(&self, text: &str) {
        run(&mut self.connect().await, text.to_owned()).await;
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // The test's own runtime is in the middle of something.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async {
                run(&mut connect(&server()).await, drop).await;
            });
        });
        let _ = dropped.join();
    }
}

/// The server's URL.
#[allow(
    clippy::disallowed_methods,
    reason = "tests have no other way to be told"
)]
pub(crate) fn server() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{VARIABLE} names no Postgres server to make databases on; run this under \
             `scripts/with-postgres`, which makes a server for as long as a command runs"
        )
    })
}

/// The server's URL, but for another database.
pub(crate) fn url(database: &str) -> String {
    let server = server();
    let (place, parameters) = server.split_once('?').unwrap_or((&server, ""));
    let (scheme, place) = place.split_once("://").unwrap();
    let authority = place.split('/').next().unwrap();
    format!("{scheme}://{authority}/{database}?{parameters}")
}

async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    let connected = options.disable_statement_logging().connect().await;
    connected.unwrap_or_else(|error| panic!("the server of {VARIABLE}: {error}"))
}

/// Runs statements, which may be several.
pub(crate) async fn run(connection: &mut PgConnection, text: String) {
    let run = sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await;
    run.unwrap();
}
