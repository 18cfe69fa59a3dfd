//! Tells the webhook of a schedule how a night ended: one JSON document by POST, again until it is
//! taken, for a day.
//!
//! Where it stands is in the database, and an attempt is begun by whoever raises its count, so that of
//! several coordinators one sends and a new one goes on where the last one ended. One that ends amid an
//! attempt leaves it to the next: a notice may come twice, and the schedule and the slot tell.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bitfront_model::{Drift, NoticeState, Overall, Webhook};
use chrono::{DateTime, SecondsFormat};
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde::Serialize;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::query;
use crate::store::{StoreError, Untold};
use crate::world::World;

/// How long whoever is told may take.
const CONNECTING: Duration = Duration::from_secs(5);
const ANSWERING: Duration = Duration::from_secs(10);

/// The pause after a first attempt, which doubles with every other one up to the longest.
const FIRST_PAUSE_MS: i64 = 30_000;
const LONGEST_PAUSE_MS: i64 = 3_600_000;

/// What fails for so long is given up.
const PATIENCE_MS: i64 = 86_400_000;

/// Notices that are sent in one look.
const MOST_AT_ONCE: u32 = 20;

/// The longest URL.
const MOST_BYTES: usize = 2000;

/// Sends notices.
pub(super) struct Notices {
    world: Arc<World>,
    /// Made at the first use; where it cannot be made, why.
    client: Result<Client, String>,
}

/// Everything that is told of a night that is over.
#[derive(Debug, PartialEq, Serialize)]
struct Verdict<'a> {
    schedule: &'a str,
    /// The slot, as RFC 3339 in UTC.
    slot: String,
    /// `missed`, `skipped` or `failed`; of a night with a search how that ended: `done`, `cancelled` or
    /// `failed`.
    state: String,
    search: Option<i64>,
    reason: &'a str,
    /// Missing where there is nothing to hold it against, or too little to say anything.
    since: Option<Since>,
}

/// What a night's search says of the one that it was started from.
#[derive(Debug, PartialEq, Serialize)]
struct Since {
    /// The other search.
    search: i64,
    /// Something got worse.
    worse: bool,
    figures: Vec<Figure>,
    /// Plans that cannot be executed any more.
    infeasible: u64,
}

/// What became of the divergence, or of the times of a workload.
#[derive(Debug, PartialEq, Serialize)]
struct Figure {
    figure: String,
    /// `worse`, `better`, `unchanged` or `unknown`.
    verdict: &'static str,
    /// By how much it is more, in percent; missing where the verdict is `unknown`.
    percent: Option<f64>,
}

impl From<&Drift> for Since {
    fn from(drift: &Drift) -> Self {
        let figure = |it: &Overall| Figure {
            figure: it.figure.to_string(),
            verdict: it.verdict.name(),
            percent: it.ratio.map(|ratio| 100.0 * (ratio.value - 1.0)),
        };
        Self {
            search: drift.before,
            worse: drift.is_worse(),
            figures: drift.overall.iter().map(figure).collect(),
            infeasible: drift.infeasible.len() as u64,
        }
    }
}

/// What came of a night.
fn verdict(untold: &Untold, since: Option<Since>) -> Verdict<'_> {
    let night = &untold.night.night;
    let slot = DateTime::from_timestamp_millis(night.slot_ms).unwrap_or_default();
    Verdict {
        schedule: &untold.schedule,
        slot: slot.to_rfc3339_opts(SecondsFormat::Secs, true),
        state: match night.search_state {
            Some(state) => state.to_string(),
            None => night.state.to_string(),
        },
        search: night.search,
        reason: &night.reason,
        since,
    }
}

