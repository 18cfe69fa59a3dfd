//! Wake-ups between coordinators over one database, by NOTIFY and LISTEN.
//!
//! They are hints: whoever is woken looks into the tables, and looks there now and then although
//! nobody woke it. So a notice is told after the commit that it is about and outside of it (a
//! NOTIFY inside would make commits queue behind each other for a lock on the whole server), what
//! comes within a moment is told together, and what is lost is not told again.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::wakeups::{Notice, Wakeups};

const CHANNEL: &str = "bitfront";

/// How long notices are gathered before they are told: twenty statements a second at most, however
/// many tasks end.
const GATHERED_FOR: Duration = Duration::from_millis(50);

/// Most notices in one statement, whose text Postgres keeps below 8,000 bytes.
const MOST_TOGETHER: usize = 300;

/// How long nothing may be heard before the connection is tried.
const QUIET: Duration = Duration::from_secs(30);

/// Pause after the connection that listens could not be made.
const AFTER_AN_ERROR: Duration = Duration::from_secs(1);

/// Passes wake-ups on in both directions until the shutdown.
pub(super) async fn relay(pool: PgPool, wakeups: Arc<Wakeups>, shutdown: CancellationToken) {
    let Some(notices) = wakeups.for_others() else {
        return;
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tell(&pool, notices) => {}
        () = listen(&pool, &wakeups) => {}
    }
}

async fn tell(pool: &PgPool, mut notices: mpsc::UnboundedReceiver<Notice>) {
    while let Some(first) = notices.recv().await {
        tokio::time::sleep(GATHERED_FOR).await;
        let mut gathered = HashSet::from([first]);
        while gathered.len() < MOST_TOGETHER
            && let Ok(notice) = notices.try_recv()
        {
            gathered.insert(notice);
        }
        let words: Vec<_> = gathered.iter().map(Notice::to_string).collect();
        let told = sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(words.join(" "))
            .execute(pool)
            .await;
        if let Err(error) = told {
            tracing::warn!(%error, "other coordinators are not woken");
        }
    }
}

async fn listen(pool: &PgPool, wakeups: &Wakeups) {
    loop {
        if let Err(error) = hear(pool, wakeups).await {
            tracing::warn!(%error, "other coordinators are not heard");
        }
        tokio::time::sleep(AFTER_AN_ERROR).await;
    }
}

async fn hear(pool: &PgPool, wakeups: &Wakeups) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    everything(wakeups);
    loop {
        let Ok(heard) = timeout(QUIET, listener.try_recv()).await else {
            // Nothing would tell that the server's machine is gone.
            let asked = sqlx::query("SELECT 1").execute(&mut listener);
            let answered = timeout(QUIET, asked).await;
            answered.map_err(|_| sqlx::Error::PoolTimedOut)??;
            continue;
        };
        match heard? {
            Some(notification) => {
                let words = notification.payload().split(' ');
                for notice in words.filter_map(|word| word.parse().ok()) {
                    wakeups.hear(notice);
                }
            }
            // The connection was lost and is made again.
            None => everything(wakeups),
        }
    }
}

/// What was told while nobody listened is not known.
fn everything(wakeups: &Wakeups) {
    wakeups.hear(Notice::Work);
    wakeups.hear(Notice::Devices);
    wakeups.hear_every_search();
}
