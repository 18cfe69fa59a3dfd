//! The connection to a coordinator, in the words of the domain. Wire types stop here.

mod blobs;
mod schedules;
mod tokens;

use std::time::Duration;

use bitfront_model::{
    Best, Budget, Comparison, Device, Drift, FleetPick, Front, Limits, Prediction, ProbedDevice,
    SearchRequest, SearchSensitivity, SearchStatus,
};
pub(crate) use bitfront_proto::access::token::{Secret, TokenSource};
pub(crate) use bitfront_proto::access::{Access, Identity};
use bitfront_proto::access::{AccessError, Connection};
use bitfront_proto::v1::audit_client::AuditClient;
use bitfront_proto::v1::blobs_client::BlobsClient;
use bitfront_proto::v1::schedules_client::SchedulesClient;
use bitfront_proto::v1::searches_client::SearchesClient;
use bitfront_proto::v1::tokens_client::TokensClient;
use bitfront_proto::{MAX_MESSAGE_BYTES, v1};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::args::By;
use crate::problem::{ExitStatus, Problem};

/// How long a coordinator may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a coordinator may take to answer a ping before the connection counts as lost, and how
/// long after the last answer it is pinged. Its machine may vanish without closing the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How often a submission whose answer was lost is sent again.
const RESUBMISSIONS: u32 = 3;
const RESUBMISSION_PAUSE: Duration = Duration::from_millis(300);

/// A connection to a coordinator.
#[derive(Clone)]
pub(crate) struct Client {
    url: String,
    searches: SearchesClient<Connection>,
    schedules: SchedulesClient<Connection>,
    blobs: BlobsClient<Connection>,
    tokens: TokensClient<Connection>,
    audit: AuditClient<Connection>,
}

impl Client {
    /// Connects to the coordinator at `url`.
    pub(crate) async fn connect(url: &str, access: &Access) -> Result<Self, Problem> {
        Self::connect_alive(url, access, KEEP_ALIVE).await
    }

    async fn connect_alive(
        url: &str,
        access: &Access,
        keep_alive: Duration,
    ) -> Result<Self, Problem> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| Problem::usage(format!("`{url}` is not a URL: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(keep_alive)
            .keep_alive_timeout(keep_alive);
        let connected = access.connect(endpoint).await;
        let connection = connected.map_err(|error| match error {
            AccessError::Away(reason) => unreachable(url, &reason).with_hint(
                "start one with `bitfront serve`, or leave --coordinator away to use the \
                 embedded one",
            ),
            AccessError::Refused(reason) => unreachable(url, &reason),
        })?;
        let blobs = BlobsClient::new(connection.clone());
        let tokens = TokensClient::new(connection.clone());
        let audit = AuditClient::new(connection.clone());
        let audit = audit.max_decoding_message_size(MAX_MESSAGE_BYTES);
        let schedules = SchedulesClient::new(connection.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let searches = SearchesClient::new(connection)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            url: url.to_owned(),
            searches,
            schedules,
            blobs,
            tokens,
            audit,
        })
    }