impl Notices {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self {
            world,
            client: client(),
        }
    }

    /// Sends what is due. What is not taken is sent again later.
    pub(super) async fn look(&self) {
        let now_ms = self.world.clock.now_ms();
        let untold = match self.world.store.to_tell(now_ms, MOST_AT_ONCE).await {
            Ok(untold) => untold,
            Err(error) => {
                tracing::warn!(%error, "notices are not looked after");
                return;
            }
        };
        // One that takes its time holds up none of the others.
        let telling = untold.iter().map(async |untold| {
            if let Err(error) = self.tell(untold).await {
                let schedule = &untold.schedule;
                tracing::warn!(schedule, %error, "what came of a notice is not noted");
            }
        });
        futures_util::future::join_all(telling).await;
    }

    async fn tell(&self, untold: &Untold) -> Result<(), StoreError> {
        let now_ms = self.world.clock.now_ms();
        let (store, night) = (&self.world.store, &untold.night);
        let attempts = night.night.notice.attempts;
        let next_ms = now_ms.saturating_add(pause_ms(attempts));
        if !store
            .begin_notice(night.id, attempts, now_ms, next_ms)
            .await?
        {
            return Ok(());
        }
        let (schedule, slot_ms) = (&untold.schedule, night.night.slot_ms);
        let since = self.since(untold).await;
        let sent = self.send(&untold.webhook, &verdict(untold, since)).await;
        let is_over = untold
            .first_ms
            .is_some_and(|first_ms| now_ms.saturating_sub(first_ms) >= PATIENCE_MS);
        let (state, error) = match sent {
            Ok(()) => (NoticeState::Delivered, None),
            Err(error) if is_over => {
                tracing::warn!(schedule, slot_ms, error, "its notice is given up");
                (NoticeState::GivenUp, Some(error))
            }
            Err(error) => {
                tracing::warn!(schedule, slot_ms, error, "its notice is sent again later");
                (NoticeState::Wanted, Some(error))
            }
        };
        let ended_ms = self.world.clock.now_ms();
        let concluded = store.conclude_notice(night.id, state, error.as_deref(), ended_ms);
        concluded.await
    }

    /// What a night's search says of the one that it was started from.
    async fn since(&self, untold: &Untold) -> Option<Since> {
        let after = untold.night.night.search?;
        match query::since(&self.world, after).await {
            Ok(drift) => drift.filter(Drift::says_anything).as_ref().map(Since::from),
            // It is told that the night is over all the same.
            Err(error) => {
                tracing::warn!(search = after, %error, "what moved since the night before is not told");
                None
            }
        }
    }

    /// Posts a document once; what it failed of has nothing of the URL in it.
    async fn send(&self, webhook: &Webhook, verdict: &Verdict<'_>) -> Result<(), String> {
        let client = self.client.as_ref().map_err(String::clone)?;
        let body = serde_json::to_string(verdict).map_err(|error| error.to_string())?;
        let request = client
            .post(url(webhook)?)
            .header(USER_AGENT, concat!("bitfront/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let answer = request.send().await.map_err(|error| {
            let error = error.without_url();
            let mut said = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                said += &format!(": {error}");
                cause = error.source();
            }
            said
        })?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status if status.is_redirection() => Err(format!(
                "it answers {status}: give the URL that it sends on to, nobody is followed there"
            )),
            status => Err(format!("it answers {status}")),
        }
    }
}

fn pause_ms(attempts: u64) -> i64 {
    let doublings = u32::try_from(attempts.min(16)).unwrap_or(16);
    (FIRST_PAUSE_MS << doublings).min(LONGEST_PAUSE_MS)
}

fn client() -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Nobody is followed: what is told is for the one host that was named.
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .connect_timeout(CONNECTING)
        .timeout(ANSWERING)
        .no_proxy();
    client.build().map_err(|error| error.to_string())
}

fn url(webhook: &Webhook) -> Result<Url, String> {
    let url = Url::parse(&webhook.0).map_err(|error| format!("it is no URL ({error})"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() && webhook.0.len() <= MOST_BYTES => Ok(url),
        "http" | "https" => Err(format!(
            "it is longer than {MOST_BYTES} bytes or has no host"
        )),
        other => Err(format!("`{other}` is neither http nor https")),
    }
}

/// What may be shown of a webhook: its scheme and host.
///
/// # Errors
///
/// Nothing can be sent there; the text says why and shows nothing of it.
pub(super) fn shown(webhook: &Webhook) -> Result<String, String> {
    Ok(url(webhook)?.origin().ascii_serialization())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn of_a_webhook_the_host_alone_is_shown() {
        let shown = |text: &str| shown(&Webhook(text.to_owned()));
        let secret = "https://user:secret@hooks.example.org:8443/T0/secret?key=secret#secret";
        assert_eq!(
            shown(secret),
            Ok("https://hooks.example.org:8443".to_owned())
        );
        assert_eq!(shown("http://[::1]:80/x"), Ok("http://[::1]".to_owned()));
        for refused in [
            "secret",
            "ftp://host/secret",
            "https://",
            "https:///secret",
            "file:///secret",
            &format!("https://host/{}", "secret".repeat(400)),
        ] {
            let error = shown(refused);
            // `https:///secret` is read as a host, as browsers do.
            if let Err(error) = error {
                assert!(!error.contains("secret"), "{error}");
            } else {
                assert_eq!(refused, "https:///secret");
            }
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<_> = (0..9).map(|attempts| pause_ms(attempts) / 1000).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(pause_ms(u64::MAX), LONGEST_PAUSE_MS);
    }
}
