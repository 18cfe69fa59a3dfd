//! A client in words of `bitfront_model`.

use std::time::Duration;

use bitfront_model::{
    Best, Budget, Device, Front, Limits, ProbedDevice, SearchRequest, SearchSensitivity,
    SearchStatus,
};
use bitfront_proto::access::{Access, Connection};
use bitfront_proto::v1::searches_client::SearchesClient;
use bitfront_proto::{MAX_MESSAGE_BYTES, v1};
use tonic::Status;
use tonic::transport::Endpoint;

/// See the module. Every answer is converted, so every conversion is tested on the way.
#[derive(Clone)]
pub struct Searches(SearchesClient<Connection>);

impl Searches {
    /// A client for a URL; connects with its first call.
    pub async fn connect(url: &str) -> Self {
        Self::connect_with(url, &Access::default())
    }

    /// The same, with what it takes to be let in.
    pub fn connect_with(url: &str, access: &Access) -> Self {
        let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
        Self(
            SearchesClient::new(access.connect_lazy(endpoint).unwrap())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        )
    }

    /// Starts a search.
    pub async fn submit(&self, request: &SearchRequest) -> Result<i64, Status> {
        let request = v1::SubmitRequest {
            request: Some(request.into()),
            ..Default::default()
        };
        let answer = self.0.clone().submit(request).await?;
        Ok(answer.into_inner().search)
    }

    /// Where a search stands.
    pub async fn get(&self, search: i64) -> Result<SearchStatus, Status> {
        let answer = self.0.clone().get(v1::GetRequest { search }).await?;
        Ok(answer.into_inner().try_into().unwrap())
    }

    /// All searches.
    pub async fn list(&self) -> Result<Vec<SearchStatus>, Status> {
        let answer = self.0.clone().list(v1::ListRequest {}).await?.into_inner();
        let searches = answer.searches.into_iter();
        Ok(searches.map(|status| status.try_into().unwrap()).collect())
    }

    /// Follows a search until it ends, and gives back every status on the way.
    pub async fn watch(&self, search: i64) -> Result<Vec<SearchStatus>, Status> {
        let request = v1::WatchRequest { search };
        let mut stream = self.0.clone().watch(request).await?.into_inner();
        let mut statuses = Vec::new();
        while let Some(status) = stream.message().await? {
            statuses.push(status.try_into().unwrap());
        }
        Ok(statuses)
    }

    /// Stops a search; false where it had ended.
    pub async fn cancel(&self, search: i64) -> Result<bool, Status> {
        let answer = self.0.clone().cancel(v1::CancelRequest { search }).await?;
        Ok(answer.into_inner().cancelled)
    }

    /// Gives a search more budget and goes on with it.
    pub async fn proceed(&self, search: i64, more: Budget) -> Result<SearchStatus, Status> {
        let request = v1::ContinueRequest {
            search,
            budget: Some((&more).into()),
        };
        let answer = self.0.clone().r#continue(request).await?;
        Ok(answer.into_inner().try_into().unwrap())
    }

    /// Everything measured in a search.
    pub async fn front(&self, search: i64) -> Result<Front, Status> {
        let request = v1::FrontRequest {
            search,
            device: None,
            believed: false,
        };
        let answer = self.0.clone().front(request).await?;
        Ok(answer.into_inner().try_into().unwrap())
    }

    /// The best plan for a model.
    pub async fn best(&self, model: &str, limits: &Limits, by: &str) -> Result<Best, Status> {
        let request = v1::BestRequest {
            model: model.to_owned(),
            device: None,
            limits: Some(limits.into()),
            by: by.to_owned(),
        };
        let answer = self.0.clone().best(request).await?;
        Ok(answer.into_inner().try_into().unwrap())
    }

    /// All devices.
    pub async fn devices(&self) -> Result<Vec<Device>, Status> {
        let answer = self.0.clone().devices(v1::DevicesRequest {}).await?;
        let devices = answer.into_inner().devices.into_iter();
        Ok(devices.map(|device| device.try_into().unwrap()).collect())
    }

    /// One device with its probes.
    pub async fn device(&self, name: &str) -> Result<ProbedDevice, Status> {
        let request = v1::DeviceRequest {
            name: name.to_owned(),
        };
        let answer = self.0.clone().device(request).await?;
        Ok(answer.into_inner().try_into().unwrap())
    }

    /// What the layers of a search's model lose alone.
    pub async fn sensitivity(&self, search: i64) -> Result<SearchSensitivity, Status> {
        let request = v1::SensitivityRequest { search };
        let answer = self.0.clone().sensitivity(request).await?;
        Ok(answer.into_inner().try_into().unwrap())
    }

    /// Waits until a search stands as wanted; fails after a minute with where it stands.
    pub async fn wait(
        &self,
        search: i64,
        what: &str,
        reached: impl Fn(&SearchStatus) -> bool,
    ) -> SearchStatus {
        let mut last = String::new();
        for _ in 0..3000 {
            match self.get(search).await {
                Ok(status) if reached(&status) => return status,
                Ok(status) => {
                    last = format!(
                        "{} ({}), {} of {} candidates evaluated",
                        status.state, status.reason, status.evaluated, status.candidates
                    );
                }
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("waited in vain for {what}: {last}");
    }
}