    /// Starts a search and returns its number. Sent again where the answer is lost: the key makes
    /// it count once.
    pub(crate) async fn submit(&mut self, request: &SearchRequest) -> anyhow::Result<i64> {
        let request = v1::SubmitRequest {
            request: Some(request.into()),
            idempotency_key: uuid::Uuid::new_v4().to_string(),
        };
        let mut answer = self.searches.submit(request.clone()).await;
        for _ in 0..RESUBMISSIONS {
            match &answer {
                Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) => {
                    tokio::time::sleep(RESUBMISSION_PAUSE).await;
                    answer = self.searches.submit(request.clone()).await;
                }
                _ => break,
            }
        }
        Ok(self.answer(answer)?.search)
    }

    /// Where a search stands.
    pub(crate) async fn get(&mut self, search: i64) -> anyhow::Result<SearchStatus> {
        let answer = self.searches.get(v1::GetRequest { search }).await;
        Ok(self.answer(answer)?.try_into()?)
    }

    /// Every search.
    pub(crate) async fn list(&mut self) -> anyhow::Result<Vec<SearchStatus>> {
        let answer = self.searches.list(v1::ListRequest {}).await;
        let searches = self.answer(answer)?.searches.into_iter();
        Ok(searches
            .map(SearchStatus::try_from)
            .collect::<Result<_, _>>()?)
    }

    /// Where a search stands, now and after every change, until it has ended.
    pub(crate) async fn watch(
        &mut self,
        search: i64,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<SearchStatus>> + use<>> {
        let answer = self.searches.watch(v1::WatchRequest { search }).await;
        let url = self.url.clone();
        Ok(self.answer(answer)?.map(move |status| {
            let status = status.map_err(|error| problem(&url, &error))?;
            Ok(SearchStatus::try_from(status)?)
        }))
    }

    /// Stops a search; false where it had ended before.
    pub(crate) async fn cancel(&mut self, search: i64) -> anyhow::Result<bool> {
        let answer = self.searches.cancel(v1::CancelRequest { search }).await;
        Ok(self.answer(answer)?.cancelled)
    }

    /// Adds to the budget of a search and continues it.
    pub(crate) async fn extend(
        &mut self,
        search: i64,
        budget: Budget,
    ) -> anyhow::Result<SearchStatus> {
        let request = v1::ContinueRequest {
            search,
            budget: Some((&budget).into()),
        };
        let answer = self.searches.r#continue(request).await;
        Ok(self.answer(answer)?.try_into()?)
    }

    /// Everything measured in one search.
    pub(crate) async fn front(
        &mut self,
        search: i64,
        device: Option<String>,
    ) -> anyhow::Result<Front> {
        self.front_with(search, device, false).await
    }

    /// The same, with what is believed of every point.
    pub(crate) async fn believed_front(
        &mut self,
        search: i64,
        device: Option<String>,
    ) -> anyhow::Result<Front> {
        self.front_with(search, device, true).await
    }

    async fn front_with(
        &mut self,
        search: i64,
        device: Option<String>,
        believed: bool,
    ) -> anyhow::Result<Front> {
        let request = v1::FrontRequest {
            search,
            device,
            believed,
        };
        let answer = self.searches.front(request).await;
        Ok(self.answer(answer)?.try_into()?)
    }

    /// The best plan for a model over all searches.
    pub(crate) async fn best(
        &mut self,
        model: String,
        device: Option<String>,
        limits: Limits,
        by: By,
    ) -> anyhow::Result<Best> {
        let request = v1::BestRequest {
            model,
            device,
            limits: Some((&limits).into()),
            by: name(by).to_owned(),
        };
        let answer = self.searches.best(request).await;
        Ok(self.answer(answer)?.try_into()?)
    }

    /// The plan that is expected to be best, from what a search measured.
    pub(crate) async fn predict(
        &mut self,
        search: i64,
        limits: Limits,
        by: By,
    ) -> anyhow::Result<Prediction> {
        let request = v1::PredictRequest {
            search,
            limits: Some((&limits).into()),
            by: name(by).to_owned(),
        };
        let answer = self.searches.predict(request).await;
        Ok(self.answer(answer)?.try_into()?)
    }

    /// One plan for several devices.
    pub(crate) async fn fleet(
        &mut self,
        model: String,
        devices: Vec<String>,
        limits: Limits,
        by: By,
        predict: bool,
    ) -> anyhow::Result<FleetPick> {
        let request = v1::FleetRequest {
            model,
            devices,
            limits: Some((&limits).into()),
            by: name(by).to_owned(),
            predict,
        };
        let answer = self.searches.fleet(request).await;
        Ok(self.answer(answer)?.try_into()?)
    }

    /// Two measured candidates beside each other.
    pub(crate) async fn compare(&mut self, first: i64, second: i64) -> anyhow::Result<Comparison> {
        let request = v1::CompareRequest { first, second };
        let answer = self.searches.compare(request).await;
        Ok(self.answer(answer)?.try_into()?)
    }

    /// What moved between two searches.
    pub(crate) async fn diff(&mut self, before: i64, after: i64) -> anyhow::Result<Drift> {
        let answer = self.searches.diff(v1::DiffRequest { before, after }).await;
        Ok(self.answer(answer)?.try_into()?)
    }

    /// One device with its probes.
    pub(crate) async fn device(&mut self, name: String) -> anyhow::Result<ProbedDevice> {
        let answer = self.searches.device(v1::DeviceRequest { name }).await;
        Ok(ProbedDevice::try_from(self.answer(answer)?)?)
    }

    /// What each layer loses alone, as a search was told.
    pub(crate) async fn sensitivity(&mut self, search: i64) -> anyhow::Result<SearchSensitivity> {
        let request = v1::SensitivityRequest { search };
        let answer = self.searches.sensitivity(request).await;
        Ok(SearchSensitivity::try_from(self.answer(answer)?)?)
    }

    /// Every device that has served.
    pub(crate) async fn devices(&mut self) -> anyhow::Result<Vec<Device>> {
        let answer = self.searches.devices(v1::DevicesRequest {}).await;
        let devices = self.answer(answer)?.devices.into_iter();
        Ok(devices.map(Device::try_from).collect::<Result<_, _>>()?)
    }

    fn answer<T>(&self, answer: Result<tonic::Response<T>, Status>) -> Result<T, Problem> {
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| problem(&self.url, &status))
    }
}

/// What a figure is called on the wire.
fn name(by: By) -> &'static str {
    match by {
        By::Decode => "decode",
        By::Prefill => "prefill",
        By::Size => "size",
        By::Kld => "kld",
    }
}

/// A refusal is passed on as it is: the coordinator names the field and what to do.
fn problem(url: &str, status: &Status) -> Problem {
    match status.code() {
        Code::Unavailable => unreachable(url, status.message()),
        Code::NotFound => Problem::nothing_found(status.message()),
        Code::InvalidArgument => Problem::new(ExitStatus::Usage, status.message()),
        _ => Problem::failure(match status.message() {
            "" => format!("the coordinator at {url} failed: {}", status.code()),
            message => message.to_owned(),
        }),
    }
}

fn unreachable(url: &str, reason: &str) -> Problem {
    Problem::new(
        ExitStatus::Unreachable,
        format!("cannot reach the coordinator at {url}: {reason}"),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::problem::status_of;

    #[tokio::test]
    async fn a_coordinator_that_vanishes_is_not_waited_for() {
        // A machine that takes connections and never says anything.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let client =
            Client::connect_alive(&url, &Access::default(), Duration::from_millis(100)).await;
        let mut client = client.unwrap();
        let asked = tokio::time::timeout(Duration::from_secs(20), client.list()).await;
        let error = asked.expect("it gives up").unwrap_err();
        assert_eq!(status_of(&error), ExitStatus::Unreachable, "{error:#}");
    }
}
