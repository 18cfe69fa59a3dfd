//! How a client comes to a coordinator: whom it trusts, and what it shows of itself.
//!
//! Files are read for every connection that is made, that of an access token for every call, so that
//! all of them can be replaced while a client runs. TLS is version 1.3 with ring's cryptography; both ends are ours.

pub mod pem;
mod tls;
pub mod token;

use std::error::Error;
use std::net::IpAddr;
use std::path::PathBuf;

use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use token::{Bearer, TokenSource};

/// What a client needs to come to a coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The certificates of the authorities that vouch for the coordinator, in PEM; without a file
    /// those that the system trusts.
    pub ca: Option<PathBuf>,
    /// What this client shows of itself, to coordinators that ask.
    pub identity: Option<Identity>,
    /// What proves what this client may do.
    pub token: Option<TokenSource>,
}

/// A certificate with its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by those that lead to its authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// What calls go over.
pub type Connection = InterceptedService<Channel, Bearer>;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Nobody answers, as the transport says.
    #[error("{0}")]
    Away(String),
    /// One of the two is not trusted by the other, or a file of this client cannot be used; says what
    /// to do. It is the same next time, unless somebody does something.
    #[error("{0}")]
    Refused(String),
}

impl Access {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub async fn connect(&self, endpoint: Endpoint) -> Result<Connection, AccessError> {
        self.check(&endpoint)?;
        let connected = match is_tls(&endpoint) {
            true => {
                let connector = tls::connector(self.clone());
                endpoint.connect_with_connector(connector).await
            }
            false => endpoint.connect().await,
        };
        let channel = connected.map_err(|error| match untrusted(&error) {
            Some(reason) => AccessError::Refused(reason),
            None => AccessError::Away(chain(&error)),
        })?;
        Ok(InterceptedService::new(channel, Bearer(self.token.clone())))
    }

    /// A connection that is made with the first call.
    ///
    /// # Errors
    ///
    /// [`AccessError::Refused`] where the access token cannot be used there.
    pub fn connect_lazy(&self, endpoint: Endpoint) -> Result<Connection, AccessError> {
        self.check(&endpoint)?;
        let channel = self.channel(&endpoint);
        Ok(InterceptedService::new(channel, Bearer(self.token.clone())))
    }

    /// The same without the access token, as to somebody else than a coordinator.
    pub fn channel(&self, endpoint: &Endpoint) -> Channel {
        match is_tls(endpoint) {
            true => endpoint.connect_with_connector_lazy(tls::connector(self.clone())),
            false => endpoint.connect_lazy(),
        }
    }

    /// That there is an access token where one is meant, and that nobody reads it on its way.
    fn check(&self, endpoint: &Endpoint) -> Result<(), AccessError> {
        let Some(source) = &self.token else {
            return Ok(());
        };
        let refused = |reason: String| Err(AccessError::Refused(reason));
        if let Err(error) = source.secret() {
            return refused(error.to_string());
        }
        match is_tls(endpoint) || is_this_machine(endpoint) {
            true => Ok(()),
            false => refused(
                "the access token would be readable on its way; it is sent over https:// and to \
                 this machine alone"
                    .to_owned(),
            ),
        }
    }
}

fn is_this_machine(endpoint: &Endpoint) -> bool {
    let host = endpoint.uri().host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn is_tls(endpoint: &Endpoint) -> bool {
    endpoint.uri().scheme_str() == Some("https")
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

/// What is said where trust is missing.
fn untrusted(error: &(dyn Error + 'static)) -> Option<String> {
    causes(error).find_map(|error| Some(error.downcast_ref::<tls::Untrusted>()?.to_string()))
}

/// The whole chain of causes: the transport's own errors say only `transport error`.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let more = cause.to_string();
        if text.is_empty() {
            text = more;
        } else if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
    }
    text
}
